package compare_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/compare"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

const queue = "shop"

// A node of a cascade under test. It may be used from several goroutines.
type node struct {
	t    testing.TB
	db   *sandboxtest.DB
	name string
	mu   sync.Mutex
	conn *pg.Conn
}

var (
	templateMu   sync.Mutex
	templateMade bool
)

// database makes a database that has the schemas.
func database(t testing.TB) *sandboxtest.DB {
	t.Helper()
	const template = "skytools_template"
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
		install(t, &sandboxtest.DB{Name: template, DSN: s.DSN(template), Server: s})
		templateMade = true
	}
	return sandboxtest.DatabaseOn(t, s, template)
}

func install(t testing.TB, db *sandboxtest.DB) {
	t.Helper()
	db.Install(t, pgq.Schema, pgqcoop.Schema, pgqnode.Schema, londiste.Schema)
}

func newNode(t testing.TB, name string, db *sandboxtest.DB) *node {
	t.Helper()
	n := &node{t: t, db: db, name: name}
	n.conn = n.db.Conn(t)
	return n
}

func (n *node) script(text string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conn.Script(context.Background(), text)
}

func (n *node) run(text string) {
	n.t.Helper()
	if err := n.script(text); err != nil {
		n.t.Fatalf("%s: %s: %v", n.name, text, err)
	}
}

// runQuiet runs SQL as replay does: no trigger fires.
func (n *node) runQuiet(text string) {
	n.t.Helper()
	n.run("set session_replication_role = replica; " + text + "; set session_replication_role = origin")
}

func (n *node) must(stmts ...sql.Stmt) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range stmts {
		if err := replay.Call(context.Background(), n.conn, s); err != nil {
			n.t.Fatalf("%s: %s: %v", n.name, s.Pasteable(), err)
		}
	}
}

func (n *node) text(query string, args ...any) string {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	got, err := pg.One[*string](context.Background(), n.conn, query, args...)
	if err != nil {
		n.t.Fatalf("%s: %s: %v", n.name, query, err)
	}
	if got == nil {
		return "NULL"
	}
	return *got
}

func (n *node) dsn(context.Context) (string, error) { return n.db.DSN, nil }

func newRoot(t testing.TB) *node {
	t.Helper()
	n := newNode(t, "root", database(t))
	n.must(pgqnode.RegisterLocation(queue, n.name, n.db.DSN, false), pgqnode.CreateRoot(queue, n.name, n.name+"_worker"))
	n.run("update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '1 hour'")
	return n
}

// add hangs a node below n.
func (n *node) add(root *node, name, kind string) *node {
	n.t.Helper()
	return n.addOn(database(n.t), root, name, kind)
}

func (n *node) addOn(db *sandboxtest.DB, root *node, name, kind string) *node {
	n.t.Helper()
	m := newNode(n.t, name, db)
	for _, x := range []*node{root, n, m} {
		x.must(pgqnode.RegisterLocation(queue, name, m.db.DSN, false))
		m.must(pgqnode.RegisterLocation(queue, x.name, x.db.DSN, false))
	}
	n.must(pgqnode.RegisterSubscriber(queue, name, name+"_worker", 0))
	var tick int64
	fmt.Sscan(n.text("select last_tick::text from pgq.get_consumer_info($1, '.global_watermark')", queue), &tick)
	if kind == pgqnode.Branch {
		m.must(pgqnode.CreateBranch(queue, name, name+"_worker", n.name, tick))
	} else {
		m.must(pgqnode.CreateLeaf(queue, name, name+"_worker", n.name, tick, ""))
	}
	return m
}

func (n *node) addTable(name string, o londiste.AddTable) {
	n.t.Helper()
	n.must(londiste.LocalAddTable(queue, name, o))
}

// every calls f again and again until the test ends or stop is called.
func every(t testing.TB, d time.Duration, f func()) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			f()
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// ticking runs a ticker, with a session of its own.
func (n *node) ticking(d time.Duration) {
	conn := n.db.Conn(n.t)
	every(n.t, d, func() { conn.Exec(context.Background(), "select pgq.ticker($1)", queue) })
}

// work keeps a worker running until the test ends or stop is called.
func (n *node) work() (stop func()) {
	w := cascade.New(cascade.Config{Queue: queue, DSN: n.dsn, Poll: 50 * time.Millisecond, Watermark: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := w.Run(ctx); err != nil && ctx.Err() == nil {
				n.t.Logf("%s: a round failed: %v", n.name, err)
				time.Sleep(100 * time.Millisecond)
			}
		}
	}()
	stop = func() { cancel(); <-done }
	n.t.Cleanup(stop)
	return stop
}

// eventually waits until query answers want.
func (n *node) eventually(want, query string, args ...any) {
	n.t.Helper()
	got := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got = n.text(query, args...); got == want {
			return
		}
	}
	n.t.Fatalf("%s: %s: %s, want %s; %s", n.name, query, got, want, n.text("select string_agg(consumer_name || ': ' || cur_error, '; ') from pgq_node.local_state"))
}

func (n *node) inSync() {
	n.t.Helper()
	n.eventually("0", "select count(*)::text from londiste.table_info where local and merge_state is distinct from 'ok'")
}

// passed waits until the node has what root has now.
func (n *node) passed(root *node) {
	n.t.Helper()
	root.run("select pgq.force_tick('" + queue + "'); select pgq.ticker('" + queue + "')")
	n.eventually("true", "select (last_tick_id >= $1::text::int8)::text from pgq_node.local_state where consumer_name = $2", root.text("select max(tick_id)::text from pgq.tick"), n.name+"_worker")
}

func config(provider, subscriber *node, table string) compare.Config {
	return compare.Config{
		Queue: queue, Table: table, Patience: time.Minute,
		Provider:   compare.Place{Name: provider.name, DSN: provider.dsn},
		Subscriber: compare.Place{Name: subscriber.name, DSN: subscriber.dsn},
	}
}

func compared(t testing.TB, c compare.Config) *compare.Result {
	t.Helper()
	r, err := compare.Table(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lines are the differences, as "changed 7 v: a -> NULL".
func lines(r *compare.Result) []string {
	all := []string{}
	show := func(s *string) string {
		if s == nil {
			return "NULL"
		}
		return *s
	}
	for _, d := range r.Differences {
		var text []string
		for _, k := range d.Key {
			text = append(text, k.Value)
		}
		line := d.Kind + " " + strings.Join(text, ",")
		if d.Kind == compare.Changed {
			for _, v := range d.Values {
				line += " " + v.Column + ": " + show(v.Provider) + " / " + show(v.Subscriber)
			}
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}
