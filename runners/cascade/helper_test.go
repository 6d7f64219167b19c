package cascade_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

const queue = "shop"

// templates are the servers, by folder, that have the template database.
var (
	templates   = map[string]bool{}
	templatesMu sync.Mutex
)

const template = "skytools_template"

// database makes a database that has the schemas.
func database(t testing.TB, s *sandbox.Server) *sandboxtest.DB {
	t.Helper()
	templatesMu.Lock() // also for the copy: two at once are refused
	defer templatesMu.Unlock()
	if !templates[s.Dir] {
		conn, err := pg.Dial(t.Context(), s.DSN("postgres"), pg.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Exec(t.Context(), "create database "+template); err != nil {
			t.Fatal(err)
		}
		install(t, &sandboxtest.DB{Name: template, DSN: s.DSN(template), Server: s})
		templates[s.Dir] = true
	}
	return sandboxtest.DatabaseOn(t, s, template)
}

func install(t testing.TB, db *sandboxtest.DB) {
	t.Helper()
	db.Install(t, pgq.Schema, pgqcoop.Schema, pgqnode.Schema, londiste.Schema)
}

// A node of a cascade under test.
type node struct {
	t    testing.TB
	db   *sandboxtest.DB
	name string
	of   string // its queue; empty: the usual one

	mu      sync.Mutex
	session *pg.Conn
	cleaned bool
}

func (n *node) queue() string { return cmp.Or(n.of, queue) }

// with lends the node's session to f. A session that breaks is replaced at the next use.
func (n *node) with(f func(c *pg.Conn) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session == nil || n.session.Closed() {
		c, err := pg.Dial(context.Background(), n.db.DSN, pg.Options{App: "test"})
		if err != nil {
			return err
		}
		n.session = c
		if !n.cleaned {
			n.cleaned = true
			n.t.Cleanup(func() { n.mu.Lock(); defer n.mu.Unlock(); n.session.Close() })
		}
	}
	return f(n.session)
}

func (n *node) run(text string) {
	n.t.Helper()
	err := n.with(func(c *pg.Conn) error { return c.Script(context.Background(), text) })
	if err != nil {
		n.t.Fatalf("%s: %s: %v", n.name, text, err)
	}
}

func (n *node) must(stmts ...sql.Stmt) {
	n.t.Helper()
	for _, s := range stmts {
		err := n.with(func(c *pg.Conn) error { return replay.Call(context.Background(), c, s) })
		if err != nil {
			n.t.Fatalf("%s: %s: %v", n.name, s.Pasteable(), err)
		}
	}
}

func (n *node) text(query string, args ...any) string {
	n.t.Helper()
	got, err := n.ask(query, args...)
	if err != nil {
		n.t.Fatalf("%s: %s: %v", n.name, query, err)
	}
	return got
}

func (n *node) ask(query string, args ...any) (string, error) {
	answer := "NULL"
	err := n.with(func(c *pg.Conn) error {
		got, err := pg.One[*string](context.Background(), c, query, args...)
		if got != nil {
			answer = *got
		}
		return err
	})
	return answer, err
}

// rows is a table's content, in one text.
func (n *node) rows(table string) string {
	n.t.Helper()
	return n.text("select coalesce(string_agg(r::text, E'\\n' order by r::text collate \"C\"), '') from " + table + " r")
}

// newRoot makes a root; add hangs nodes below it.
func newRoot(t testing.TB, s *sandbox.Server, name string) *node {
	t.Helper()
	return newRootIn(t, database(t, s), queue, name)
}

// newRootIn makes a root of a queue in a database that may have other nodes.
func newRootIn(t testing.TB, db *sandboxtest.DB, of, name string) *node {
	t.Helper()
	n := &node{t: t, db: db, name: name, of: of}
	n.must(pgqnode.RegisterLocation(of, name, n.db.DSN, false), pgqnode.CreateRoot(of, name, n.worker()))
	n.run("update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '1 hour'")
	return n
}

func (n *node) add(s *sandbox.Server, root *node, name, typ string) *node {
	n.t.Helper()
	return n.addIn(database(n.t, s), root, name, typ)
}

// addIn hangs a node that lives in a database.
func (n *node) addIn(db *sandboxtest.DB, root *node, name, typ string) *node {
	n.t.Helper()
	return n.addMerged(db, root, name, typ, "")
}

// worker is the node's worker; the databases of merged queues have several.
func (n *node) worker() string {
	if n.of == "" || n.of == queue {
		return n.name + "_worker"
	}
	return n.of + "_" + n.name + "_worker"
}

// addMerged hangs a node, and merges a leaf into another queue of its database.
func (n *node) addMerged(db *sandboxtest.DB, root *node, name, typ, into string) *node {
	n.t.Helper()
	m, queue := &node{t: n.t, db: db, name: name, of: n.of}, n.queue()
	root.must(pgqnode.RegisterLocation(queue, name, m.db.DSN, false))
	if n != root {
		n.must(pgqnode.RegisterLocation(queue, name, m.db.DSN, false))
	}
	n.must(pgqnode.RegisterSubscriber(queue, name, m.worker(), 0))
	at := n.text("select last_tick::text from pgq.get_consumer_info($1, '.global_watermark')", queue)
	var tick int64
	fmt.Sscan(at, &tick)
	m.must(pgqnode.RegisterLocation(queue, name, m.db.DSN, false), pgqnode.RegisterLocation(queue, n.name, n.db.DSN, false))
	if root != n {
		m.must(pgqnode.RegisterLocation(queue, root.name, root.db.DSN, false))
	}
	if typ == pgqnode.Branch {
		m.must(pgqnode.CreateBranch(queue, name, m.worker(), n.name, tick))
	} else {
		m.must(pgqnode.CreateLeaf(queue, name, m.worker(), n.name, tick, into))
	}
	return m
}

// tick makes a tick on a root, in any case.
func (n *node) tick() {
	n.t.Helper()
	n.run("select pgq.force_tick('" + n.queue() + "')")
	n.run("select pgq.ticker('" + n.queue() + "')")
}

// ticking runs a ticker as a daemon would, until the test ends or the returned
// function is called. Errors are those of a server that is down.
func (n *node) ticking(every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			n.ask("select pgq.ticker($1)::text", n.queue())
			select {
			case <-ctx.Done():
			case <-time.After(every):
			}
		}
	}()
	stop = func() { cancel(); <-done }
	n.t.Cleanup(stop)
	return stop
}

