package consume_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
)

func (w *world) member(name string, h consume.Handler) *consume.Consumer {
	c := w.config()
	c.Consumer, c.Member, c.Register = "coop", name, true
	c.DeadAfter = time.Hour
	return w.consumer(c, h)
}

// silence makes a member look dead.
func (w *world) silence(name string) {
	w.Helper()
	w.exec("update pgq.subscription set sub_active = now() - interval '1 day' where sub_consumer = (select co_id from pgq.consumer where co_name = $1)", name)
}

func TestMembersShareBatches(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		var seen notes
		names := []string{"w1", "w2", "w3"}
		var members []*consume.Consumer
		for _, name := range names {
			c := w.member(name, consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
				seen.add("%s", e.Data)
				time.Sleep(time.Millisecond)
				return nil
			}))
			drain(t, c) // it registers
			members = append(members, c)
		}
		const events = 60
		for range events {
			w.insert("x")
			w.tick()
		}
		var all sync.WaitGroup
		for _, c := range members {
			all.Go(func() {
				for {
					worked, err := c.RunOnce(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if !worked {
						return
					}
				}
			})
		}
		all.Wait()
		if got := len(seen.lines); got != events {
			t.Errorf("%d events seen, %d written", got, events)
		}
		for i, c := range members {
			if c.Stats.Batches.Load() == 0 {
				t.Errorf("%s had no batch", names[i])
			}
		}
		if w.target != w.queue {
			if n := one[int64](t, w.target, "select count(*) from pgq_ext.completed_tick"); n != 0 {
				t.Errorf("%d marks are left", n)
			}
		}
	})
}

// A batch of a dead member is done by another: again if it was not, else only finished.
func TestDeadMembersBatchIsTakenOver(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.target.Script(t, "create table done (data text)")
		handler := consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
			_, err := tx.Exec(ctx, "insert into done values ($1)", e.Data)
			return err
		})
		first, two := w.member("w1", handler), w.member("w2", handler)
		drain(t, first)
		drain(t, two)
		for i, at := range []*pg.Fault{
			{Match: "insert into done", Nth: 1},                        // dies before
			{Match: "commit", Nth: 1, After: true},                     // of the target, or of all
			{Match: "finish_batch", Nth: 1},                            // dies after the work in a target
			{Match: "finish_batch", Nth: 1, After: true},               //
			{Match: "null::int8", Nth: 1},                              // finished, but for the tidying
			{Match: "pgq_coop.next_batch_custom", Nth: 1, After: true}, // open, and nothing else
		} {
			w.insert("x")
			w.tick()
			_, err := first.RunOnce(pg.WithFault(t.Context(), at))
			if err == nil && at.Hit() != "" {
				t.Errorf("case %d: no error", i)
			}
			w.silence("coop.w1")
			drain(t, two)
			if n := one[int64](t, w.target, "select count(*) from done"); n != int64(i+1) {
				t.Fatalf("case %d (%s): %d rows", i, at.Hit(), n)
			}
		}
		if n := one[int64](t, w.queue, "select count(*) from pgq.get_consumer_info('q') where current_batch is not null"); n != 0 {
			t.Errorf("%d batches are open", n)
		}
	})
}

// A member that was slow and not dead does not do a batch twice.
func TestSlowMemberIsNotDead(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.target.Script(t, "create table done (data text)")
		insert := func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
			_, err := tx.Exec(ctx, "insert into done values ($1)", e.Data)
			return err
		}
		fast := w.member("fast", consume.Each(insert))
		late := make(chan error, 1)
		slow := w.member("slow", consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
			w.silence("coop.slow")
			go func() { _, err := fast.RunOnce(ctx); late <- err }()
			if w.target == w.queue {
				if err := <-late; err != nil {
					t.Errorf("fast: %v", err)
				}
			} else {
				waitFor(t, w.target, "select exists (select 1 from pg_locks where locktype = 'advisory' and not granted)")
			}
			return insert(ctx, tx, e)
		}))
		drain(t, fast)
		drain(t, slow)
		w.insert("x")
		w.tick()
		_, err := slow.RunOnce(t.Context())
		if w.target == w.queue {
			if !errors.Is(err, consume.ErrGone) {
				t.Errorf("slow: %v", err)
			}
		} else {
			if err != nil && !errors.Is(err, consume.ErrGone) { // the other may be the one that finishes
				t.Errorf("slow: %v", err)
			}
			if err := <-late; err != nil && !errors.Is(err, consume.ErrGone) {
				t.Errorf("fast: %v", err)
			}
		}
		drain(t, fast)
		drain(t, slow)
		if n := one[int64](t, w.target, "select count(*) from done"); n != 1 {
			t.Errorf("done %d times", n)
		}
	})
}

// A member that wakes up after its batch was done by another learns that it is gone.
func TestMemberThatWakesUpLate(t *testing.T) {
	w := newWorld(t, true)
	w.target.Script(t, "create table done (data text)")
	insert := consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
		_, err := tx.Exec(ctx, "insert into done values ($1)", e.Data)
		return err
	})
	fast := w.member("fast", insert)
	config := w.config()
	config.Consumer, config.Member = "coop", "slow"
	asleep := true
	config.Target = func(ctx context.Context) (string, error) { // asked for between the batch and the work
		if asleep {
			asleep = false
			w.silence("coop.slow")
			if n := drain(t, fast); n != 1 {
				t.Errorf("fast has done %d batches", n)
			}
		}
		return w.target.DSN, nil
	}
	slow := w.consumer(config, insert)
	drain(t, fast)
	drain(t, slow)
	w.insert("x")
	w.tick()
	if _, err := slow.RunOnce(t.Context()); !errors.Is(err, consume.ErrGone) || asleep {
		t.Errorf("slow: %v", err)
	}
	drain(t, slow)
	if n := one[int64](t, w.target, "select count(*) from done"); n != 1 {
		t.Errorf("done %d times", n)
	}
}
