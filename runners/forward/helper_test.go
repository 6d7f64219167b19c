package forward_test

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/forward"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/pgqext"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

const template = "forward_template"

var makeTemplate sync.Mutex

// database makes a database that has the schemas.
func database(t testing.TB) *sandboxtest.DB {
	t.Helper()
	makeTemplate.Lock() // also for the copy: two at once are refused
	defer makeTemplate.Unlock()
	s := sandboxtest.Server(t)
	conn, err := pg.Dial(t.Context(), s.DSN("postgres"), pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	made, err := pg.One[bool](t.Context(), conn, "select exists (select from pg_database where datname = $1)", template)
	if err != nil {
		t.Fatal(err)
	}
	if !made {
		if _, err := conn.Exec(t.Context(), "create database "+template); err != nil {
			t.Fatal(err)
		}
		db := &sandboxtest.DB{Name: template, DSN: s.DSN(template), Server: s}
		db.Install(t, pgq.Schema, pgqcoop.Schema, pgqext.Schema)
	}
	return sandboxtest.DatabaseOn(t, s, template)
}

// A place is a database with queues that tick when they are told to.
type place struct {
	testing.TB
	db   *sandboxtest.DB
	conn *pg.Conn
}

func newPlace(t testing.TB, db *sandboxtest.DB) *place {
	t.Helper()
	return &place{t, db, db.Conn(t)}
}

// pair is a source with queue q, and a target with queue p: the same database, or another.
func pair(t testing.TB, elsewhere bool) (source, target *place) {
	t.Helper()
	source = newPlace(t, database(t))
	target = source
	if elsewhere {
		target = newPlace(t, database(t))
	}
	source.queue("q")
	target.queue("p")
	source.exec("select pgq.register_consumer('q', 'f')")
	return source, target
}

// both runs a test in one database and between two.
func both(t *testing.T, f func(t *testing.T, source, target *place)) {
	for name, elsewhere := range map[string]bool{"here": false, "there": true} {
		t.Run(name, func(t *testing.T) {
			source, target := pair(t, elsewhere)
			f(t, source, target)
		})
	}
}

func (p *place) exec(text string, args ...any) {
	p.Helper()
	if _, err := p.conn.Exec(p.Context(), text, args...); err != nil {
		p.Fatalf("%s: %v", text, err)
	}
}

// queue makes a queue with a consumer named test, to look into it.
func (p *place) queue(name string) {
	p.Helper()
	p.exec("select pgq.create_queue($1)", name)
	p.exec("update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '0' where queue_name = $1", name)
	p.exec("select pgq.register_consumer($1, 'test')", name)
}

// insert writes events of type t whose data are the texts, in one transaction, and ticks.
func (p *place) insert(name string, texts ...string) {
	p.Helper()
	p.exec("select pgq.insert_event($1, 't', x) from unnest($2::text[]) with ordinality as e (x, i) order by i", name, texts)
	p.tick(name)
}

func (p *place) tick(name string) {
	p.Helper()
	p.exec("select pgq.ticker($1)", name)
}

// event is what a forward must keep.
type event struct {
	Type, Data, Extra1, Extra2, Extra3, Extra4 *string
}

// events are those of a queue that have not been looked at yet, in order.
func (p *place) events(queue string) []event {
	p.Helper()
	p.tick(queue)
	var all []event
	for {
		batch := one[*int64](p, p.conn, "select pgq.next_batch($1, 'test')", queue)
		if batch == nil {
			return all
		}
		found, err := pg.Structs[event](p.Context(), p.conn, `
			select ev_type as type, ev_data as data, ev_extra1 as extra1, ev_extra2 as extra2, ev_extra3 as extra3, ev_extra4 as extra4
			  from pgq.get_batch_events($1) order by ev_id`, *batch)
		if err != nil {
			p.Fatal(err)
		}
		all = append(all, found...)
		p.exec("select pgq.finish_batch($1)", *batch)
	}
}

// data are the data of the same events.
func (p *place) data(queue string) []string {
	p.Helper()
	var all []string
	for _, e := range p.events(queue) {
		all = append(all, *e.Data)
	}
	return all
}

func config(source, target *place) forward.Config {
	c := forward.Config{Queue: "q", Consumer: "f", DSN: reach(source.db), To: "p", Log: testLog(source), Stats: &forward.Stats{}}
	if target != source {
		c.Target = reach(target.db)
	}
	return c
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

func start(t testing.TB, c forward.Config) *forward.Forward {
	f := forward.New(c)
	t.Cleanup(f.Close)
	return f
}

// drain does rounds until there is nothing to do.
func drain(t testing.TB, f *forward.Forward) {
	t.Helper()
	for {
		worked, err := f.RunOnce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !worked {
			return
		}
	}
}

func one[T any](t testing.TB, conn *pg.Conn, text string, args ...any) T {
	t.Helper()
	v, err := pg.One[T](t.Context(), conn, text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}
