package compare_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/compare"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

var allKinds = []string{compare.Extra, compare.Changed, compare.Missing}

// pair is a root and a leaf with the same tables, and a worker.
func pair(t *testing.T, ddl string, tables ...string) (root, leaf *node, stop func()) {
	t.Helper()
	root = newRoot(t)
	leaf = root.add(root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, leaf} {
		n.run(ddl)
	}
	for _, name := range tables {
		root.addTable(name, londiste.AddTable{})
	}
	root.ticking(50 * time.Millisecond)
	stop = leaf.work()
	leaf.passed(root)
	for _, name := range tables {
		leaf.addTable(name, londiste.AddTable{Args: []string{"expect_sync"}})
	}
	return root, leaf, stop
}

func keysOf(r *compare.Result) (keys []compare.Key) {
	for _, d := range r.Differences {
		keys = append(keys, d.Row)
	}
	return keys
}

func texts(all []compare.Statement) (texts []string) {
	for _, s := range all {
		texts = append(texts, s.Text)
	}
	return texts
}

const allTypes = `create table "We'ird" (id int primary key generated always as identity, t text, n numeric, f float8, j json, b bytea, at timestamptz,
	p point, a text[], c char(5), g int generated always as (id * 2) stored, "select" text);
	insert into "We'ird" (t, n, f, j, b, at, p, a, c, "select")
	select 'v' || n, n / 3.0, 1e-7, '{"a": "\u00e9"}', '\x0001', '2020-01-01', '(1,2)', array['x,"', null], 'ab', e'it''s \\ ' || chr(10) || n from generate_series(1, 30) n;
	insert into "We'ird" values (default)`

const plantTypes = `delete from "We'ird" where id in (3, 31); update "We'ird" set t = null, n = 0, f = 'NaN', j = '[]', b = '\x', at = null, p = null, a = '{}', c = null, "select" = '' where id in (4, 5);
	insert into "We'ird" (id, t) overriding system value values (40, 'extra\'), (41, null)`

// The statements can be printed and run by hand.
func TestStatementsRunByHand(t *testing.T) {
	t.Parallel()
	root, leaf, _ := pair(t, allTypes, "public.We'ird")
	leaf.runQuiet(plantTypes)
	c := config(root, leaf, "public.We'ird")
	r := compared(t, c)
	if len(r.Differences) != 6 {
		t.Fatalf("%q", lines(r))
	}
	all := texts(compare.Statements([]*compare.Result{r}))
	if len(all) != 6 {
		t.Fatalf("%q", all)
	}
	leaf.runQuiet(strings.Join(all, ";\n"))
	if r = compared(t, c); !r.Equal() {
		t.Errorf("after\n%s\n%q", strings.Join(all, ";\n"), lines(r))
	}

	// A second time, or after somebody else has written, they change nothing.
	before := leaf.text(`select string_agg(r::text, e'\n' order by id) from "We'ird" r`)
	leaf.runQuiet(strings.Join(all, ";\n"))
	if got := leaf.text(`select string_agg(r::text, e'\n' order by id) from "We'ird" r`); got != before {
		t.Errorf("(-want +got):\n%s", cmp.Diff(before, got))
	}
	leaf.runQuiet(`update "We'ird" set t = 'newer' where id in (4, 40)`)
	leaf.runQuiet(strings.Join(all, ";\n"))
	if got := leaf.text(`select t from "We'ird" where id = 4`); got != "newer" {
		t.Errorf("a newer value was overwritten with %s", got)
	}
}

func TestRepair(t *testing.T) {
	t.Parallel()
	root, leaf, _ := pair(t, allTypes, "public.We'ird")
	leaf.runQuiet(plantTypes)
	c := config(root, leaf, "public.We'ird")
	r := compared(t, c)
	done, err := compare.Repair(t.Context(), c, keysOf(r), compare.Extra)
	if err != nil || len(done.Statements) != 2 {
		t.Fatalf("%v, %q", err, texts(done.Statements))
	}
	if done, err = compare.Repair(t.Context(), c, keysOf(r), allKinds...); err != nil || len(done.Statements) != 4 || len(done.Unsettled) > 0 {
		t.Fatalf("%v, %q", err, texts(done.Statements))
	}
	if again, err := compare.Again(t.Context(), c, keysOf(r)); err != nil || !again.Equal() || again.Rechecked != 6 {
		t.Errorf("%v, %+v", err, again)
	}
	if r = compared(t, c); !r.Equal() {
		t.Errorf("%q", lines(r))
	}
	if done, err = compare.Repair(t.Context(), c, []compare.Key{{"3"}, {"9"}, {"77"}}, allKinds...); err != nil || len(done.Statements) > 0 {
		t.Errorf("%v, %q", err, texts(done.Statements))
	}
}

// A column of identity always is no key and differs: the row goes and comes again.
func TestRepairIdentity(t *testing.T) {
	t.Parallel()
	root, leaf, _ := pair(t, "create table t (k text primary key, id int generated always as identity); insert into t select 'k' || n from generate_series(1, 9) n", "public.t")
	leaf.runQuiet("delete from t where k = 'k5'; insert into t values ('k5')")
	c := config(root, leaf, "public.t")
	r := compared(t, c)
	if diff := cmp.Diff([]string{"changed k5 id: 5 / 10"}, lines(r)); diff != "" {
		t.Fatal(diff)
	}
	if done, err := compare.Repair(t.Context(), c, keysOf(r), allKinds...); err != nil || len(done.Statements) != 2 {
		t.Fatalf("%v %v", err, done)
	}
	if r = compared(t, c); !r.Equal() {
		t.Errorf("%q", lines(r))
	}
}

