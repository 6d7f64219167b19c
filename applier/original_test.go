package applier_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// originals is an installed server that has the extensions pgq, pgq_node and
// londiste. CI must have one; elsewhere the test says that it needs one.
func originals(t *testing.T) (sandbox.Install, bool) {
	t.Helper()
	for _, i := range sandbox.Installs() {
		share := fmt.Sprintf("/usr/share/postgresql/%d/extension", i.Major()) // where Debian has them
		all := true
		for _, name := range []string{"pgq", "pgq_node", "londiste"} {
			_, err := os.Stat(filepath.Join(share, name+".control"))
			all = all && err == nil
		}
		if all {
			return i, true
		}
	}
	const advice = "no server here has the extensions pgq, pgq_node and londiste (Debian: postgresql-15-pgq3, postgresql-15-pgq-node, postgresql-15-londiste-sql)"
	if os.Getenv("CI") == "true" {
		t.Fatal(advice)
	}
	t.Log("nothing was tested: " + advice)
	return sandbox.Install{}, false
}

// newOriginal is a root and a leaf that were made with the original functions, in
// the order of contract/pgq.md section 6.8, with a table and a sequence between
// them and a plain queue with a trigger and a consumer beside them.
func newOriginal(t *testing.T, i sandbox.Install) *world {
	t.Helper()
	s := sandboxtest.Private(t, sandbox.Options{Install: i})
	w := &world{T: t, dbs: map[string]*sandboxtest.DB{}, say: map[string]string{}}
	for _, name := range []string{"hub", "report"} {
		db := sandboxtest.DatabaseOn(t, s, "template1")
		w.dbs[name], w.say[name] = db, fmt.Sprintf("location: %q", db.DSN)
		db.Script(t, `create extension pgq; create extension pgq_node; create extension londiste;
			create table orders (id serial primary key, customer text);
			create table lines (id int primary key, note text)`)
	}
	hub, report := w.dbs["hub"], w.dbs["report"]
	hub.Script(t, `insert into orders (customer) select 'c' || i from generate_series(1, 10) i;
		create table invoices (id int primary key, status text);
		select pgq.create_queue('audit');
		select pgq.register_consumer('audit', 'mailer');
		create trigger capture after insert or update or delete on invoices for each row execute function pgq.logutriga('audit', 'ignore=status')`)
	hub.Script(t, `select pgq_node.register_location('shop', 'hub', `+sql.Literal(hub.DSN)+`, false);
		select pgq_node.create_node('shop', 'root', 'hub', 'hub_worker', null, null, null);
		select pgq_node.register_location('shop', 'report', `+sql.Literal(report.DSN)+`, false);
		select pgq_node.register_subscriber('shop', 'report', 'report_worker', null);
		select pgq.set_queue_config('shop', 'ticker_max_lag', '10 ms'), pgq.set_queue_config('audit', 'ticker_max_lag', '10 ms')`)
	at := sandboxtest.One[int64](t, hub, "select last_tick::int8 from pgq.get_consumer_info('shop', '.global_watermark')")
	for _, n := range []string{"hub", "report"} {
		report.Script(t, "select pgq_node.register_location('shop', "+sql.Literal(n)+", "+sql.Literal(w.dbs[n].DSN)+", false)")
	}
	report.Script(t, "select pgq_node.create_node('shop', 'leaf', 'report', 'report_worker', 'hub', "+fmt.Sprint(at)+", null)")
	hub.Script(t, "select londiste.local_add_table('shop', 'public.orders'); select londiste.local_add_seq('shop', 'public.orders_id_seq')")
	report.Script(t, "select londiste.global_add_table('shop', 'public.orders'); select londiste.global_update_seq('shop', 'public.orders_id_seq', 1);"+
		"select londiste.local_add_table('shop', 'public.orders'); select londiste.local_add_seq('shop', 'public.orders_id_seq')")
	return w
}

// originalTriggers are the functions of the originals and what calls them.
const originalTriggers = `select string_agg(p.oid || ' ' || p.proname || ' ' || coalesce(t.tgname || ' ' || t.oid, ''), ', ' order by p.proname, t.tgname)
	from pg_proc p left join pg_trigger t on t.tgfoid = p.oid and t.tgrelid in ('orders'::regclass, to_regclass('invoices'))
	where p.pronamespace = 'pgq'::regnamespace and p.proname in ('sqltriga', 'logutriga', 'jsontriga')`

