package applier_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/applier"
	"github.com/skytools-go/skytools/applier/observe"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// A world is three databases and the YAML about them.
type world struct {
	*testing.T
	dbs map[string]*sandboxtest.DB
	say map[string]string // more settings of a database's YAML, such as "location: ..."
}

// newWorld makes the databases hub, edge and report; hub has tables.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dbs: map[string]*sandboxtest.DB{}}
	for _, name := range []string{"hub", "edge", "report"} {
		w.dbs[name] = sandboxtest.Database(t)
	}
	sources(w)
	return w
}

// sources makes the tables on hub.
func sources(w *world) {
	w.Helper()
	w.dbs["hub"].Script(w.T, `
create table orders (id serial primary key, customer text not null, amount numeric default 0);
create table refunds (id int primary key, reason text);
create table invoices (id int primary key, status text, updated_at timestamptz);
create table log_1 (id bigint primary key, line text);
create table "we""ird; drop table x" ("a;b" int, b text, primary key ("a;b", b));
insert into orders (customer) select 'c' || i from generate_series(1, 10) i`)
}

// whole declares every kind.
const whole = `
queues:
  audit:
    on: hub
    ticker_max_lag: 1s
    per_tx_limit: 5000
    consumers:
      mailer:
      indexer: {members: [w1, w2]}
    capture:
      public.invoices: {level: statement, ignore: [updated_at], when: "status <> 'draft'"}
  'sh"op; drop':
    rotation_period: 3h
    nodes:
      hub: {type: root}
      edge: {type: branch, provider: hub}
      report: {type: leaf, provider: edge}
    consumers:
      watcher: {on: edge}
    tables:
      public.orders: {create: full, level: statement}
      public.refunds: {create: table, on: [report]}
      "public.log_*": {create: full, backup: true}
      'public.we"ird; drop table x': {create: full, on: {edge: {as: copy.odd}, report: {where: "b <> 'x'"}}}
    sequences: [public.orders_id_seq]
`

func (w *world) set(yaml string) *spec.Set {
	w.Helper()
	text := "skytools: 1\ncluster: shop\ndatabases:\n"
	for _, name := range slices.Sorted(maps.Keys(w.dbs)) {
		more := ""
		if w.say[name] != "" {
			more = ", " + w.say[name]
		}
		text += fmt.Sprintf("  %s: {dsn: %q%s}\n", name, w.dbs[name].DSN, more)
	}
	set, problems := spec.Parse(spec.Source{Name: "shop.yaml", Text: []byte(text + yaml)})
	if len(problems) > 0 {
		w.Fatal(problems)
	}
	return set
}

func (w *world) live() *planner.Live {
	w.Helper()
	var targets []observe.Target
	for name, db := range w.dbs {
		targets = append(targets, observe.Target{Name: name, DSN: func(context.Context) (string, error) { return db.DSN, nil }})
	}
	live, err := observe.Cluster(w.Context(), targets, observe.Options{})
	if err != nil {
		w.Fatal(err)
	}
	return live
}

func (w *world) plan(yaml string, allow ...string) *planner.Plan {
	w.Helper()
	o := planner.Options{Now: time.Now()}
	for _, text := range allow {
		a, err := planner.ParseApproval(text)
		if err != nil {
			w.Fatal(err)
		}
		o.Allow = append(o.Allow, a)
	}
	p, err := planner.Build(w.set(yaml), w.live(), o)
	if err != nil {
		w.Fatal(err)
	}
	return saved(w.T, p)
}

