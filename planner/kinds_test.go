package planner_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
)

// What every kind promises: it plans from nothing, the plan after the apply is
// empty, the same plan again finds everything done, drift is seen, and what exists
// is adopted by the YAML that adopt writes.
func TestKinds(t *testing.T) {
	for _, kind := range planner.KindNames() {
		t.Run(kind, func(t *testing.T) {
			set := readSpec(t, filepath.Join(testdata, "kind", kind+".yaml"))
			w := newWorld(set)
			first := w.plan(t, set)
			mine := ofKind(first, kind)
			if len(mine) == 0 {
				t.Fatalf("testdata/kind/%s.yaml plans no %s", kind, kind)
			}
			action, reason := planner.Create, "new"
			if kind == "setting" { // which is always there
				action, reason = planner.Update, "spec-changed"
			}
			for _, c := range mine {
				if c.Action != action || c.Reason != reason {
					t.Errorf("%s: %s (%s), want %s", c.Address, c.Action, c.Reason, action)
				}
			}
			w.settle(t, set)
			already(t, w, first)
			noDrift(t, w, set)
			adopted(t, w, set)
			dropped(t, w, set, kind)
		})
	}
}

func ofKind(p *planner.Plan, kind string) []*planner.Change {
	var all []*planner.Change
	for _, c := range p.Changes {
		if c.Kind == kind {
			all = append(all, c)
		}
	}
	return all
}

// already requires that each object is as the last of its steps leaves it.
func already(t *testing.T, w *world, p *planner.Plan) {
	t.Helper()
	for _, c := range p.Changes {
		for _, s := range p.Steps {
			if s.ID == c.StepIDs[len(c.StepIDs)-1] && !s.Result.Holds(w.find(t, s.Address)) {
				t.Errorf("%s: applied again, %s would not be found done", s.Address, s.ID)
			}
		}
	}
}

func noDrift(t *testing.T, w *world, set *spec.Set) {
	t.Helper()
	d, err := planner.FindDrift(set, w.Live, options())
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Drifted) > 0 || len(d.Unchecked) > 0 || d.Unapplied > 0 || d.Matching == 0 {
		t.Errorf("drift right after an apply: %+v", d)
	}
}

