package applier_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/maint"
	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// printedGrants are the statements of the file that `skytools sql grants` prints:
// those that stand there as they are, and those in the comment below each heading.
func printedGrants(t *testing.T) (plain string, under func(heading string) string) {
	t.Helper()
	text, err := os.ReadFile("../cmd/skytools/internal/cli/grants.sql")
	if err != nil {
		t.Fatal(err)
	}
	return string(text), func(heading string) string {
		_, rest, found := strings.Cut(string(text), "-- "+heading)
		if !found {
			t.Fatalf("the grants have no part %q", heading)
		}
		part, _, _ := strings.Cut(rest, "\n\n")
		var statements []string
		for _, line := range strings.Split(part, "\n") {
			if s, ok := strings.CutPrefix(line, "--   "); ok {
				statements = append(statements, s)
			}
		}
		if len(statements) == 0 {
			t.Fatalf("nothing is granted under %q", heading)
		}
		return strings.Join(statements, "\n")
	}
}

// as is the world seen by another role.
func (w *world) as(role string) *world {
	v := &world{T: w.T, dbs: map[string]*sandboxtest.DB{}}
	for name, db := range w.dbs {
		mine := *db
		mine.DSN = strings.Replace(db.DSN, "user="+sandbox.User, "user="+role, 1)
		v.dbs[name] = &mine
	}
	return v
}

// round does one round of every loop: a tick and the upkeep everywhere, replay
// and copies until there is nothing more to do. It returns the upkeep's failures.
func (w *world) round(queue string, workers map[string]*cascade.Worker) {
	w.Helper()
	for name, db := range w.dbs {
		dsn := func(context.Context) (string, error) { return db.DSN, nil }
		if _, err := tick.New(tick.Config{DSN: dsn}).RunOnce(w.Context()); err != nil {
			w.Fatalf("tick %s: %v", name, err)
		}
		stats := &maint.Stats{}
		k := maint.New(maint.Config{DSN: dsn, Stats: stats, Log: testLog(w.T)})
		if err := k.Maintain(w.Context()); err != nil {
			w.Fatalf("maintain %s: %v", name, err)
		}
		if _, err := k.Retry(w.Context()); err != nil {
			w.Fatalf("retry %s: %v", name, err)
		}
		if n := stats.Failures.Load(); n > 0 {
			w.Errorf("maintain %s: %d operations failed", name, n)
		}
	}
	for _, name := range []string{"hub", "edge", "report"} {
		worker := workers[name]
		if worker == nil {
			worker = cascade.New(cascade.Config{
				Queue: queue, Poll: 10 * time.Millisecond, Watermark: 10 * time.Millisecond, Log: testLog(w.T),
				DSN:   func(context.Context) (string, error) { return w.dbs[name].DSN, nil },
				Reach: func(_ context.Context, node, _ string) (string, error) { return w.dbs[node].DSN, nil },
			})
			workers[name] = worker
			w.Cleanup(worker.Close)
		}
		for worked, n := true, 0; worked && n < 100; n++ {
			var err error
			if worked, err = worker.RunOnce(w.Context()); err != nil {
				w.Fatalf("replay on %s: %v", name, err)
			}
		}
	}
}

// TestLeastPrivilege lets no superuser near: one role applies, one runs the loops,
// one looks, each with the grants that we print and nothing else.
func TestLeastPrivilege(t *testing.T) {
	for _, replica := range []bool{false, true} {
		name := "triggers of subscribers fire"
		if replica {
			name = "with session_replication_role"
		}
		t.Run(name, func(t *testing.T) { leastPrivilege(t, replica) })
	}
}

