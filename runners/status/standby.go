package status

import (
	"context"
	"sync"
	"time"

	"github.com/skytools-go/skytools/runners/wal/standby"
)

// A Standby tells how far a standby is.
type Standby struct {
	Of string `json:"of"` // the database whose server it follows
	standby.State
}

// Followed is a standby to report on.
type Followed struct {
	Of      string
	Standby func(context.Context) (*standby.Standby, error)
	Name    string
}

// Follow adds standbys to the report. They are asked all at once.
func (r *Report) Follow(ctx context.Context, all []Followed, timeout time.Duration) {
	r.Standbys = make([]Standby, len(all))
	var asked sync.WaitGroup
	for i, f := range all {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			r.Standbys[i] = Standby{f.Of, f.state(ctx)}
		})
	}
	asked.Wait()
	for _, s := range r.Standbys {
		for _, p := range s.Problems {
			r.Problems = append(r.Problems, "standby "+s.Name+": "+p)
		}
	}
}

func (f Followed) state(ctx context.Context) standby.State {
	s, err := f.Standby(ctx)
	if err != nil {
		return standby.State{Name: f.Name, Role: standby.Unreachable, Problems: []string{err.Error()}}
	}
	return s.State(ctx)
}