func (n *node) config() cascade.Config {
	c := cascade.Config{
		Queue: n.queue(), Poll: 100 * time.Millisecond, Watermark: 50 * time.Millisecond,
		DSN: func(context.Context) (string, error) { return n.db.DSN, nil },
	}
	if os.Getenv("SKYTOOLS_TEST_LOG") != "" {
		c.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Name: n.name})
	}
	return c
}

// start keeps a worker running, as the group does, until the test ends or stop is
// called. Errors go to the returned list.
func (n *node) start(change ...func(*cascade.Config)) *kept {
	c := n.config()
	for _, f := range change {
		f(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &kept{t: n.t, done: make(chan struct{}), cancel: cancel}
	w := cascade.New(c)
	go func() {
		defer close(k.done)
		for ctx.Err() == nil {
			if err := w.Run(ctx); err != nil {
				k.mu.Lock()
				k.errs = append(k.errs, err)
				k.mu.Unlock()
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		}
	}()
	n.t.Cleanup(k.stop)
	return k
}

type kept struct {
	t      testing.TB
	mu     sync.Mutex
	errs   []error
	cancel context.CancelFunc
	done   chan struct{}
}

func (k *kept) stop() { k.cancel(); <-k.done }

// healthy fails the test if a round has failed.
func (k *kept) healthy() {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, err := range k.errs {
		k.t.Errorf("a round failed: %v", err)
	}
}

// tell shows why rounds have failed, if the test fails: a root that is being moved may
// fail some.
func (k *kept) tell() {
	k.t.Cleanup(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.t.Failed() && len(k.errs) > 0 {
			k.t.Logf("%d rounds failed, the last: %v", len(k.errs), k.errs[len(k.errs)-1])
		}
	})
}

// drain does rounds until there is nothing more to do.
func drain(t testing.TB, w *cascade.Worker) {
	t.Helper()
	for range 10_000 {
		worked, err := w.RunOnce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !worked {
			return
		}
	}
	t.Fatal("there is no end of it")
}

// patience stretches every limit: a test says how long something takes on a quiet
// machine, and fails only when it takes so much longer that it must hang.
const patience = 10

// eventually waits until query answers want.
func (n *node) eventually(limit time.Duration, want, query string, args ...any) {
	n.t.Helper()
	limit *= patience
	var got string
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got, err = n.ask(query, args...); err == nil && got == want {
			return
		}
	}
	n.t.Fatalf("%s: after %s %s\nis   %s (%v)\nwant %s\nerror: %s\ntables: %s", n.name, limit, query, got, err, want,
		n.text("select coalesce(string_agg(consumer_name || ': ' || cur_error, '; '), '') from pgq_node.local_state"),
		n.text("select coalesce(string_agg(concat_ws(' ', table_name, merge_state, custom_snapshot), '; '), '') from londiste.table_info"))
}

// inSync waits until all local tables of the node are the worker's.
func (n *node) inSync(limit time.Duration) {
	n.t.Helper()
	n.eventually(limit, "0", "select count(*)::text from londiste.table_info where local and (merge_state is distinct from 'ok' or custom_snapshot is not null)")
}

// caughtUp waits until the node has completed the newest tick of root.
func (n *node) caughtUp(root *node, limit time.Duration) {
	n.t.Helper()
	root.tick()
	top := root.text("select last_tick_id::text from pgq.get_queue_info($1)", root.queue())
	n.eventually(limit, "true", `select (last_tick_id >= $1::text::int8 and coalesce((select last_tick_id from pgq.get_queue_info($3)) >= $1::text::int8, true))::text
		from pgq_node.local_state where consumer_name = $2`, top, n.worker(), n.queue()) // a branch makes the tick after its position
}

func (n *node) addTable(name string, o londiste.AddTable) {
	n.t.Helper()
	n.must(londiste.LocalAddTable(n.queue(), name, o))
}

// sameTables fails the test unless the tables of two nodes are equal.
func sameTables(t testing.TB, a, b *node, tables ...string) {
	t.Helper()
	for _, table := range tables {
		name := sql.ParseName(table).Ident()
		if x, y := a.rows(name), b.rows(name); x != y {
			t.Errorf("%s differs: %s has %d rows, %s has %d\n%s\n--\n%s", table, a.name, strings.Count(x, "\n")+1, b.name, strings.Count(y, "\n")+1, short(x), short(y))
		}
	}
}

func short(s string) string { return s[:min(len(s), 2000)] }
