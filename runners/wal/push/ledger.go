package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/segment"
)

// A Ledger is a file on the host of a server: the segments that were left out of the
// archive and of which its stores do not know that yet. Several processes may use it.
//
//	Add     durable when it returns nil
//	Settle  removes what the stores have been told; what was added meanwhile stays
type Ledger struct{ Path string }

// A Dropped is a stretch of segments of a timeline that were left out.
type Dropped struct {
	System  uint64       `json:"system,string"`
	First   string       `json:"first"`
	Last    string       `json:"last"`
	Size    segment.Size `json:"segment_size"`
	At      time.Time    `json:"at"` // of the first
	Because string       `json:"because"`
}

// LedgerOf is that of an archive.
func LedgerOf(dir, archive string) *Ledger {
	return &Ledger{filepath.Join(dir, archive+".dropped")}
}

// Add writes down a segment.
func (l *Ledger) Add(system uint64, n segment.Name, size segment.Size, because string, now time.Time) error {
	err := l.locked(func() error {
		all, err := l.read()
		if err != nil {
			return err
		}
		if i := len(all) - 1; i >= 0 && all[i].System == system && all[i].next() == n {
			all[i].Last = n.Base()
		} else {
			all = append(all, Dropped{system, n.Base(), n.Base(), size, now.UTC().Truncate(time.Second), because})
		}
		return l.write(all)
	})
	if err != nil {
		return fmt.Errorf("write down that %s is left out: %w", n, err)
	}
	return nil
}

// next is the segment after it.
func (d Dropped) next() segment.Name {
	last, err := segment.Parse(d.Last)
	if err != nil {
		return segment.Name{}
	}
	return d.Size.Next(last)
}

// All reads it. There is nothing where there is no file.
func (l *Ledger) All() (all []Dropped, err error) {
	if _, err := os.Stat(l.Path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err = l.locked(func() error { all, err = l.read(); return err })
	return all, err
}

// Settle removes what the stores have been told.
func (l *Ledger) Settle(told []Dropped) error {
	return l.locked(func() error {
		all, err := l.read()
		if err != nil {
			return err
		}
		var left []Dropped
		for _, d := range all {
			i := slices.IndexFunc(told, func(t Dropped) bool { return t.System == d.System && t.First == d.First })
			if i >= 0 && told[i].Last == d.Last {
				continue
			}
			if i >= 0 {
				d.First = told[i].next().Base()
			}
			left = append(left, d)
		}
		if len(left) > 0 {
			return l.write(left)
		}
		return errors.Join(os.Remove(l.Path), wal.SyncDir(filepath.Dir(l.Path)))
	})
}

// Age is how long ago something was last added; ok: something stands in it.
func (l *Ledger) Age() (age time.Duration, ok bool) {
	info, err := os.Stat(l.Path)
	if err != nil {
		return 0, false
	}
	return time.Since(info.ModTime()), true
}

// locked keeps other processes out. The lock is a file of its own: that of the ledger is
// another one after each change.
func (l *Ledger) locked(do func() error) error {
	f, err := os.OpenFile(l.Path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // which unlocks it
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	return do()
}

func (l *Ledger) read() (all []Dropped, err error) {
	text, err := os.ReadFile(l.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.Path, err)
	}
	return all, nil
}

// write replaces the file as a whole, so that it is never half of one.
func (l *Ledger) write(all []Dropped) error {
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	temp := l.Path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.ReplaceAll(text, []byte("},{"), []byte("},\n{")))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(temp, l.Path)
	}
	if err != nil {
		os.Remove(temp)
		return err
	}
	return wal.SyncDir(filepath.Dir(l.Path))
}
