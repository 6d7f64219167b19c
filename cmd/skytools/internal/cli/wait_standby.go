package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/runners/wal/standby"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
)

// followers are the standbys that are waited for, and what each has to replay: what its
// primary had written when it was first asked.
type followers struct {
	all  []status.Followed
	from map[string]sql.LSN // had replayed then
	goal map[string]sql.LSN
}

// followersOf are the standbys that match; without globs those that are meant to be in sync.
func followersOf(set *spec.Set, globs []string) *followers {
	f := &followers{from: map[string]sql.LSN{}, goal: map[string]sql.LSN{}}
	for _, one := range standbysOf(set) {
		d := set.Standbys.Get(one.Name)
		late := !d.Streams() || d.Delay > 0 || d.Replay == spec.ReplayPaused
		if len(globs) == 0 && !late || slices.ContainsFunc(globs, addressOf(one).Match) {
			f.all = append(f.all, one)
		}
	}
	return f
}

func addressOf(f status.Followed) planner.Address {
	return planner.Address{Kind: "standby", Name: f.Name, Database: f.Of}
}

// look asks all of them.
func (f *followers) look(ctx context.Context, timeout time.Duration) (all []waited) {
	var r status.Report
	r.Follow(ctx, f.all, timeout)
	for i, st := range r.Standbys {
		all = append(all, f.waited(addressOf(f.all[i]), st.State))
	}
	return all
}

func (f *followers) waited(at planner.Address, st standby.State) waited {
	if _, known := f.goal[st.Name]; !known && st.Written != nil {
		if f.goal[st.Name] = *st.Written; st.Replayed != nil {
			f.from[st.Name] = *st.Replayed
		}
	}
	w := waited{address: at, state: string(st.Role), problem: strings.Join(st.Problems, "; ")}
	goal, known := f.goal[st.Name]
	if st.Role != standby.Following || st.Replayed == nil || !known {
		return w
	}
	if w.state = "not streaming"; st.Receiver != "" {
		w.state = st.Receiver
	}
	if *st.Replayed >= goal {
		w.progress, w.done = 1, st.Receiver == "streaming"
		return w
	}
	w.note = fmt.Sprintf("at %s of %s", *st.Replayed, goal)
	if from := f.from[st.Name]; from > 0 && goal > from {
		w.progress = float64(*st.Replayed-from) / float64(goal-from)
	}
	return w
}
