package cascade

import (
	"bytes"
	"context"
	"fmt"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// A leaf of one queue, the part, may be merged into another queue of its database, the
// combined one. What its worker does depends on what the database is of that queue:
//
//	root     feeds: it applies the part's changes and puts them into the combined queue,
//	         with an event pgq.tick-id that says how far the part is, in one transaction
//	branch   waits: the rows come with the combined queue. Its position is brought by
//	         the branch's worker, from those events; it handles what the cascade of the
//	         part tells its nodes, up to there
//
// When the branch becomes the root, its leafs go on where the old root's had arrived: the
// position and the rows have come in the same transaction.
//
// Source: contract/londiste.md section 3.3 and contract/pgq.md sections 6.6 and 6.7.

// feeds reports a leaf whose changes go into the combined queue.
func (s *state) feeds() bool { return s.Combined != "" && s.Into == pgqnode.Root }

// waits reports a leaf whose changes come with the combined queue.
func (s *state) waits() bool { return s.Combined != "" && s.Into == pgqnode.Branch }

// checkMerge refuses what is neither.
func (s *state) checkMerge() error {
	switch {
	case s.Combined == "":
		return nil
	case s.Type != pgqnode.Leaf:
		return fmt.Errorf("node %s is a %s and merged into queue %s, which only a leaf can be", s.Node, s.Type, s.Combined)
	case !s.feeds() && !s.waits():
		return fmt.Errorf("node %s is merged into queue %s, of which this database is neither root nor branch", s.Node, s.Combined)
	}
	return nil
}

// waitBehind does the round of a leaf that waits, and what is left of that when it feeds.
// Ready says that a leaf that feeds can go on with its own changes.
func (w *Worker) waitBehind(ctx context.Context, s *state) (worked, ready bool, err error) {
	if w.behind || s.waits() {
		worked, err = w.followCombined(ctx, s)
		w.busy, w.failed = false, err != nil
		if w.behind = worked || s.waits(); worked || err != nil {
			return worked, false, err
		}
	}
	if s.waits() {
		return false, false, nil
	}
	closed, err := pg.One[bool](ctx, w.here, closedSQL, s.Combined)
	if err != nil {
		return false, false, fmt.Errorf("look at queue %s: %w", s.Combined, err)
	}
	return false, !closed, nil // its root is being moved
}

// closedSQL asks whether a queue takes no events of its own.
const closedSQL = "select coalesce(bool_or(queue_disable_insert or queue_external_ticker), true) from pgq.queue where queue_name = $1"

// followCombined handles the part's next batch if its changes have come with the combined
// queue already: only what is meant for nodes is left to do. It commits before the
// provider forgets the batch, and may be done twice.
func (w *Worker) followCombined(ctx context.Context, s *state) (bool, error) {
	w.ticked = false
	source := w.source(s)
	source.Only = `ev_type like 'pgq.%' or ev_type like 'londiste.%'`
	b, err := source.Next(ctx)
	if err != nil || b == nil {
		return false, err
	}
	if b.Tick > s.Completed {
		return false, w.report(ctx, s, b.Prev) // a tick that the provider has for sure
	}
	err = w.here.Write(ctx, func(tx *pg.Tx) error {
		return source.Each(ctx, b, func(e *replay.Event) error {
			if err := w.systemEvent(ctx, tx, s, e, nil); err != nil {
				return fmt.Errorf("event %d (%s): %w", e.ID, e.Type, err)
			}
			return nil
		})
	})
	if err != nil {
		return false, err
	}
	if err := w.report(ctx, s, b.Tick); err != nil {
		return false, err
	}
	if err := source.Finish(ctx, b); err != nil {
		return false, err
	}
	w.Stats.Batches.Add(1)
	w.Stats.Tick.Store(b.Tick)
	return true, nil
}

// enter makes sure that the combined queue is open, and stays so for this transaction:
// who closes it waits for those that hold the lock before making the last tick.
func (r *relay) enter(ctx context.Context) error {
	if _, err := r.tx.Exec(ctx, "lock table "+r.table+" in row exclusive mode"); err != nil {
		return fmt.Errorf("lock the event table of queue %s: %w", r.queue, err)
	}
	closed, err := pg.One[bool](ctx, r.tx, closedSQL, r.queue)
	if err != nil {
		return fmt.Errorf("look at queue %s: %w", r.queue, err)
	}
	if closed {
		return fmt.Errorf("queue %s, which this one is merged into, has just been closed: its root is being moved", r.queue)
	}
	return nil
}

// merges reports an event that goes on into the combined queue. What a cascade tells its
// own nodes does not; scripts follow when they have run, see [relay.passScript].
func (r *relay) merges(e *replay.Event) bool {
	return !bytes.HasPrefix(e.Type, []byte("pgq.")) && !bytes.HasPrefix(e.Type, []byte("londiste.")) && !(r.scripts && string(e.Type) == "EXECUTE")
}

// passScript puts a script that has run here for the first time into the combined queue:
// one that comes through several parts goes on once.
func (r *relay) passScript(ctx context.Context, e *replay.Event) error {
	if r == nil || r.part == "" {
		return nil
	}
	return r.add(ctx, e)
}

// end sends on what is left of a batch. A part also tells how far it is now.
func (r *relay) end(ctx context.Context, b *replay.Batch) error {
	if err := r.flush(ctx); err != nil || r.part == "" {
		return err
	}
	_, err := r.tx.Run(ctx, sql.Exec("select pgq.insert_event($1, 'pgq.tick-id', $2, $3, null, null, null)", r.queue, fmt.Sprint(b.Tick), r.part))
	if err != nil {
		return fmt.Errorf("tell queue %s about tick %d: %w", r.queue, b.Tick, err)
	}
	return nil
}
