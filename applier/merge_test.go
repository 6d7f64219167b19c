package applier_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// mergedYAML merges north and south into everything, whose root is one of two databases.
func mergedYAML(root string) string {
	other := map[string]string{"all": "copy", "copy": "all"}[root]
	return `
queues:
  everything:
    ticker_max_lag: 100ms
    nodes:
      ` + root + `: {type: root}
      ` + other + `: {type: branch, provider: ` + root + `}
` + mergedPart("north") + mergedPart("south")
}

func mergedPart(name string) string {
	return strings.ReplaceAll(`  PART:
    ticker_max_lag: 100ms
    nodes:
      PART: {type: root}
      all: {type: leaf, provider: PART, merge: everything}
      copy: {type: leaf, provider: PART, merge: everything}
    tables:
      public.sales: {merge: all, create: full}
`, "PART", name)
}

// mergeWorld is four databases whose nodes all run.
func mergeWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dbs: map[string]*sandboxtest.DB{}, say: map[string]string{}}
	for _, name := range []string{"north", "south", "all", "copy"} {
		w.dbs[name] = sandboxtest.Database(t)
	}
	for _, name := range []string{"north", "south"} {
		w.dbs[name].Script(t, fmt.Sprintf(`create table sales (shop text default '%s', id int, note text, n int default 0, primary key (shop, id));
			create index on sales (note); insert into sales (id, note) select i, 'first' from generate_series(1, 100) i`, name))
	}
	return w
}

