package status

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/skytools-go/skytools/runners/wal/repo"
)

// An Archive tells what WAL is missing from an archive for good. Nobody looks into its
// stores where its server does not answer, or here is no key to them: that is Error, and no
// problem.
type Archive struct {
	Name   string   `json:"name"`
	Of     string   `json:"of"` // the database whose server it keeps the WAL of
	Missed []Missed `json:"missed"`
	Error  string   `json:"error,omitempty"`
}

// A Missed is a stretch of segments that no restore leads across.
type Missed struct {
	First   string    `json:"first"`
	Last    string    `json:"last"`
	Count   int64     `json:"segments"`
	At      time.Time `json:"at"`
	Because string    `json:"because"`
	Dropped bool      `json:"dropped"` // archive_command has left it out
	text    string
}

// Kept is an archive to report on.
type Kept struct {
	Name, Of string
	Limit    int64 // bytes that may wait to be archived; 0: any

	// Missed looks for gaps that were written down and that nobody has acknowledged. It
	// may return some with an error.
	Missed func(ctx context.Context, system uint64) ([]repo.Gap, error)
}

// Keep adds archives to the report. They are looked at all at once.
func (r *Report) Keep(ctx context.Context, all []Kept, timeout time.Duration) {
	r.Archives = make([]Archive, len(all))
	var asked sync.WaitGroup
	for i, k := range all {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			r.Archives[i] = k.look(ctx, r.database(k.Of))
		})
	}
	asked.Wait()
	for i, a := range r.Archives {
		if d := r.database(a.Of); d != nil {
			r.Problems = append(r.Problems, d.Archiver.overflow(d.Name, all[i].Limit)...)
		}
		for _, m := range a.Missed {
			r.Problems = append(r.Problems, "archive "+a.Name+" does not have "+m.text)
		}
	}
}

func (k Kept) look(ctx context.Context, d *Database) Archive {
	a := Archive{Name: k.Name, Of: k.Of, Missed: []Missed{}}
	switch {
	case d == nil || d.Error != "":
		a.Error = "its server does not answer"
		return a
	case d.system == "":
		a.Error = "its server does not tell its system identifier: grant execute on function pg_control_system()"
		return a
	}
	system, err := strconv.ParseUint(d.system, 10, 64)
	var gaps []repo.Gap
	if err == nil {
		gaps, err = k.Missed(ctx, system)
	}
	if err != nil {
		a.Error = err.Error()
	}
	for _, g := range gaps {
		a.Missed = append(a.Missed, Missed{g.First.String(), g.Last.String(), g.Count, g.Missed, g.Why, g.Dropped, g.String()})
	}
	return a
}

func (r *Report) database(name string) *Database {
	for i := range r.Databases {
		if r.Databases[i].Name == name {
			return &r.Databases[i]
		}
	}
	return nil
}

// Segments counts those that are missing.
func (a Archive) Segments() (n int64) {
	for _, m := range a.Missed {
		n += m.Count
	}
	return n
}

// overflow says that more waits than may.
func (a *Archiver) overflow(database string, limit int64) []string {
	if a == nil || a.Waiting == nil || limit == 0 || a.Waiting.Queued <= limit {
		return nil
	}
	return []string{fmt.Sprintf("the server of %s has %d MB of WAL to archive, more than queue_alert, which is %d MB", database, a.Waiting.Queued>>20, limit>>20)}
}
