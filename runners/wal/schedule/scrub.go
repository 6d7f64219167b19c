package schedule

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/wal/archive"
	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/runners/wal/verify"
)

// ScrubStats tell how the stores fare. They are safe for concurrent use.
type ScrubStats struct {
	Last     atomic.Int64 // when everything was last read, in seconds since 1970; 0: never
	Problems atomic.Int64 // that were found then and not repaired
	Repaired atomic.Int64 // objects that this process has repaired
}

// ScrubConfig says when everything in the stores is read and compared.
type ScrubConfig struct {
	Archive *archive.Archive
	At      At
	Policy  *retain.Policy // what WAL has to be there; nil: all of it
	Repair  bool           // copy what a store lacks or has damaged from one that has it whole
	Every   time.Duration  // how often to look; 0: a minute
	Log     hclog.Logger
	Stats   *ScrubStats
}

// A Scrubber reads everything in every store when that is due. When it was last done
// stands in the archive, so it does not matter who does it.
type Scrubber struct{ ScrubConfig }

// NewScrubber returns a scrubber.
func NewScrubber(c ScrubConfig) *Scrubber {
	c.Log, c.Stats = cmp.Or(c.Log, hclog.NewNullLogger()), cmp.Or(c.Stats, &ScrubStats{})
	return &Scrubber{c}
}

// Scrubbed is the outcome, as it stands in the archive.
type Scrubbed struct {
	At       time.Time `json:"at"`
	Objects  int       `json:"objects"`
	Problems int       `json:"problems"` // that are not repaired, and gaps
	Repaired int       `json:"repaired"`
}

// Run looks every so often until ctx ends, which gives up what is in hand. It returns at
// the first error.
func (s *Scrubber) Run(ctx context.Context) error { return watch(ctx, s.Every, s.RunOnce) }

// RunOnce verifies the archive if that is due at a time.
func (s *Scrubber) RunOnce(ctx context.Context, now time.Time) error {
	shelf := s.Archive.Shelf()
	var last Scrubbed
	if err := shelf.Recall(ctx, backup.Verified, &last); err != nil && !errors.Is(err, store.ErrNotExist) {
		return err
	}
	if !last.At.IsZero() {
		s.Stats.Last.Store(last.At.Unix())
		s.Stats.Problems.Store(int64(last.Problems))
	}
	if !last.At.Before(s.At.Last(now)) {
		return nil
	}
	o := verify.Options{Repair: s.Repair}
	if s.Policy != nil {
		o.Policy = *s.Policy
	}
	began := time.Now().UTC().Truncate(time.Second)
	s.Log.Info("reading everything in the stores")
	r, err := verify.Run(ctx, s.Archive, o)
	if err != nil {
		return err
	}
	done := Scrubbed{At: began, Objects: r.Objects, Problems: len(r.Gaps)}
	for _, p := range r.Problems {
		if p.Repaired {
			done.Repaired++
			s.Log.Warn("an object is repaired", "key", p.Key, "store", p.Store, "was", p.What)
			continue
		}
		done.Problems++
		s.Log.Error("an object is not as it should be", "key", p.Key, "store", p.Store, "is", p.What, "error", p.Text)
	}
	for _, gap := range r.Gaps {
		s.Log.Error("no store has WAL that is needed", "segments", gap)
	}
	for _, lost := range r.Lost {
		s.Log.Info("no store has WAL that is needed", "segments", lost)
	}
	s.Stats.Last.Store(began.Unix())
	s.Stats.Problems.Store(int64(done.Problems))
	s.Stats.Repaired.Add(int64(done.Repaired))
	s.Log.Info("everything in the stores is read", "objects", r.Objects, "problems", done.Problems, "repaired", done.Repaired)
	return shelf.Remember(ctx, backup.Verified, done)
}
