// Package backup takes base backups of a server into the stores of an archive, and
// knows what lies there.
//
// A backup is a manifest that says, for every file, of which frames of 64 KiB it
// consists and where each of them is. Frames are compressed one by one with zstd and
// lie one after the other in packs of 64 MiB, so that
//
//	age --decrypt -i KEY PACK | zstd -d     or, where nothing is encrypted,     zstd -d PACK
//
// gives back what is in a pack. A frame that has not changed since the backup before
// is not written again: the manifest points into the earlier pack. Each manifest is
// complete by itself; there are no chains, and any backup can be removed.
//
//	e/SYSTEM/pack/ID/00000          frames; written once
//	e/SYSTEM/pack/ID/00000.index    their sums, for a backup that takes up an unfinished one
//	e/SYSTEM/backup/ID/manifest     written last: without it there is no backup
//	e/SYSTEM/backup/ID/NAME.json    notes: hold, drill, tombstone
//
// Sums of frames are BLAKE3 of the plain content, those of packs SHA-256 of what is stored,
// and a file has the CRC-32C that the server computed. The manifest is not encrypted, so
// that the host of the database can compare with it without being able to read a pack:
// names, sizes and sums of files are open to whoever can read the store.
//
// examples/archive/restore.sh restores with a shell, age and zstd, and describes the form.
//
// It knows the server's stream of files and the form of a backup. It does not know how
// WAL comes into the archive, only how to wait for it, and it does not know which
// backups are to be kept.
//
// Source: design/wal.md, 6.2, 6.4, R25 to R35.
package backup

import (
	"fmt"
	"time"

	"github.com/skytools-go/skytools/sql"
)

// FrameSize is the length of a frame in bytes; the last one of a file may be shorter.
const FrameSize = 64 << 10

// Longest is how long a backup may take. What a backup refers to must stay for as long
// after nothing else does, so retention waits longer than this before it removes data.
const Longest = 72 * time.Hour

// An ID names a backup: when it began, by our clock, on which timeline and where. IDs
// sort by time.
type ID string

func newID(began time.Time, timeline uint32, start sql.LSN) ID {
	return ID(fmt.Sprintf("%s-%08X-%016X", began.UTC().Format("20060102T150405Z"), timeline, uint64(start)))
}

// Time is when the backup began, to the second. Zero when the ID is none.
func (id ID) Time() time.Time {
	began, _ := id.parts()
	return began
}

// Timeline is the one on which the backup began. Zero when the ID is none.
func (id ID) Timeline() uint32 {
	_, timeline := id.parts()
	return timeline
}

func (id ID) parts() (began time.Time, timeline uint32) {
	var start uint64
	if len(id) != 42 {
		return time.Time{}, 0
	}
	if n, err := fmt.Sscanf(string(id[16:]), "-%08X-%016X", &timeline, &start); n != 2 || err != nil {
		return time.Time{}, 0
	}
	began, err := time.Parse("20060102T150405Z", string(id[:16]))
	if err != nil {
		return time.Time{}, 0
	}
	return began, timeline
}

// A Note is a small object beside a manifest.
type Note string

// The notes of a backup.
const (
	Hold      Note = "hold"      // who keeps it for good, and why
	Drill     Note = "drill"     // how its last drill went
	Tombstone Note = "tombstone" // it is going to be removed

	Verified Note = "verified" // of all backups: how everything was read last
)
