package push

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
)

// Overflow says when WAL is left out of the archive, so that a server whose stores take
// none does not stop with a full disk.
//
// While more than Limit waits in archive_status, a segment that the stores do not take
// soon is left out: PostgreSQL is told success, once that stands in the ledger, or in
// every required store where there is no ledger to write to. Where neither can be, it is
// told failure as ever. What is left out is brought after all if it is still in pg_wal
// when the stores are back. Files other than segments are answered without a record: the
// history of a timeline goes ahead of its next segment, what a promotion left of a segment
// begins the first one of the new timeline, and no restore needs a label.
//
// Source: design/wal.md, R13.
type Overflow struct {
	Limit  int64 // bytes of segments that wait
	Ledger *Ledger

	last atomic.Int64 // when this process last left one out, in seconds since 1970
}

const (
	// soon is how long a segment may take while too much waits.
	soon = 3 * time.Second

	// again is for how long after one was left out the next ones are without being tried,
	// and the stores are not told of them one by one. The queue gets short by that, and
	// then the next one is tried.
	again = 10 * time.Second

	// telling is how long the stores may take to be told.
	telling = 5 * time.Second
)

// over measures what waits. size is that of segments.
func (o *Overflow) over(dir wal.DataDir) (waiting int64, size segment.Size, over bool) {
	if o == nil {
		return 0, 0, false
	}
	ready, err := dir.Ready()
	if err != nil {
		return 0, 0, false // then nothing is left out
	}
	for _, n := range ready {
		if n.Kind != segment.Whole {
			continue
		}
		if size == 0 {
			f, err := look(dir, dir.Path(n))
			if err != nil {
				continue
			}
			size = segment.Size(f.size)
		}
		waiting += int64(size)
	}
	return waiting, size, waiting > o.Limit && size.Check() == nil
}

// dropping reports whether segments are being left out just now.
func (o *Overflow) dropping() bool {
	if o == nil {
		return false
	}
	if time.Since(time.Unix(o.last.Load(), 0)) < again {
		return true
	}
	age, some := o.Ledger.Age() // by another process
	return some && age < again
}

// droppable reports whether a file may be left out because of an error: not when another
// content has its name, or when it is no WAL of this cluster.
func droppable(err error) bool {
	var split *repo.SplitBrainError
	var header *segment.HeaderError
	return err != nil && !errors.As(err, &split) && !errors.As(err, &header)
}

// pushSoon tries for a while: a store that fails once does not cost a segment.
func (p *Pusher) pushSoon(ctx, life context.Context, dir wal.DataDir, f file, path string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	for {
		if err = p.push(ctx, life, dir, f, path); !droppable(err) || !runners.Sleep(ctx, soon/6) {
			return err
		}
	}
}

// drop leaves a file out because of an error, which it returns if that cannot be written
// down.
func (p *Pusher) drop(ctx context.Context, dir wal.DataDir, f file, waiting int64, size segment.Size, why error) error {
	if f.name.Kind == segment.Whole {
		because := fmt.Sprintf("%d MB of WAL waited to be archived, and %d MB may", waiting>>20, p.Overflow.Limit>>20)
		if err := p.note(ctx, f, size, because); err != nil {
			return errors.Join(why, err)
		}
		p.Overflow.last.Store(time.Now().Unix())
		p.Log.Error("a segment is left out of the archive, since too much WAL waits: no restore leads across it", "segment", f.name.String(), "waiting", waiting, "error", why)
	} else {
		p.Log.Warn("PostgreSQL is told that a file is archived, since too much WAL waits", "file", f.name.String(), "error", why)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.fill, dir) // what is still there is brought with the next success
	return nil
}

// note writes it down: on this host, and in the stores unless they were just asked.
func (p *Pusher) note(ctx context.Context, f file, size segment.Size, because string) error {
	tell := !p.Overflow.dropping()
	failed := p.Overflow.Ledger.Add(f.system, f.name, size, because, time.Now())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), telling)
	defer cancel()
	if failed == nil {
		if tell {
			p.told(ctx)
		}
		return nil
	}
	if err := p.Repo.Missed(ctx, f.system, repo.Gap{First: f.name, Last: f.name, Count: 1, Dropped: true}, because, time.Now()); err != nil {
		return errors.Join(failed, err)
	}
	p.Log.Warn("what is left out stands in the stores only", "error", failed)
	return nil
}

// told is [Pusher.Tell] where a failure is made up for later.
func (p *Pusher) told(ctx context.Context) {
	if err := p.Tell(ctx); err != nil && !errors.Is(err, context.Canceled) {
		p.Log.Warn("the stores do not know yet what is left out", "error", err)
	}
}

// Tell writes what stands in the ledger down in the stores.
func (p *Pusher) Tell(ctx context.Context) error {
	if p.Overflow == nil {
		return nil
	}
	all, err := p.Overflow.Ledger.All()
	if err != nil || len(all) == 0 {
		return err
	}
	for i, d := range all {
		if err := p.tell(ctx, d); err != nil {
			return errors.Join(err, p.settle(all[:i]))
		}
	}
	return p.settle(all)
}

func (p *Pusher) settle(told []Dropped) error {
	if len(told) == 0 {
		return nil
	}
	return p.Overflow.Ledger.Settle(told)
}

func (p *Pusher) tell(ctx context.Context, d Dropped) error {
	g, err := d.Gap()
	if err != nil {
		return err
	}
	g.Missed = time.Time{} // is written down now
	return p.Repo.Missed(ctx, d.System, g, d.Because, d.At)
}

// Gap is the stretch as the stores know it.
func (d Dropped) Gap() (g repo.Gap, err error) {
	first, err := segment.Parse(d.First)
	if err != nil {
		return g, err
	}
	last, err := segment.Parse(d.Last)
	if err != nil {
		return g, err
	}
	return repo.Gap{First: first, Last: last, Count: int64(d.Size.End(last)-d.Size.Start(first)) / int64(d.Size), Missed: d.At, Why: d.Because, Dropped: true}, nil
}

// Keep tells the stores what was left out, as soon as they take it, until ctx ends.
func (p *Pusher) Keep(ctx context.Context) {
	for p.Overflow != nil {
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		p.told(limited)
		cancel()
		if !runners.Sleep(ctx, again) {
			return
		}
	}
}