// run runs the workers of all nodes of a database, and its ticker, until stop is called.
func (w *world) run(database string) (stop func()) {
	w.Helper()
	dsn := func(context.Context) (string, error) { return w.dbs[database].DSN, nil }
	nodes, err := cascade.Discover(w.Context(), w.dbs[database].DSN)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	keep := func(run func(context.Context) error) {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := run(ctx); err != nil && ctx.Err() == nil {
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
	}
	keep(tick.New(tick.Config{DSN: dsn}).Run)
	for _, n := range nodes {
		keep(cascade.New(cascade.Config{
			Queue: n.Queue, Poll: 50 * time.Millisecond, Watermark: 100 * time.Millisecond, Log: testLog(w.T), DSN: dsn,
			Reach: func(_ context.Context, node, _ string) (string, error) { return w.dbs[node].DSN, nil },
		}).Run)
	}
	stop = func() { cancel(); all.Wait() }
	w.Cleanup(stop)
	return stop
}

// sell changes the tables of the parts until the returned function is called.
func (w *world) sell() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	conns := map[string]*pg.Conn{"north": w.dbs["north"].Conn(w.T), "south": w.dbs["south"].Conn(w.T)}
	go func() {
		defer close(done)
		for i := 1; ctx.Err() == nil; i++ {
			for _, conn := range conns {
				conn.Script(context.Background(), fmt.Sprintf(`insert into sales (id, note) select coalesce(max(id), 0) + 1, 'load' from sales;
					update sales set n = n + 1 where id in (%d, 7); delete from sales where id = %d`, i, i-1))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return func() { cancel(); <-done }
}

const salesSQL = `select coalesce(string_agg(r::text, E'\n' order by r::text collate "C"), '') from sales r`

// sold waits until databases hold what north and south hold together.
func (w *world) sold(databases ...string) {
	w.Helper()
	want := sandboxtest.One[string](w.T, w.dbs["north"], salesSQL) + "\n" + sandboxtest.One[string](w.T, w.dbs["south"], salesSQL)
	for _, name := range databases {
		var got string
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if got = sandboxtest.One[string](w.T, w.dbs[name], salesSQL); got == want {
				break
			}
			if time.Now().After(deadline) {
				diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n"))
				w.Fatalf("%s (-want +got):\n%s\n%s is at\n%s\nnorth is at %s", name, diff[:min(len(diff), 1500)], name,
					sandboxtest.One[string](w.T, w.dbs[name], "select coalesce(string_agg(s::text || ' ' || n.node_type, E'\n'), '') from pgq_node.local_state s join pgq_node.node_info n using (queue_name)"),
					sandboxtest.One[string](w.T, w.dbs["north"], "select string_agg(consumer_name || ' ' || last_tick, ', ') || ' ' || max(i.last_tick_id) from pgq.get_consumer_info('north') c, pgq.get_queue_info('north') i"))
			}
		}
	}
}

// approved plans, with every approval that the plan asks for.
func (w *world) approved(yaml string) *planner.Plan {
	w.Helper()
	p := w.plan(yaml)
	if p.Errors() > 0 {
		w.Fatalf("%+v", p.Diagnostics)
	}
	var allow []string
	for _, h := range p.Pending() {
		allow = append(allow, h.Allow)
	}
	return w.plan(yaml, allow...)
}

// TestMergedRootMoves plans and applies a merge, moves the root of the combined queue to
// its branch under load, moves it back one step at a time, each planned anew, and moves it
// once more when the root is lost.
func TestMergedRootMoves(t *testing.T) {
	t.Parallel()
	w := mergeWorld(t)
	w.apply(w.plan(mergedYAML("all")))
	w.empty(mergedYAML("all"))
	stops := map[string]func(){}
	for name := range w.dbs {
		stops[name] = w.run(name)
	}
	w.synced()
	stop := w.sell()
	w.apply(w.approved(mergedYAML("copy")))
	w.empty(mergedYAML("copy"))
	time.Sleep(200 * time.Millisecond) // into the load
	for n := 0; ; n++ {
		p := w.approved(mergedYAML("all"))
		if p.Empty() {
			break
		}
		if n > 20 {
			t.Fatal("the root is moved step by step, without end")
		}
		a := w.applier()
		a.Until = p.Steps[min(n, len(p.Steps)-1)].ID // those before it have been done
		if _, err := a.Apply(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	w.empty(mergedYAML("all"))
	stop()
	w.sold("all", "copy")
	for _, queue := range []string{"north", "south"} {
		if paused := sandboxtest.One[bool](t, w.dbs["copy"], "select paused from pgq_node.get_consumer_state('"+queue+"', '"+queue+".copy')"); paused {
			t.Errorf("the worker of %s stands still after the move", queue)
		}
	}

	stop = w.sell()
	time.Sleep(300 * time.Millisecond) // into the load
	stops["all"]()
	w.say["all"] = "state: dead"
	w.apply(w.approved(mergedYAML("copy")))
	w.empty(mergedYAML("copy"))
	stop()
	w.sold("copy")
}

// synced waits until all tables are in sync everywhere.
func (w *world) synced() {
	w.Helper()
	for name, db := range w.dbs {
		for deadline := time.Now().Add(2 * time.Minute); sandboxtest.One[int64](w.T, db, "select count(*) from londiste.table_info where local and (merge_state is distinct from 'ok' or custom_snapshot is not null)") > 0; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				w.Fatalf("%s is not in sync: %s", name, sandboxtest.One[string](w.T, db, "select string_agg(concat_ws(' ', queue_name, table_name, merge_state, custom_snapshot), '; ') from londiste.table_info")+
					sandboxtest.One[string](w.T, db, "select coalesce(string_agg(consumer_name || ': ' || cur_error, '; '), '') from pgq_node.local_state"))
			}
		}
	}
}

// TestMergeAdopted adopts a merge that is there already: nothing changes.
func TestMergeAdopted(t *testing.T) {
	t.Parallel()
	w := mergeWorld(t)
	w.apply(w.plan(mergedYAML("all")))
	for _, db := range w.dbs {
		db.Script(t, "truncate skytools.applied")
	}
	text, _, err := planner.AdoptYAML(w.set("queues: {}"), w.live(), planner.Options{Now: time.Now()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"merge: everything", "public.sales: {merge: all"} {
		if !strings.Contains(text, want) {
			t.Errorf("adopt does not write %q", want)
		}
	}
	_, yaml, _ := strings.Cut(text, "\n")
	p := w.plan(yaml)
	for _, c := range p.Changes {
		if c.Action != planner.Adopt {
			t.Errorf("%s: %s %+v", c.Address, c.Action, c.Fields)
		}
	}
	if p.Errors() > 0 || t.Failed() {
		t.Fatalf("%+v\n%s", p.Diagnostics, text)
	}
	w.apply(p)
	w.empty(yaml)
}