func leastPrivilege(t *testing.T, replica bool) {
	t.Parallel()
	s := sandboxtest.Private(t, sandbox.Options{}) // roles are of the server
	if replica && s.Install.Major() < 15 {
		replica = false // nobody but a superuser can have it
	}
	w := &world{T: t, dbs: map[string]*sandboxtest.DB{}}
	for _, name := range []string{"hub", "edge", "report"} {
		w.dbs[name] = sandboxtest.DatabaseOn(t, s, "template1")
	}
	grants, under := printedGrants(t)
	w.dbs["hub"].Script(t, grants+"\ncreate role shop;")
	if replica {
		w.dbs["hub"].Script(t, under("On servers with subscribers"))
	}
	for _, db := range w.dbs {
		db.Script(t, "create schema shop authorization shop; revoke all on database "+sql.Ident(db.Name)+" from public")
		db.Script(t, strings.NewReplacer("DATABASE", sql.Ident(db.Name), "TABLE_OWNER", "shop").Replace(under("In each database")))
	}
	const table = `create table shop.orders (id int primary key, customer text not null);
		create table shop.lines (id int generated always as identity primary key, "order" int not null references shop.orders, note text);
		alter table shop.orders owner to shop; alter table shop.lines owner to shop;`
	for name, db := range w.dbs {
		db.Script(t, table)
		if name == "hub" {
			db.Script(t, `create sequence shop.numbers; alter sequence shop.numbers owner to shop;
				insert into shop.orders select i, 'c' || i from generate_series(1, 20) i;
				insert into shop.lines ("order", note) select i, 'n' from generate_series(1, 20) i`)
			continue
		}
		db.Script(t, `create sequence shop.numbers; alter sequence shop.numbers owner to shop; create table shop.fired (at text); grant all on shop.fired to public;
			create function shop.fire() returns trigger language plpgsql as 'begin insert into shop.fired values (tg_op); return null; end';
			create trigger fire after update on shop.orders for each row execute function shop.fire()`)
	}
	const yaml = `
queues:
  audit: {on: hub, ticker_max_lag: 100ms, consumers: {mailer: , indexer: {members: [w1, w2]}}, capture: {shop.lines: {when: "note <> 'x'"}}}
  shop:
    ticker_max_lag: 10ms
    nodes:
      hub: {type: root}
      edge: {type: branch, provider: hub}
      report: {type: leaf, provider: edge}
    tables:
      shop.orders:
      shop.lines:
    sequences: [shop.numbers]
`
	apply, run, plan := w.as("skytools_apply"), w.as("skytools_run"), w.as("skytools_plan")
	apply.apply(apply.plan(yaml))
	for _, db := range apply.dbs {
		db.Script(t, under("After the first apply"))
	}
	plan.empty(yaml)

	workers := map[string]*cascade.Worker{}
	converge := func() {
		t.Helper()
		deadline := time.Now().Add(3 * time.Minute) // a busy machine is no failure
		for {
			run.round("shop", workers)
			if w.same("shop.orders") && w.same("shop.lines") && w.copied() {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the nodes do not become equal")
			}
			time.Sleep(20 * time.Millisecond) // a tick needs its lag
		}
	}
	converge()
	w.dbs["hub"].Script(t, `insert into shop.orders values (30, 'new'); insert into shop.lines ("order", note) values (30, 'o'); update shop.orders set customer = 'other' where id < 5;
		delete from shop.lines where "order" = 7; delete from shop.orders where id = 7; select setval('shop.numbers', 5000)`)
	converge()
	w.dbs["hub"].Script(t, `truncate shop.lines; insert into shop.lines ("order", note) values (30, 'after')`)
	converge()
	for _, name := range []string{"edge", "report"} {
		fired := sandboxtest.One[int64](t, w.dbs[name], "select count(*) from shop.fired")
		if replica != (fired == 0) {
			t.Errorf("%s: a trigger fired %d times", name, fired)
		}
	}
	plan.empty(yaml)
}

// same reports whether a table is the same on all nodes.
func (w *world) same(table string) bool {
	w.Helper()
	all := map[string]bool{}
	for _, db := range w.dbs {
		all[sandboxtest.One[string](w.T, db, "select coalesce(string_agg(r::text, ',' order by r::text), '') from "+table+" r")] = true
	}
	return len(all) == 1
}

// copied reports whether no table waits to be copied.
func (w *world) copied() bool {
	w.Helper()
	for _, db := range w.dbs {
		if sandboxtest.One[int64](w.T, db, "select count(*) from londiste.table_info where local and (merge_state is distinct from 'ok' or custom_snapshot is not null)") > 0 {
			return false
		}
	}
	return true
}

// testLog sends warnings to the test's log.
func testLog(t *testing.T) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: logWriter{t}, DisableTime: true})
}

type logWriter struct{ t *testing.T }

func (l logWriter) Write(line []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(line)))
	return len(line), nil
}
