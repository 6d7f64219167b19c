package consume_test

import (
	"context"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
)

func TestRetry(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		var seen notes
		c := w.consumer(w.config(), consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
			seen.add("%s%d", e.Data, e.Retry)
			switch {
			case e.Data == "b" && e.Retry < 2:
				return consume.RetryAfter(0)
			case e.Data == "c" && e.Retry == 0:
				return consume.RetryAfter(time.Hour)
			}
			return nil
		}))
		other := w.config()
		other.Consumer = "other"
		other.Register = true
		var others notes
		o := w.consumer(other, others.data())
		drain(t, o)
		w.insert("a", "b", "c")
		for range 4 {
			w.tick()
			drain(t, c)
			w.exec("select pgq.maint_retry_events()")
		}
		if got := seen.take(); got != "a0 b0 c0 b1 b2" {
			t.Errorf("seen: %s", got)
		}
		if n := c.Stats.Retried.Load(); n != 3 {
			t.Errorf("%d events put aside", n)
		}
		if got := one[string](t, w.queue, "select string_agg(ev_data || (ev_retry_after > now() + interval '59 minutes'), ' ') from pgq.retry_queue"); got != "ctrue" {
			t.Errorf("aside: %s", got)
		}
		w.exec("update pgq.retry_queue set ev_retry_after = now()")
		w.exec("select pgq.maint_retry_events()")
		w.tick()
		drain(t, c)
		if got := seen.take(); got != "c1" {
			t.Errorf("seen: %s", got)
		}
		drain(t, o)
		if got := others.take(); got != "a b c" { // another consumer does not see them again
			t.Errorf("the other has seen: %s", got)
		}
		if w.target != w.queue {
			if got := one[string](t, w.target, "select string_agg(consumer_id || ' ' || subconsumer_id || last_tick_id, ' ' order by 1) from pgq_ext.completed_tick"); got != "q/c 6 q/other 6" {
				t.Errorf("the target remembers: %s", got)
			}
		}
	})
}

func TestRetryOfAStrangerIsRefused(t *testing.T) {
	w := newWorld(t, false)
	w.insert("a")
	w.tick()
	c := w.consumer(w.config(), func(ctx context.Context, _ *pg.Tx, b *consume.Batch) error {
		return b.Retry(ctx, &consume.Event{ID: 99}, 0)
	})
	if _, err := c.RunOnce(t.Context()); err == nil {
		t.Error("an event that is not in the batch was put aside")
	}
}

// A batch that fails puts nothing aside.
func TestRetryRollsBack(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.insert("a", "b")
		w.tick()
		c := w.consumer(w.config(), func(ctx context.Context, tx *pg.Tx, b *consume.Batch) error {
			for e, err := range b.Events(ctx) {
				if err != nil {
					return err
				}
				if err := b.Retry(ctx, e, time.Minute); err != nil {
					return err
				}
			}
			_, err := tx.Exec(ctx, "select 1/0")
			return err
		})
		if _, err := c.RunOnce(t.Context()); pg.Code(err) != "22012" {
			t.Errorf("error: %v", err)
		}
		if n := one[int64](t, w.queue, "select count(*) from pgq.retry_queue"); n != 0 || c.Stats.Retried.Load() != 0 {
			t.Errorf("%d events aside", n)
		}
	})
}