// TestOriginalsAreAdopted takes over a cascade of the originals: nothing of theirs
// is replaced, and everything goes on with our programs.
func TestOriginalsAreAdopted(t *testing.T) {
	install, found := originals(t)
	if !found {
		return
	}
	w := newOriginal(t, install)
	before := map[string]string{}
	for name, db := range w.dbs {
		before[name] = sandboxtest.One[string](t, db, originalTriggers)
	}
	text, count, err := planner.AdoptYAML(w.set(""), w.live(), planner.Options{Now: time.Now()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d objects:\n%s", count, text)
	_, yaml, _ := strings.Cut(text, "\n")
	p := w.plan(yaml)
	for _, c := range p.Changes {
		if c.Action != planner.Adopt && c.Address.String() != "schema/skytools@"+c.Address.Database && c.Address.Kind != "role" {
			t.Errorf("%s: %s; want only adoptions", c.Address, c.Action)
		}
	}
	if t.Failed() {
		var out strings.Builder
		render.Text(&out, p, render.TextOptions{Verbose: true})
		t.Fatal(out.String())
	}
	w.apply(p)
	w.empty(yaml)
	for name, db := range w.dbs {
		if got := sandboxtest.One[string](t, db, originalTriggers); got != before[name] {
			t.Errorf("%s: functions or triggers of the originals changed:\n%s\nwere\n%s", name, got, before[name])
		}
	}

	workers := map[string]*cascade.Worker{}
	w.follow(workers, "orders")
	w.dbs["hub"].Script(t, "insert into orders (customer) values ('new'); update orders set customer = 'x' where id = 2; delete from orders where id = 3")
	w.follow(workers, "orders")

	more := strings.Replace(yaml, "      public.orders:", "      public.lines:\n      public.orders:", 1) + "  fresh: {on: hub, ticker_max_lag: 10ms, consumers: {reader: }}\n"
	w.apply(w.plan(more))
	w.empty(more)
	w.dbs["hub"].Script(t, "insert into lines values (1, 'one'), (2, 'two'); update lines set note = 'changed' where id = 2")
	w.follow(workers, "orders", "lines")
	if n := sandboxtest.One[int64](t, w.dbs["hub"], `select count(*) from pgq.queue q, pgq.tick k where q.queue_name = 'fresh' and k.tick_queue = q.queue_id`); n < 2 {
		t.Errorf("the new queue has %d ticks", n)
	}
	w.empty(more)
}

// TestOriginalsCapture feeds a queue of the originals by the statements that stand
// in for pgq.create_capture, which they do not have.
func TestOriginalsCapture(t *testing.T) {
	install, found := originals(t)
	if !found {
		return
	}
	db := sandboxtest.DatabaseOn(t, sandboxtest.Private(t, sandbox.Options{Install: install}), "template1")
	db.Script(t, `create extension pgq; create table "we""ird; $do$" (id int primary key, a text, b text)`)
	const queue, table = `q'x; $do$ \ y`, `public.we"ird; $do$`
	trigger := strings.Repeat("ö", 30)
	conn := db.Conn(t)
	run := func(stmts ...sql.Stmt) {
		t.Helper()
		err := conn.Write(t.Context(), func(tx *pg.Tx) error { _, err := tx.Run(t.Context(), stmts...); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	create := func(args []string) { t.Helper(); run(pgq.CreateTrigger(queue, table, trigger, args)) }
	run(sql.Exec("select pgq.create_queue($1)", queue))
	create([]string{"ignore=b"})
	db.Script(t, `insert into "we""ird; $do$" values (1, 'x', 'y'); truncate "we""ird; $do$"`)
	got := sandboxtest.One[string](t, db, "select string_agg(ev_type || ' ' || ev_data, E'\n' order by ev_id) from pgq.event_template")
	const want = `{"op":"INSERT","table":["public","we\"ird; $do$"],"pkey":["id"]} {"id":1,"a":"x"}
{"op":"TRUNCATE","table":["public","we\"ird; $do$"],"pkey":["id"]} {}`
	if got != want {
		t.Errorf("events:\n%s\nwant\n%s", got, want)
	}
	run(pgq.DropTriggers(queue, table))
	create(nil) // nothing is in the way any more
	run(pgq.DropTriggers("another", table))
	if n := sandboxtest.One[int64](t, db, "select count(*) from pg_trigger where not tgisinternal"); n != 2 {
		t.Errorf("%d triggers after dropping those of another queue; want 2", n)
	}
}

// follow ticks and replays until the leaf has the root's tables.
func (w *world) follow(workers map[string]*cascade.Worker, tables ...string) {
	w.Helper()
	dsn := func(name string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return w.dbs[name].DSN, nil }
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := tick.New(tick.Config{DSN: dsn("hub")}).RunOnce(w.Context()); err != nil {
			w.Fatal(err)
		}
		for _, name := range []string{"hub", "report"} {
			if workers[name] == nil {
				workers[name] = cascade.New(cascade.Config{Queue: "shop", DSN: dsn(name), Poll: 10 * time.Millisecond, Log: testLog(w.T)})
				w.Cleanup(workers[name].Close)
			}
			if _, err := workers[name].RunOnce(w.Context()); err != nil {
				w.Fatalf("%s: %v", name, err)
			}
		}
		equal := w.copied()
		for _, table := range tables {
			equal = equal && w.same(table)
		}
		if equal {
			return
		}
		if time.Now().After(deadline) {
			w.Fatal("the leaf does not follow")
		}
	}
}