// Rows go from referring tables first and come into referred ones first.
func TestStatementsRespectForeignKeys(t *testing.T) {
	t.Parallel()
	root, leaf, _ := pair(t, `create table parent (id int primary key, v int); create table child (id int primary key, parent int references parent);
		create table a_grandchild (id int primary key, child int references child);
		insert into parent values (1, 1), (2, 2); insert into child values (1, 1), (2, 2); insert into a_grandchild values (1, 1)`,
		"public.a_grandchild", "public.child", "public.parent")
	leaf.run("alter table parent disable trigger user; alter table child disable trigger user; alter table a_grandchild disable trigger user")
	leaf.run(`delete from a_grandchild; delete from child where id = 1; delete from parent where id = 1; insert into parent values (3, 3); insert into child values (3, 3); insert into a_grandchild values (3, 3)`)
	var results []*compare.Result
	for _, name := range []string{"public.a_grandchild", "public.child", "public.parent"} {
		results = append(results, compared(t, config(root, leaf, name)))
	}
	all := texts(compare.Statements(results))
	if len(all) != 6 {
		t.Fatalf("%q", all)
	}
	leaf.run(strings.Join(all, ";\n")) // with the foreign keys in force
	for _, name := range []string{"public.a_grandchild", "public.child", "public.parent"} {
		if r := compared(t, config(root, leaf, name)); !r.Equal() {
			t.Errorf("%s: %q", name, lines(r))
		}
	}
}

// TestRepairUnderLoad repairs rows that are written all the time, as their events are
// being replayed. The root's rows are the model.
func TestRepairUnderLoad(t *testing.T) {
	t.Parallel()
	root, leaf, _ := pair(t, "create table t (id int primary key, v text, n int); insert into t select n, 'v', n from generate_series(1, 400) n", "public.t")
	conn := root.db.Conn(t)
	rnd, plant := rand.New(rand.NewPCG(3, 1)), rand.New(rand.NewPCG(3, 2))
	stop := every(t, 3*time.Millisecond, func() {
		id := 1 + rnd.IntN(400)
		conn.Script(context.Background(), []string{
			fmt.Sprintf("update t set v = v || 'x', n = n + 1 where id = %d", id),
			fmt.Sprintf("delete from t where id = %d", id),
			fmt.Sprintf("insert into t values (%d, 'new', 0) on conflict do nothing", id),
			fmt.Sprintf("insert into t values (%d, 'new', 0) on conflict do nothing", id),
		}[rnd.IntN(4)])
	})
	c := config(root, leaf, "public.t")
	c.Rounds = 40
	ran := 0
	for range 6 {
		leaf.runQuiet(fmt.Sprintf("delete from t where id %% 9 = %d; update t set v = 'planted' where id %% 9 = %d; insert into t select n, 'planted', 0 from generate_series(1, 420) n where n %% 9 = %d on conflict do nothing", plant.IntN(9), plant.IntN(9), plant.IntN(9)))
		r := compared(t, c)
		done, err := compare.Repair(t.Context(), c, append(keysOf(r), r.Unsettled...), allKinds...)
		if err != nil {
			t.Fatal(err)
		}
		if len(done.Unsettled) > 0 {
			t.Errorf("unsettled: %v", done.Unsettled)
		}
		ran += len(done.Statements)
	}
	stop()
	leaf.passed(root)
	all := "select string_agg(t::text, e'\\n' order by id) from t"
	if diff := cmp.Diff(root.text(all), leaf.text(all)); diff != "" {
		t.Errorf("(-root +leaf):\n%s", diff)
	}
	if ran < 100 {
		t.Errorf("only %d statements ran", ran)
	}
}

// TestRepairFails fails every statement in turn, each second one before it runs and the
// others after. What is repaired is right, and the worker goes on.
func TestRepairFails(t *testing.T) {
	t.Parallel()
	root, leaf, _ := pair(t, "create table t (id int primary key, v text); insert into t select n, 'v' from generate_series(1, 20) n", "public.t")
	c := config(root, leaf, "public.t")
	keys := []compare.Key{{"1"}, {"2"}, {"30"}}
	all := "select string_agg(t::text, ' ' order by id) from t"
	for n, past := 1, false; !past; n++ {
		if n > 200 {
			t.Fatal("there is no end of statements")
		}
		leaf.runQuiet("delete from t where id = 1; update t set v = 'x' where id = 2; insert into t values (30, 'x') on conflict do nothing")
		fault := &pg.Fault{Nth: n, After: n%2 == 0}
		_, err := compare.Repair(pg.WithFault(t.Context(), fault), c, keys, allKinds...)
		past = fault.Hit() == ""
		if past && err != nil {
			t.Fatal(err)
		}
		if err != nil {
			if _, err := compare.Repair(t.Context(), c, keys, allKinds...); err != nil {
				t.Fatalf("after a fault in %s: %v", fault.Hit(), err)
			}
		}
		if want, got := root.text(all), leaf.text(all); got != want {
			t.Fatalf("after a fault in %s: %s, want %s", fault.Hit(), got, want)
		}
	}
	root.run("insert into t values (100, 'later')")
	leaf.passed(root)
	if want, got := root.text(all), leaf.text(all); got != want {
		t.Errorf("the worker does not go on: %s, want %s", got, want)
	}
}
