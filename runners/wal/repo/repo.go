// Package repo is an archive's repository: it brings WAL files into the stores of the
// archive, and back.
//
// It knows the layout of the stores and the form of the objects, which stores must have
// a file before it counts as archived, and that a file never replaces another. It does
// not know who asks (package push, fetch or receive), and what lies beside the WAL
// (package backup).
//
// # Layout, the same on every store
//
//	repo.json                                       format and identity of the repository
//	e/SYSTEM/epoch.json                             the cluster with this system identifier
//	e/SYSTEM/wal/TIMELINE/LOG/SEGMENT               a whole segment, immutable
//	e/SYSTEM/wal/TIMELINE/SEGMENT.LSN-HASH.partial  what there was of a segment, up to LSN
//	e/SYSTEM/wal/history/TIMELINE.history
//	e/SYSTEM/wal/label/SEGMENT.OFFSET.backup
//	e/SYSTEM/lost/SEGMENT-SEGMENT.json              a gap that was acknowledged: see [Loss]
//	e/SYSTEM/missed/SEGMENT-SEGMENT.json            what did not come: see [Miss]
//
// TIMELINE and LOG have 8 digits and SEGMENT has 24, as in PostgreSQL's names. The key
// of a segment does not depend on its content, so the store decides between two writers.
//
// # Form of an object
//
// The first 512 bytes are a line of JSON, filled up with spaces: see [Header]. What
// follows is the file, compressed, and then encrypted with age if the archive says so.
// No program of ours is needed to read it:
//
//	head -c 512 OBJECT                                          what it is
//	tail -c +513 OBJECT | age -d -i KEY | zstd -d > SEGMENT     where both apply
//	tail -c +513 OBJECT | lz4 -d > SEGMENT                      codec lz4, not encrypted
//	tail -c +513 OBJECT > SEGMENT                               neither
//	sha256sum SEGMENT                                           the sha256 of the header
//
// Histories are not encrypted. The host of the database needs the recipients, which are public, and no identity. The
// digest of the plain content is open, so that such a host can compare: whoever can
// read a store can tell whether it has a file that he knows.
//
// # When a file counts
//
//	Put  nil             durable in every required store, with this very content
//	     SplitBrainError a store has another content under this name; nothing was replaced
//	     other           not known; ask again
//	Get  nil             placed, and its digests are right
//	     ErrAbsent       every store has answered that there is no such file
//	     other           not known: a store could not be asked, or has a damaged object
//
// Source: design/wal.md, R5, R6, R10, R11, R15, R16, 6.2 and 6.3.
package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/store"
)

// A Store is one of an archive's stores.
type Store struct {
	store.Store
	Required bool // a file counts as archived only when it is here
}

// Config describes a repository.
type Config struct {
	Stores     []Store // in the order in which they are read
	Codec      Codec   // of new objects; empty: Zstd
	Recipients []age.Recipient
	Identities []age.Identity // to read what is encrypted

	// BestEffort is how long stores that are not required may hold up a Put. 0: 20 s.
	BestEffort time.Duration
	Log        hclog.Logger // may be nil
}

// A Repo is a repository. It is safe for concurrent use.
type Repo struct {
	Config

	mu        sync.Mutex
	epochs    map[uint64]Epoch
	histories map[history]bool // that every required store is known to have
}

type history struct {
	system   uint64
	timeline uint32
}

// ErrAbsent says that every store has answered that there is no such file.
var ErrAbsent = errors.New("no store of the archive has it")

// Open returns a repository. It does not look at the stores.
func Open(c Config) (*Repo, error) {
	c.Codec = cmp.Or(c.Codec, Zstd)
	c.BestEffort = cmp.Or(c.BestEffort, 20*time.Second)
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if _, ok := codecs[c.Codec]; !ok {
		return nil, fmt.Errorf("open repository: there is no codec %q", c.Codec)
	}
	required := 0
	for _, s := range c.Stores {
		if s.Required {
			required++
		}
	}
	if required == 0 {
		return nil, errors.New("open repository: no store is required, so nothing could be called archived")
	}
	return &Repo{Config: c, epochs: map[uint64]Epoch{}, histories: map[history]bool{}}, nil
}

// key is where a file of a cluster is kept. Partial segments have further keys.
func key(system uint64, n segment.Name) string {
	wal := fmt.Sprintf("e/%d/wal/", system)
	switch n.Kind {
	case segment.History:
		return wal + "history/" + n.String()
	case segment.Backup:
		return wal + "label/" + n.String()
	}
	return fmt.Sprintf("%s%08X/%08X/%s", wal, n.Timeline, n.Log, n.Base())
}

// partials is what the keys of a segment's partial copies begin with.
func partials(system uint64, n segment.Name) string {
	return fmt.Sprintf("e/%d/wal/%08X/%s.", system, n.Timeline, n.Base())
}

// required calls f for each required store in turn.
func (r *Repo) required(ctx context.Context, f func(context.Context, Store) error) error {
	for _, s := range r.Stores {
		if s.Required {
			if err := f(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}
