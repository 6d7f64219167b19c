package consume_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
)

// Consumers of one name on two queues do not take each other's position for theirs.
func TestEqualNamesInOneTarget(t *testing.T) {
	w := newWorld(t, true)
	w.makeQueue("p")
	w.exec("select pgq.register_consumer('p', 'c')")
	var seen notes
	for _, queue := range []string{"q", "p"} {
		w.name = queue
		w.insert(queue)
		w.tick()
		drain(t, w.consumer(w.config(), seen.data()))
	}
	if got := seen.take(); got != "q p" {
		t.Errorf("seen: %s", got)
	}
}

// Source: contract/pgq.md section 11.1, SerialConsumer.
func TestGoesOnWhereAnotherClientStopped(t *testing.T) {
	w := newWorld(t, true)
	var seen notes
	w.insert("a")
	w.tick()
	w.insert("b")
	w.tick()
	w.target.Script(t, "select pgq_ext.set_last_tick('c', 2)")
	config := w.config()
	config.As = "c"
	drain(t, w.consumer(config, seen.data()))
	if got := seen.take(); got != "b" {
		t.Errorf("seen: %s", got)
	}
	if at := one[int64](t, w.target, "select pgq_ext.get_last_tick('c')"); at != 3 {
		t.Errorf("position %d", at)
	}
}

// A batch that does not begin where the target is means that events are missing, or
// would come twice.
func TestLostPosition(t *testing.T) {
	w := newWorld(t, true)
	var seen notes
	config := w.config()
	config.As = "it's c"
	c := w.consumer(config, seen.data())
	for _, text := range []string{"a", "b", "c"} {
		w.insert(text)
		w.tick()
	}
	drain(t, c)
	seen.take()
	w.exec("select pgq.register_consumer_at('q', 'c', 1)")
	_, err := c.RunOnce(t.Context())
	var lost *consume.PositionError
	if !errors.As(err, &lost) || lost.Prev != 1 || lost.Tick != 2 || lost.Done != 4 {
		t.Fatalf("error: %v", err)
	}
	_, advice, _ := strings.Cut(lost.Hint(), ": ")
	w.target.Script(t, advice)
	drain(t, c)
	if got := seen.take(); got != "a b c" {
		t.Errorf("seen: %s", got)
	}
}

// A consumer that is registered anew begins anew.
func TestRegisterForgetsTheOldPosition(t *testing.T) {
	w := newWorld(t, true)
	var seen notes
	w.insert("a")
	w.tick()
	drain(t, w.consumer(w.config(), seen.data()))
	w.exec("select pgq.unregister_consumer('q', 'c')")
	w.insert("b")
	w.tick()
	config := w.config()
	config.Register = true
	for range 2 {
		c := w.consumer(config, seen.data())
		drain(t, c)
		w.insert("c")
		w.tick()
		drain(t, c)
	}
	if got := seen.take(); got != "a c c" {
		t.Errorf("seen: %s", got)
	}
}

func TestUnregisteredIsAnError(t *testing.T) {
	w := newWorld(t, false)
	config := w.config()
	config.Consumer = "nobody"
	c := w.consumer(config, (&notes{}).data())
	if _, err := c.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "consumer q/nobody: open a batch: ") || !strings.Contains(err.Error(), "Not subscriber to queue") {
		t.Errorf("error: %v", err)
	}
}

// Every statement between the commits may fail, before and after it ran: what was put
// aside comes again exactly once.
func TestRetryInTargetSurvivesEveryFault(t *testing.T) {
	w := newWorld(t, true)
	w.target.Script(t, "create table done (data text, retry int)")
	for _, member := range []string{"", "m"} {
		for _, after := range []bool{false, true} {
			for nth := 1; ; nth++ {
				w.name = fmt.Sprint("q", member, after, nth)
				w.makeQueue(w.name)
				config := w.config()
				config.Member, config.Register = member, true
				c := w.consumer(config, consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
					if _, err := tx.Exec(ctx, "insert into done values ($1, $2)", e.Data, e.Retry); err != nil {
						return err
					}
					if e.Retry == 0 {
						return consume.RetryAfter(0)
					}
					return nil
				}))
				drain(t, c)
				w.insert("a", "b")
				w.tick()
				fault := &pg.Fault{Nth: nth, After: after}
				c.RunOnce(pg.WithFault(t.Context(), fault))
				for range 2 {
					drain(t, c)
					w.exec("select pgq.maint_retry_events()")
					w.tick()
				}
				drain(t, c)
				c.Close()
				if got := one[string](t, w.target, "select string_agg(data || retry, ' ' order by retry, data) from done"); got != "a0 b0 a1 b1" {
					t.Fatalf("member %q, statement %d (after: %v), %s: %s", member, nth, after, fault.Hit(), got)
				}
				w.target.Script(t, "truncate done")
				if fault.Hit() == "" {
					if nth < 12 {
						t.Errorf("only %d statements", nth)
					}
					break
				}
			}
		}
	}
}
