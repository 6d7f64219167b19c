package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/store"
)

// A Loss is a gap that somebody has looked at and that nobody can close any more. It
// silences alarms about exactly these segments, and nothing else: recovery does not pass
// it, and what is missing beside it is a gap as ever.
//
// Source: design/wal.md 6.2.
type Loss struct {
	First   string    `json:"first"` // segments of one timeline, by their names
	Last    string    `json:"last"`
	At      time.Time `json:"at"` // when that was written down, to the second
	Because string    `json:"because"`
	Dropped bool      `json:"dropped,omitempty"` // of a [Miss]: archive_command has left it out, and does not bring it any more
}

// Losses are those of a cluster.
type Losses []Loss

// Of returns the loss that a gap belongs to, or nil.
func (l Losses) Of(g Gap) *Loss {
	for i := range l {
		if l[i].First <= g.First.Base() && g.Last.Base() <= l[i].Last && l[i].Last[:8] == g.Last.Base()[:8] {
			return &l[i]
		}
	}
	return nil
}

// Lose writes down in every store that a gap stays one. It does not ask whether it is
// one. What was written first stays. It fails when a required store does not take it.
func (r *Repo) Lose(ctx context.Context, system uint64, g Gap, because string, now time.Time) error {
	if err := r.record(ctx, lossPrefix(system), g, because, now); err != nil {
		return fmt.Errorf("acknowledge the gap %s: %w", g, err)
	}
	return nil
}

// record writes a stretch of segments down in every store. It looks whether they are
// repositories: nothing else has been asked of them where nothing can be archived.
func (r *Repo) record(ctx context.Context, prefix string, g Gap, because string, now time.Time) error {
	loss := Loss{g.First.Base(), g.Last.Base(), now.UTC().Truncate(time.Second), because, g.Dropped}
	_, err := r.everywhere(ctx, func(ctx context.Context, s Store) error {
		if err := r.alive(ctx, s); err != nil {
			return err
		}
		err := putJSON(ctx, s, loss.key(prefix), loss)
		if errors.Is(err, store.ErrExists) {
			return nil
		}
		return err
	})
	return err
}

func (l Loss) key(prefix string) string { return prefix + l.First + "-" + l.Last + ".json" }

// Losses reads those that any store knows. A store that is not required may be silent,
// and a record that cannot be read acknowledges nothing: both are logged.
func (r *Repo) Losses(ctx context.Context, system uint64) (Losses, error) {
	all, err := r.stretches(ctx, lossPrefix(system))
	if err != nil {
		return nil, fmt.Errorf("read the acknowledged gaps: %w", err)
	}
	return all, nil
}

// stretches reads the records under a prefix that any store has.
func (r *Repo) stretches(ctx context.Context, prefix string) (all []Loss, err error) {
	known := map[string]bool{}
	for _, s := range r.Stores {
		if err := r.stretchesIn(ctx, s, prefix, known, &all); err != nil {
			if s.Required {
				return nil, err
			}
			r.Log.Warn("a store that is not required does not say what it knows of gaps", "store", s.Name(), "error", err)
		}
	}
	return all, nil
}

func (r *Repo) stretchesIn(ctx context.Context, s Store, prefix string, known map[string]bool, all *[]Loss) error {
	for info, err := range s.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if known[info.Key] {
			continue
		}
		loss, err := readJSON[Loss](ctx, s, info.Key)
		if err == nil {
			err = loss.check()
		}
		if err != nil {
			r.Log.Warn("the record of a gap cannot be read", "key", info.Key, "store", s.Name(), "error", err)
			continue
		}
		known[info.Key] = true
		*all = append(*all, loss)
	}
	return nil
}

// check refuses what does not name two segments of a timeline, in their order.
func (l Loss) check() error {
	for _, name := range []string{l.First, l.Last} {
		if n, err := segment.Parse(name); err != nil {
			return err
		} else if n.Kind != segment.Whole {
			return fmt.Errorf("%q is no segment", name)
		}
	}
	if l.First[:8] != l.Last[:8] || l.First > l.Last {
		return fmt.Errorf("%s to %s is no stretch of segments", l.First, l.Last)
	}
	return nil
}

func lossPrefix(system uint64) string { return fmt.Sprintf("e/%d/lost/", system) }
