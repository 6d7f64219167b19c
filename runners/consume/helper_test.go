package consume_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/pgqext"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

const template = "consume_template"

var (
	templateMu   sync.Mutex
	templateMade bool
)

// database makes a database that has the schemas.
func database(t testing.TB) *sandboxtest.DB {
	t.Helper()
	templateMu.Lock() // also for the copy: two at once are refused
	defer templateMu.Unlock()
	s := sandboxtest.Server(t)
	if !templateMade {
		conn, err := pg.Dial(t.Context(), s.DSN("postgres"), pg.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Exec(t.Context(), "create database "+template); err != nil {
			t.Fatal(err)
		}
		db := &sandboxtest.DB{Name: template, DSN: s.DSN(template), Server: s}
		db.Install(t, pgq.Schema, pgqcoop.Schema, pgqext.Schema)
		templateMade = true
	}
	return sandboxtest.DatabaseOn(t, s, template)
}

// A world is a queue that ticks when it is told to, and a consumer of it.
type world struct {
	testing.TB
	queue  *sandboxtest.DB
	target *sandboxtest.DB // the same, or another
	conn   *pg.Conn        // to the queue
	name   string
}

// newWorld makes a queue with the consumer c. Elsewhere: it works in another database.
func newWorld(t testing.TB, elsewhere bool) *world {
	t.Helper()
	w := &world{TB: t, queue: database(t), name: "q"}
	w.target = w.queue
	if elsewhere {
		w.target = database(t)
	}
	w.conn = w.queue.Conn(t)
	w.makeQueue("q")
	w.exec("select pgq.register_consumer('q', 'c')")
	return w
}

func (w *world) makeQueue(name string) {
	w.Helper()
	w.exec("select pgq.create_queue($1)", name)
	w.exec("update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '0' where queue_name = $1", name)
}

func (w *world) exec(text string, args ...any) {
	w.Helper()
	if _, err := w.conn.Exec(w.Context(), text, args...); err != nil {
		w.Fatalf("%s: %v", text, err)
	}
}

// insert writes events whose data are the texts, each in a transaction of its own.
func (w *world) insert(texts ...string) {
	w.Helper()
	for _, text := range texts {
		w.exec("select pgq.insert_event($1, 'note', $2)", w.name, text)
	}
}

func (w *world) tick() {
	w.Helper()
	w.exec("select pgq.ticker($1)", w.name)
}

func (w *world) config() consume.Config {
	c := consume.Config{Queue: w.name, Consumer: "c", DSN: reach(w.queue), Log: testLog(w.TB), Poll: 10 * time.Millisecond, Stats: &consume.Stats{}}
	if w.target != w.queue {
		c.Target = reach(w.target)
	}
	return c
}

func (w *world) consumer(c consume.Config, h consume.Handler) *consume.Consumer {
	made := consume.New(c, h)
	w.Cleanup(made.Close)
	return made
}

func reach(db *sandboxtest.DB) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return db.DSN, nil }
}

// testLog shows what is logged when SKYTOOLS_TEST_LOG is set.
func testLog(t testing.TB) hclog.Logger {
	if os.Getenv("SKYTOOLS_TEST_LOG") == "" {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Output: t.Output(), Level: hclog.Debug})
}

// drain does rounds until there is nothing to do.
func drain(t testing.TB, c *consume.Consumer) (batches int) {
	t.Helper()
	for {
		worked, err := c.RunOnce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !worked {
			return batches
		}
		batches++
	}
}

// notes collects what a handler sees.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

// take is what was seen since the last time.
func (n *notes) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := strings.Join(n.lines, " ")
	n.lines = nil
	return text
}

// data is a handler that notes the data of events.
func (n *notes) data() consume.Handler {
	return consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
		n.add("%s", e.Data)
		return nil
	})
}

func one[T any](t testing.TB, db *sandboxtest.DB, text string, args ...any) T {
	t.Helper()
	return sandboxtest.One[T](t, db, text, args...)
}

// waitFor waits until a query says true.
func waitFor(t testing.TB, db *sandboxtest.DB, text string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !one[bool](t, db, text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came: %s", text)
		}
	}
}
