package cascade

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// collect is what a leaf that is behind takes at once.
var collect = replay.Collect{Near: replay.Way{Ticks: 5, Events: 20_000}, Most: 100_000}

// batch opens, applies and finishes the next batch. Whole batches span ticks. A node
// that is behind has the next one read while it applies this one.
//
// What is applied, copied events and the position commit together. A crash before
// that leaves nothing; after it the provider offers the batch again, and it is seen
// to be done.
func (w *Worker) batch(ctx context.Context, s *state, whole bool) (bool, error) {
	source := w.source(s)
	w.ticked = false
	var several replay.Collect // none: every tick counts to a branch, and for a hand-over
	if whole && s.Type == pgqnode.Leaf && w.busy {
		several = collect
	}
	if w.busy {
		w.prefetch.Collect = several
		source.Prefetch = &w.prefetch
	}
	span, err := source.Span(ctx, w.above, several, s.Completed)
	if err != nil {
		return false, err
	}
	b, done, err := source.Open(ctx, s.Completed, span)
	if err != nil {
		return false, err
	}
	if b == nil {
		w.prefetch.Drop()
		return false, w.report(ctx, s, s.Completed)
	}
	if !done {
		maxID, err := w.apply(ctx, s, source, b)
		if err != nil {
			return false, err
		}
		w.Hooks.Committed(b.Tick)
		if s.Type == pgqnode.Branch {
			if err := w.tick(ctx, b.Tick, b.Time, maxID); err != nil {
				return false, err
			}
		}
	}
	if err := w.report(ctx, s, b.Tick); err != nil {
		return false, err
	}
	if err := source.Finish(ctx, b); err != nil {
		return false, err
	}
	w.Stats.Batches.Add(1)
	w.Stats.Tick.Store(b.Tick)
	if at, err := time.Parse("2006-01-02 15:04:05.999999-07", b.Time); err == nil {
		w.Stats.Lag.Store(int64(time.Since(at)))
	}
	return true, nil
}

// apply does a batch in one transaction, and returns the highest event id in it.
func (w *Worker) apply(ctx context.Context, s *state, source *replay.Source, b *replay.Batch) (maxID int64, err error) {
	err = w.here.Write(ctx, func(tx *pg.Tx) error {
		w.applier.Ahead = s.Type != pgqnode.Branch && !s.feeds() // which copy events through the same session
		w.applier.Batch = b
		w.applier.Begin(tx)
		defer w.applier.End()
		queue, err := w.newRelay(ctx, tx, s)
		if err != nil {
			return err
		}
		err = source.Each(ctx, b, func(e *replay.Event) error {
			w.Stats.Events.Add(1)
			maxID = max(maxID, e.ID)
			if e.Retry != nil {
				return fmt.Errorf("event %d is a retry, which a cascade must not have", e.ID)
			}
			if queue != nil {
				if err := queue.pass(ctx, e); err != nil {
					return err
				}
			}
			return w.event(ctx, tx, s, e, queue)
		})
		if err != nil {
			return err
		}
		if err := w.applier.Flush(ctx); err != nil {
			return err
		}
		if queue != nil {
			if err := queue.end(ctx, b); err != nil {
				return err
			}
		}
		return replay.Complete(ctx, tx, w.Queue, s.Worker, s.Provider, b)
	})
	if err == nil {
		w.applier.Warn(w.Log, w.Queue)
		w.skips.Say(w.Log)
	}
	return maxID, err
}

// find tells the applier how a table is replicated here: only tables whose copy is
// done are the worker's.
func (w *Worker) find(ctx context.Context, tx *pg.Tx, name string) (*replay.Table, error) {
	r, err := replay.Lookup(ctx, tx, w.Queue, name)
	if err != nil || r == nil || !r.Local || r.State != replay.StateOK {
		return nil, err
	}
	return replay.LoadKeyed(ctx, tx, r, w.MaskKey)
}

// tick repeats a tick of the provider in the queue of a branch. It is a statement of
// its own, after the commit: its snapshot must see the copied events. Its event
// sequence never goes back.
//
// Source: contract/pgq.md section 6.7, step 11, and defect D12.
func (w *Worker) tick(ctx context.Context, tick int64, at string, maxID int64) error {
	_, err := w.here.Exec(ctx, `
		select pgq.ticker($1::text, $2::int8, $3::timestamptz, greatest($4::int8, 1, (
		           select t.tick_event_seq
		             from pgq.tick t
		             join pgq.queue q on q.queue_id = t.tick_queue
		            where q.queue_name = $1
		            order by t.tick_queue desc, t.tick_id desc
		            limit 1)))`, w.Queue, tick, at, maxID)
	if err != nil {
		return fmt.Errorf("make tick %d: %w", tick, err)
	}
	return nil
}

// healTick makes the tick that a crash after the commit has left out. Nothing may be
// copied into the queue before that.
func (w *Worker) healTick(ctx context.Context, s *state) error {
	switch {
	case s.Type != pgqnode.Branch || s.Top == s.Completed:
		return nil
	case s.Top > s.Completed:
		return fmt.Errorf("lost position: the queue here has tick %d already, but the worker has completed tick %d; if the position was set back by hand, set it to tick %d (pgq_node.set_consumer_completed)", s.Top, s.Completed, s.Top)
	}
	at, err := pg.One[string](ctx, w.above, `
		select t.tick_time::text
		  from pgq.tick t
		  join pgq.queue q on q.queue_id = t.tick_queue
		 where q.queue_name = $1 and t.tick_id = $2`, w.Queue, s.Completed)
	if errors.Is(err, pg.ErrNoRows) {
		return fmt.Errorf("lost position: tick %d is completed but missing in the queue here (its newest is %d), and provider %s does not have it either; wait if the provider is behind, or choose another provider", s.Completed, s.Top, s.Provider)
	}
	if err != nil {
		return fmt.Errorf("read tick %d of provider %s: %w", s.Completed, s.Provider, err)
	}
	maxID, err := w.newestEvent(ctx)
	if err != nil {
		return err
	}
	w.Log.Info("makes the tick that an interrupted round left out", "queue", w.Queue, "tick", s.Completed)
	return w.tick(ctx, s.Completed, at, maxID)
}

// newestEvent is the highest id of the events since the newest tick; 0: none.
func (w *Worker) newestEvent(ctx context.Context) (int64, error) {
	type row struct {
		Parent string
		Xmin   int64
	}
	r, err := pg.Struct[row](ctx, w.here, `
		select q.queue_data_pfx as parent, txid_snapshot_xmin(t.tick_snapshot) as xmin
		  from pgq.tick t
		  join pgq.queue q on q.queue_id = t.tick_queue
		 where q.queue_name = $1
		 order by t.tick_queue desc, t.tick_id desc
		 limit 1`, w.Queue)
	if err != nil {
		return 0, fmt.Errorf("read the newest tick here: %w", err)
	}
	return pg.One[int64](ctx, w.here, "select coalesce(max(ev_id), 0) from "+dataTable(r.Parent)+" where ev_txid >= $1", r.Xmin)
}

func replyOf(err error) *pg.ReplyError {
	var reply *pg.ReplyError
	if errors.As(err, &reply) {
		return reply
	}
	return nil
}
