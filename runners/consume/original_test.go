package consume_test

import (
	"context"
	"os"
	"testing"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestOriginal consumes from the original extension, which announces no ticks, into a
// database with our pgq_ext and into its own. CI must have it; elsewhere the test says
// that it needs it.
func TestOriginal(t *testing.T) {
	for _, i := range sandbox.Installs() {
		if _, err := os.Stat("/usr/share/postgresql/15/extension/pgq.control"); err != nil || i.Major() != 15 {
			continue
		}
		for _, elsewhere := range []bool{false, true} {
			s := sandboxtest.Private(t, sandbox.Options{Install: i})
			w := &world{TB: t, queue: sandboxtest.DatabaseOn(t, s, "template1"), name: "q"}
			w.queue.Script(t, "create extension pgq")
			w.target, w.conn = w.queue, w.queue.Conn(t)
			if elsewhere {
				w.target = database(t)
			}
			w.makeQueue("q")
			seen := make(chan string, 10)
			config := w.config()
			config.Register, config.Types = true, []string{"note"}
			c := w.consumer(config, consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
				seen <- e.Data
				if e.Retry == 0 && e.Data == "b" {
					return consume.RetryAfter(0)
				}
				return nil
			}))
			if n := drain(t, c); n > 0 {
				t.Errorf("%d batches before a tick", n)
			}
			w.insert("a", "b")
			w.tick()
			stop, ended := start(t, t.Context(), c.Run)
			for _, want := range []string{"a", "b"} {
				if got := <-seen; got != want {
					t.Errorf("seen %s; want %s", got, want)
				}
			}
			waitFor(t, w.queue, "select exists (select 1 from pgq.retry_queue)")
			w.exec("select pgq.maint_retry_events()")
			w.insert("c")
			w.tick()
			if got := <-seen + <-seen; got != "bc" {
				t.Errorf("seen: %s", got)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		return
	}
	const advice = "no server here has the extension pgq (Debian: postgresql-15-pgq3)"
	if os.Getenv("CI") == "true" {
		t.Fatal(advice)
	}
	t.Log("nothing was tested: " + advice)
}
