package tablecopy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// catchUp drops the snapshot as soon as it can, replays a batch, and asks for the
// hand-over when the worker is near.
func (t *Copy) catchUp(ctx context.Context, s *stand) (wait time.Duration, done bool, err error) {
	if err := t.resume(ctx, s); err != nil {
		return 0, false, err
	}
	r := s.Registered
	if m, err := t.sharing(ctx, t.here); err != nil || m.wait {
		return 300 * time.Millisecond, false, err
	}
	if text, err := t.droppedText(ctx, t.here); err != nil {
		return 0, false, err
	} else if text != "" {
		if err := t.rebuild(ctx, text); err != nil {
			return 0, false, err
		}
		return 0, false, t.analyze(ctx, r.Dest)
	}
	if r.Snapshot != "" {
		covered, err := replay.Covers(ctx, t.above, t.Queue, s.Completed, r.Snapshot)
		if err != nil {
			return 0, false, err
		}
		if covered {
			_, err := replay.SetState(ctx, t.here, t.Queue, t.Table, CatchingUp, CatchingUp, "")
			return 0, false, err
		}
	} else if s.Completed+near >= s.Worker || t.close {
		return 0, false, t.wannaSync(ctx, s)
	}
	wait, done, err = t.replayBatch(ctx, s, 0)
	if err != nil || done || wait == 0 {
		return wait, done, err
	}
	if r.Snapshot == "" { // drained
		return 0, false, t.wannaSync(ctx, s)
	}
	t.forceTick(ctx, s.Source)
	return wait, false, nil
}

func (t *Copy) wannaSync(ctx context.Context, s *stand) error {
	to := WannaSync + strconv.FormatInt(s.Completed, 10)
	if _, err := replay.SetState(ctx, t.here, t.Queue, t.Table, CatchingUp, to, ""); err != nil {
		return err
	}
	t.Log.Info("table has caught up", "queue", t.Queue, "table", t.Table, "tick", s.Completed)
	t.Changed()
	return nil
}

// resume connects to the source. The position here is the truth; where the source
// does not know the consumer, it is registered again.
func (t *Copy) resume(ctx context.Context, s *stand) error {
	if t.above != nil && t.source == s.Source && !t.above.Closed() {
		return nil
	}
	err := t.connect(ctx, s.Source)
	if errors.Is(err, errGone) {
		return fmt.Errorf("%w; copy the table again (resync)", err)
	}
	if err != nil {
		return err
	}
	at, err := pg.Rows[*int64](ctx, t.above, "select last_tick from pgq.get_consumer_info($1, $2)", t.Queue, t.consumer)
	if err != nil || len(at) > 0 && at[0] != nil && *at[0] <= s.Completed {
		return err
	}
	moved, err := t.reader().MoveTo(ctx, s.Completed)
	if err == nil && !moved {
		t.Log.Warn("the source has lost the position of a copy: it starts again", "queue", t.Queue, "table", t.Table, "tick", s.Completed)
		err = t.restart(ctx, s.Registered)
	}
	return err
}

func (t *Copy) reader() *replay.Source {
	return &replay.Source{Conn: t.above, Queue: t.Queue, Consumer: t.consumer, Only: t.only(), Weight: &t.weight}
}

// collect is what a copy takes at once that is behind. A batch of more than one tick may
// end behind its goal.
var collect = replay.Collect{Near: replay.Way{Ticks: near, Events: math.MaxInt64}, Most: 20_000}

// replayBatch applies the table's events of the next batch, on the way to a tick; 0
// is the newest. Wait is more than zero when there is none.
//
// A copy that is far behind takes several ticks at once: with one at a time it would
// never arrive where they come faster than it can replay them.
func (t *Copy) replayBatch(ctx context.Context, s *stand, to int64) (wait time.Duration, done bool, err error) {
	if err := t.resume(ctx, s); err != nil {
		return 0, false, err
	}
	t.close = false
	start := time.Now()
	source := t.reader()
	way, err := source.Way(ctx, t.above, s.Completed, to)
	if err != nil {
		return 0, false, err
	}
	b, applied, err := source.Open(ctx, s.Completed, collect.Span(way))
	if err != nil {
		return 0, false, err
	}
	if b == nil {
		return 100 * time.Millisecond, false, nil
	}
	if !applied {
		if err := t.apply(ctx, s, source, b); err != nil {
			return 0, false, err
		}
	}
	t.close = b.Tick >= s.Completed+way.Ticks && time.Since(start) < soon
	return 0, false, source.Finish(ctx, b)
}

func (t *Copy) apply(ctx context.Context, s *stand, source *replay.Source, b *replay.Batch) error {
	table, err := replay.LoadKeyed(ctx, t.here, s.Registered, t.MaskKey)
	if err != nil {
		return err
	}
	a := replay.Applier{
		Ordered: !t.replica.Load(), Ahead: true, Stats: t.Stats, Batch: b,
		Find: func(context.Context, *pg.Tx, string) (*replay.Table, error) { return table, nil },
	}
	skips, err := replay.ReadSkips(ctx, t.here, t.Queue, t.consumer)
	if err != nil {
		return err
	}
	err = t.here.Write(ctx, func(tx *pg.Tx) error {
		a.Begin(tx)
		defer a.End()
		err := source.Each(ctx, b, func(e *replay.Event) error {
			if !e.IsData() || e.Table() != t.Table {
				return nil
			}
			if skips.Has(e) {
				if err := a.Flush(ctx); err != nil {
					return err
				}
				return skips.Leave(ctx, tx, e, b.Tick)
			}
			return a.Add(ctx, e)
		})
		if err != nil {
			return err
		}
		if err := a.Flush(ctx); err != nil {
			return err
		}
		return replay.Complete(ctx, tx, t.Queue, t.consumer, s.Source, b)
	})
	if err == nil {
		a.Warn(t.Log, t.Queue)
		skips.Say(t.Log)
	}
	return err
}

// forceTick asks the root, where ticks are made, for one, once a second: without it
// an idle queue would keep the hand-over waiting for its idle period. It is a wish:
// when the root cannot be reached, its ticker will come by itself.
func (t *Copy) forceTick(ctx context.Context, node string) {
	if time.Since(t.forced) < time.Second {
		return
	}
	t.forced = time.Now()
	if t.root == nil || t.root.Closed() {
		conn, err := t.findRoot(ctx, node)
		if err != nil {
			t.Log.Debug("cannot ask the root for a tick", "queue", t.Queue, "error", err)
			return
		}
		t.root = conn
	}
	if _, err := t.root.Exec(ctx, "select pgq.force_tick($1)", t.Queue); err != nil {
		t.root.Close()
		t.root = nil
	}
}

// findRoot follows providers up from a node.
func (t *Copy) findRoot(ctx context.Context, node string) (*pg.Conn, error) {
	conn, err := t.dial(ctx, node, t.app()+" tick")
	for hops := 0; err == nil && hops < 50; hops++ {
		type row struct{ Type, Provider, Location string }
		var up row
		up, err = pg.Struct[row](ctx, conn, `
			select coalesce(node_type, '') as type, coalesce(provider_node, '') as provider,
			       coalesce(provider_location, '') as location
			  from pgq_node.get_node_info($1)`, t.Queue)
		if err == nil && up.Type == pgqnode.Root {
			return conn, nil
		}
		conn.Close()
		if err == nil {
			conn, err = t.dialAt(ctx, up.Provider, up.Location, t.app()+" tick")
		}
	}
	if err == nil {
		conn.Close()
		err = errors.New("the providers go round in a circle")
	}
	return nil, fmt.Errorf("find the root above %s: %w", node, err)
}