// adopted requires that a cluster which somebody else made is adopted by the YAML
// that adopt writes for it, without any change.
func adopted(t *testing.T, w *world, set *spec.Set) {
	t.Helper()
	found := &world{&planner.Live{Format: w.Format, At: w.At, Databases: map[string]*planner.Database{}}, set}
	databases := "skytools: 1\ncluster: adopted\ndatabases:\n"
	for name, d := range w.Databases {
		if set.Standbys.Get(name) != nil {
			continue
		}
		copied := *d
		copied.Applied = nil
		found.Databases[name] = &copied
		databases += fmt.Sprintf("  %s: {dsn: service=x}\n", name)
	}
	nothing := parseSpec(t, databases)
	text, n, err := planner.AdoptYAML(nothing, found.Live, options(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if unmanaged := len(found.plan(t, nothing).Unmanaged); n != unmanaged {
		t.Errorf("adopt wrote %d objects, and %d are not managed", n, unmanaged)
	}
	both, problems := spec.Parse(spec.Source{Name: "databases.yaml", Text: []byte(databases)}, spec.Source{Name: "adopted.yaml", Text: []byte(text)})
	if len(problems) > 0 {
		t.Fatalf("what adopt writes is not accepted: %v\n%s", problems, text)
	}
	p := found.plan(t, both)
	if p.Errors() > 0 || len(p.Unmanaged) > 0 {
		t.Errorf("with what adopt writes: %+v, unmanaged %v\n%s", p.Diagnostics, p.Unmanaged, text)
	}
	for _, c := range p.Changes {
		if c.Action != planner.Adopt {
			t.Errorf("%s: %s %+v, want only adopt\n%s", c.Address, c.Action, c.Fields, text)
		}
	}
	for _, s := range p.Steps {
		if len(s.Do) > 0 {
			t.Errorf("%s: adopting runs %v", s.Address, s.Do)
		}
	}
	found.apply(t, p)
	requireEmpty(t, found.plan(t, both))
}

// dropped requires that everything goes when the queues are absent, each with an
// approval, and that nothing goes when the lines are only taken away.
func dropped(t *testing.T, w *world, set *spec.Set, kind string) {
	t.Helper()
	without := *set
	without.Queues = nil
	if p := w.plan(t, &without); len(p.Changes) > 0 {
		t.Errorf("taking lines away changes something: %+v", p.Changes[0])
	}
	gone := *set
	gone.Queues = slices.Clone(set.Queues)
	for i := range gone.Queues {
		gone.Queues[i].State = spec.Absent
	}
	p := w.plan(t, &gone)
	if !slices.Contains([]string{"schema", "role", "script", "archive", "standby", "replay", "setting"}, kind) && len(ofKind(p, kind)) == 0 {
		t.Errorf("nothing of the kind is dropped")
	}
	for _, c := range p.Changes {
		carries := slices.Contains([]string{"queue", "consumer", "node", "table"}, c.Kind)
		if c.Action != planner.Drop || carries && len(c.Hazards) == 0 {
			t.Errorf("%s: %s with hazards %v, want a drop that needs approval", c.Address, c.Action, c.Hazards)
		}
	}
	w.apply(t, p)
	requireEmpty(t, w.plan(t, &gone))
}

// From any cluster to any other: one apply is enough, in an order that works.
func TestAnyToAny(t *testing.T) {
	for seed := range uint64(25) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		a, b := randomSpec(rnd), randomSpec(rnd)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			first := parseSpec(t, a)
			w := newWorld(first)
			w.settle(t, first)
			second := parseSpec(t, b)
			w.settle(t, second)
			noDrift(t, w, second)
			if t.Failed() {
				t.Logf("from:\n%s\nto:\n%s", a, b)
			}
		})
	}
}

// randomSpec is a cascade over four databases and a plain queue, with the root
// always on n0. Nodes move below each other, but none changes its type, and what
// one of them lacks it declares absent.
func randomSpec(rnd *rand.Rand) string {
	var y strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&y, format+"\n", args...) }
	some := func(n int) bool { return rnd.IntN(n) == 0 }
	p("skytools: 1\ncluster: shop\ndatabases:")
	for i := range 4 {
		p("  n%d: {dsn: service=n%d}", i, i)
	}
	p("queues:\n  plain:\n    on: n%d\n    ticker_max_count: %d\n    consumers:", 0, 1+rnd.IntN(3))
	p("      a: {members: %s}", []string{"[]", "[x]", "[x, y]", "[y, z]"}[rnd.IntN(4)])
	p("      b: {state: %s}", []string{"present", "absent"}[rnd.IntN(2)])
	p("    capture:\n      public.invoices: {backup: %t, state: %s}", some(2), []string{"present", "absent"}[rnd.IntN(2)])
	p("  shop:\n    rotation_period: %dh\n    nodes:\n      n0: {type: root}", 1+rnd.IntN(2))
	here := []int{0}
	for i := 1; i < 3; i++ { // branches
		state := "present"
		if some(4) {
			state = "absent"
		}
		p("      n%d: {type: branch, provider: n%d, paused: %t, state: %s}", i, here[rnd.IntN(len(here))], some(4), state)
		if state == "present" {
			here = append(here, i)
		}
	}
	p("      n3: {type: leaf, provider: n%d}", here[rnd.IntN(len(here))])
	p("    tables:")
	for _, table := range []string{"public.orders", "public.items"} {
		p("      %s: {state: %s, ignore: %s}", table, []string{"present", "present", "absent"}[rnd.IntN(3)], []string{"[]", "[note]"}[rnd.IntN(2)])
	}
	p("      \"public.log_*\": {on: {n3: {where: \"id > %d\"}}}", rnd.IntN(3))
	p("    sequences:\n      public.orders_id_seq: {state: %s}", []string{"present", "absent"}[rnd.IntN(2)])
	return y.String()
}
