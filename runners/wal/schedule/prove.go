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
	"github.com/skytools-go/skytools/runners/wal/drill"
	"github.com/skytools-go/skytools/runners/wal/store"
)

// ProveStats tell how drills fare. They are safe for concurrent use.
type ProveStats struct {
	Drills atomic.Int64 // held by this process
	Failed atomic.Int64 // of them, those that a backup has not stood
	Proven atomic.Int64 // when a backup stood one last, in seconds since 1970; 0: never

	// Changed is 1 when in the last one a check failed at the end of the WAL, and not at
	// that of the backup.
	Changed atomic.Int64
}

// ProveConfig says when backups are drilled.
type ProveConfig struct {
	Archive *archive.Archive
	At      At
	Options func(context.Context) (drill.Options, error)
	Every   time.Duration // how often to look; 0: a minute
	Log     hclog.Logger
	Stats   *ProveStats
}

// A Prover drills the newest backup when that is due: when no drill was held since the
// last time of the schedule, whatever its outcome. One that could not be held is tried
// again, and one that a backup did not stand is not: a person must look.
type Prover struct{ ProveConfig }

// NewProver returns a prover.
func NewProver(c ProveConfig) *Prover {
	c.Log, c.Stats = cmp.Or(c.Log, hclog.NewNullLogger()), cmp.Or(c.Stats, &ProveStats{})
	return &Prover{c}
}

// Run looks every so often until ctx ends, which gives a drill in hand up. It returns at
// the first error.
func (p *Prover) Run(ctx context.Context) error { return watch(ctx, p.Every, p.RunOnce) }

// RunOnce holds the drill that is due at a time, if there is one.
func (p *Prover) RunOnce(ctx context.Context, now time.Time) error {
	any, last, err := p.held(ctx)
	if err != nil || !any || !last.Before(p.At.Last(now)) {
		return err
	}
	o, err := p.Options(ctx)
	if err != nil {
		return err
	}
	p.Log.Info("drilling the newest backup")
	r, err := drill.Run(ctx, p.Archive.Shelf(), p.Archive, o)
	var failed *drill.FailedError
	switch {
	case err == nil:
		p.Stats.Drills.Add(1)
		p.Stats.Proven.Store(r.At.Unix())
		p.Log.Info("a backup is proven", "backup", string(r.Backup), "restored", r.Restored, "recovered", r.Recovered, "checks", r.Queries)
		p.Stats.Changed.Store(0)
		if r.Since != "" {
			p.Stats.Changed.Store(1)
			p.Log.Error("a check fails at the end of the WAL that the backup stands: the data has changed since", "backup", string(r.Backup), "check", r.Since)
		}
		return nil
	case errors.As(err, &failed) && ctx.Err() == nil:
		p.Stats.Drills.Add(1)
		p.Stats.Failed.Add(1)
		p.Log.Error("a backup did not stand its drill", "backup", string(r.Backup), "problem", r.Problem)
		return nil
	}
	return err
}

// held tells whether there is a backup to drill, and when one was drilled last.
func (p *Prover) held(ctx context.Context) (any bool, last time.Time, err error) {
	shelf := p.Archive.Shelf()
	entries, err := shelf.List(ctx)
	if err != nil {
		return false, last, err
	}
	for _, e := range entries {
		any = any || e.Complete && !e.Notes[backup.Tombstone]
		if !e.Notes[backup.Drill] {
			continue
		}
		var r drill.Result
		switch err := shelf.Read(ctx, e.ID, backup.Drill, &r); {
		case errors.Is(err, store.ErrNotExist):
			continue
		case err != nil:
			return false, last, err
		}
		if r.At.After(last) {
			last = r.At
		}
		if r.OK && r.At.Unix() > p.Stats.Proven.Load() {
			p.Stats.Proven.Store(r.At.Unix())
		}
	}
	return any, last, nil
}
