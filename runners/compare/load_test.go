package compare_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/compare"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// TestCompareUnderLoad compares while rows come, change and go, on every side of a
// cascade. What is planted are rows that the load does not touch: exactly they differ.
func TestCompareUnderLoad(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	branch := root.add(root, "branch", pgqnode.Branch)
	leaf := branch.add(root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, branch, leaf} {
		n.run("create table t (id int primary key, v text, n numeric(12,2))")
	}
	root.run("insert into t select n, 'v' || n, n from generate_series(1, 60000) n")
	root.addTable("public.t", londiste.AddTable{})
	root.ticking(100 * time.Millisecond)
	branch.work()
	leaf.work()
	for _, n := range []*node{branch, leaf} {
		n.passed(root)
		n.addTable("public.t", londiste.AddTable{})
		n.inSync()
	}
	var writes atomic.Int64
	for worker := range 2 {
		conn := root.db.Conn(t)
		rnd := rand.New(rand.NewPCG(uint64(worker), 7))
		every(t, 2*time.Millisecond, func() {
			at := 1 + rnd.IntN(50000) // rows above are not touched
			text := fmt.Sprintf(`begin; update t set v = v || 'x', n = n + 1 where id between %d and %d;
				delete from t where id = %d; insert into t values (%d, 'new', 1) on conflict do nothing; update t set v = md5(v) where id = %d; `,
				at, at+rnd.IntN(5), 1+rnd.IntN(50000), 1+rnd.IntN(50000), 1+rnd.IntN(20))
			if rnd.IntN(10) == 0 {
				text += "select pg_sleep(0.15); " // a transaction that is running at ticks and snapshots
			}
			if conn.Script(context.Background(), text+"commit") == nil {
				writes.Add(1)
			} else {
				conn.Script(context.Background(), "rollback")
			}
		})
	}
	check := func(want []string, provider, subscriber *node) {
		t.Helper()
		c := config(provider, subscriber, "public.t")
		c.Rounds = 40
		r := compared(t, c)
		if diff := cmp.Diff(want, lines(r)); diff != "" {
			t.Errorf("%s against %s, at tick %d after %d rounds (-want +got):\n%s", subscriber.name, provider.name, r.Tick, r.Rounds, diff)
		}
		if len(r.Unsettled) > 0 {
			t.Errorf("%d rows are unsettled after %d rounds: %v", len(r.Unsettled), r.Rounds, r.Notes)
		}
		t.Logf("%s: %d rows, %d rechecked, %d rounds, %.1f s, %d writes so far", subscriber.name, r.Rows, r.Rechecked, r.Rounds, r.Seconds, writes.Load())
	}
	for _, pair := range [][2]*node{{root, branch}, {branch, leaf}, {root, leaf}} {
		check([]string{}, pair[0], pair[1])
	}
	leaf.runQuiet("delete from t where id in (50500, 60000); insert into t values (70000, 'extra', 0), (-5, 'extra', 0); update t set n = n + 0.01 where id = 55555; update t set v = null where id = 55556")
	planted := []string{"changed 55555 n: 55555.00 / 55555.01", "changed 55556 v: v55556 / NULL", "extra -5", "extra 70000", "missing 50500", "missing 60000"}
	check(planted, branch, leaf)
	check(planted, root, leaf)
	check([]string{}, root, branch)
	if writes.Load() < 100 {
		t.Errorf("only %d transactions ran beside it", writes.Load())
	}
}

// TestCompareWhatIsUnderWay holds the worker still: what the provider is ahead is neither
// a difference nor settled.
func TestCompareWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	leaf := root.add(root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, leaf} {
		n.run("create table t (id numeric primary key, v text)")
		n.run("insert into t select n, 'v' from generate_series(1, 100) n")
	}
	root.addTable("public.t", londiste.AddTable{})
	root.ticking(50 * time.Millisecond)
	stop := leaf.work()
	leaf.passed(root)
	leaf.addTable("public.t", londiste.AddTable{Args: []string{"expect_sync"}})
	stop()
	root.run("update t set v = 'w' where id = 5; delete from t where id = 6; insert into t values (5.50, 'new')")
	leaf.runQuiet("update t set v = 'planted' where id = 7")
	c := config(root, leaf, "public.t")
	c.Patience = 300 * time.Millisecond
	r := compared(t, c)
	if diff := cmp.Diff([]string{"changed 7 v: v / planted"}, lines(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	slices.SortFunc(r.Unsettled, func(a, b compare.Key) int { return slices.Compare(a, b) })
	if diff := cmp.Diff([]compare.Key{{"5"}, {"5.5"}, {"6"}}, r.Unsettled); diff != "" || r.Equal() || len(r.Notes) != 1 {
		t.Errorf("unsettled (-want +got):\n%s\nnotes %q", diff, r.Notes)
	}

	// With the worker they settle, once the first round is over.
	leaf.runQuiet("update t set v = 'v' where id = 7")
	var again func()
	c.Patience = time.Minute
	c.Hooks.Opened = func(round int) {
		if round == 1 {
			again = leaf.work()
		}
	}
	if r = compared(t, c); !r.Equal() || r.Rechecked == 0 || r.Rounds < 2 {
		t.Errorf("%v, unsettled %v, rechecked %d in %d rounds", lines(r), r.Unsettled, r.Rechecked, r.Rounds)
	}

	// TRUNCATE leaves nothing to compare until it has passed.
	again()
	root.run("truncate t; insert into t values (1, 'x')")
	c.Hooks.Opened = func(round int) {
		if round == 1 {
			leaf.work()
		}
	}
	if r = compared(t, c); !r.Equal() || r.Rows != 1 || r.Rounds < 2 {
		t.Errorf("after TRUNCATE: %v, %d rows in %d rounds", lines(r), r.Rows, r.Rounds)
	}
}