// saved sends a plan through a file's worth of JSON, as CI does.
func saved(t *testing.T, p *planner.Plan) *planner.Plan {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	q, err := planner.ReadPlan(text)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func (w *world) applier() *applier.Applier {
	return &applier.Applier{
		DSN: func(_ context.Context, node string) (string, error) { return w.dbs[node].DSN, nil },
		By:  "test@here", LockTimeout: 5 * time.Second,
		Events: func(e applier.Event) {
			if e.Err != nil {
				w.Logf("%s %s: %v", e.Step, e.Title, e.Err)
			}
		},
	}
}

func (w *world) apply(p *planner.Plan) *applier.Outcome {
	w.Helper()
	o, err := w.applier().Apply(w.Context(), p)
	if err != nil {
		w.Fatalf("apply: %v", err)
	}
	return o
}

// empty requires that planning again finds nothing to do.
func (w *world) empty(yaml string) {
	w.Helper()
	if p := w.plan(yaml); !p.Empty() || p.Errors() > 0 {
		var out strings.Builder
		render.Text(&out, p, render.TextOptions{Verbose: true})
		w.Fatalf("planning again:\n%s", out.String())
	}
}

// catalogs is everything that an apply is meant to leave behind, comparable
// between worlds: settings of all objects, and what is recorded of them.
func (w *world) catalogs() map[string]planner.State {
	w.Helper()
	all := map[string]planner.State{}
	live := w.live()
	for name, db := range live.Databases {
		for _, a := range db.Applied {
			all["applied "+a.Address] = a.Spec
			at, err := planner.ParseAddress(a.Address)
			if err != nil {
				w.Fatal(err)
			}
			if all[a.Address], err = planner.Find(at, db.Rows[at.Kind]); err != nil {
				w.Fatal(err)
			}
		}
		for _, u := range db.Unreadable {
			w.Fatalf("%s: %s", name, u)
		}
	}
	for _, s := range all { // where a database lies differs from world to world
		for path := range s {
			if strings.Contains(path, "location") {
				delete(s, path)
			}
		}
	}
	return all
}

func TestApplyConverges(t *testing.T) {
	w := newWorld(t)
	p := w.plan(whole)
	if o := w.apply(p); o.Done+o.Already != len(p.Steps) || o.Failed > 0 { // roles belong to the server: the second database finds them
		t.Errorf("first apply: %+v of %d steps", o, len(p.Steps))
	}
	w.empty(whole)
	if o := w.apply(p); o.Already != len(p.Steps) {
		t.Errorf("the same plan again: %+v; want %d already", o, len(p.Steps))
	}
	d, err := planner.FindDrift(w.set(whole), w.live(), planner.Options{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Drifted)+len(d.Unchecked)+len(d.Orphans)+d.Unapplied > 0 {
		t.Errorf("drift after apply: %+v", d)
	}
}

// TestEverythingGoes declares every object absent; nothing is left but schemas and
// roles, which other programs may use.
func TestEverythingGoes(t *testing.T) {
	w := newWorld(t)
	w.apply(w.plan(whole))
	const gone = `
queues:
  audit: {on: hub, state: absent, consumers: {mailer: , indexer: }, capture: {public.invoices: }}
  'sh"op; drop':
    state: absent
    nodes:
      hub: {type: root}
      edge: {type: branch, provider: hub}
      report: {type: leaf, provider: edge}
    consumers:
      watcher: {on: edge}
    tables:
      public.orders:
      public.refunds: {on: [report]}
      "public.log_*":
      'public.we"ird; drop table x': {on: [edge, report]}
    sequences: [public.orders_id_seq]
`
	refused := w.plan(gone)
	before := w.catalogs()
	var no *applier.RefusedError
	if _, err := w.applier().Apply(t.Context(), refused); !errors.As(err, &no) || len(no.Pending) == 0 {
		t.Fatalf("dropping without approval: %v; want a refusal", err)
	}
	if diff := cmp.Diff(before, w.catalogs()); diff != "" {
		t.Errorf("a refused apply changed something (-before +after):\n%s", diff)
	}
	var allow []string
	for _, h := range refused.Pending() {
		allow = append(allow, h.Allow)
	}
	w.apply(w.plan(gone, allow...))
	w.empty(gone)
	for name := range w.dbs {
		for _, row := range w.live().Databases[name].Applied {
			if !strings.HasPrefix(row.Address, "schema/") && !strings.HasPrefix(row.Address, "role/") {
				t.Errorf("still recorded: %s", row.Address)
			}
		}
	}
	if n := sandboxtest.One[int64](t, w.dbs["hub"], "select count(*) from orders"); n != 10 {
		t.Errorf("orders has %d rows after it is no longer replicated; want 10", n)
	}
}
