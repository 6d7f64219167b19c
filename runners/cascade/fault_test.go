package cascade_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// faults calls try for n = 1, 2, 3... with a context in which the nth statement
// fails, before and after it ran, until there is no nth.
func faults(t *testing.T, try func(ctx context.Context, label string)) {
	t.Helper()
	total := 0
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			f := &pg.Fault{Nth: n, After: after}
			try(pg.WithFault(t.Context(), f), fmt.Sprintf("n=%d after=%v", n, after))
			if t.Failed() {
				t.Fatalf("statement %d (after: %v): %s", n, after, f.Hit())
			}
			if f.Hit() == "" {
				break
			}
			total++
		}
	}
	if total < 20 {
		t.Errorf("only %d statements were failed: the loop did not reach the work", total)
	}
	t.Logf("%d statements failed in turn", total)
}

// mixture changes rows in every way, so that each call has a net effect.
func mixture(n int) string {
	return fmt.Sprintf(`
		insert into items select i, 'round %[1]d', %[1]d, null from generate_series(%[1]d * 10, %[1]d * 10 + 5) i;
		update items set name = 'changed in %[1]d' where id = %[1]d * 10 - 7;
		delete from items where id = %[1]d * 10 - 8;
		update items set n = coalesce(n, 0) + 1 where id in (1, 2);
		insert into seen values (%[1]d)`, n)
}

const seen = `create table public.seen (round int primary key)`

// chain makes a root, a branch and a leaf below each other; tables are replicated.
func chain(t *testing.T) (root, branch, leaf *node) {
	s := sandboxtest.Server(t)
	root = newRoot(t, s, "root")
	branch = root.add(s, root, "branch", pgqnode.Branch)
	leaf = branch.add(s, root, "leaf", pgqnode.Leaf)
	root.run(items + ";" + seen)
	branch.run(items + ";" + seen)
	leaf.run(items + ";" + seen)
	for _, table := range []string{"public.items", "public.seen"} {
		root.addTable(table, londiste.AddTable{})
	}
	wb, wl := cascade.New(branch.config()), cascade.New(leaf.config())
	defer wb.Close()
	defer wl.Close()
	root.tick()
	drain(t, wb)
	drain(t, wl)
	for _, n := range []*node{branch, leaf} {
		for _, table := range []string{"public.items", "public.seen"} {
			n.addTable(table, londiste.AddTable{Args: []string{"expect_sync"}})
		}
	}
	root.run(`insert into items select i, 'first', 0, 0 from generate_series(1, 9) i`)
	root.tick()
	drain(t, wb)
	drain(t, wl)
	return root, branch, leaf
}

const ticksOf = "select string_agg(tick_id::text, ',' order by tick_id) from pgq.tick where tick_id > 5"
const eventsOf = `select coalesce(string_agg(concat_ws('|', ev_id, ev_time, ev_type, ev_data, ev_extra1), E'\n' order by ev_id, ev_type), '')
	from pgq.event_template where ev_id > $1::text::int8`

// sameQueues compares the copy of a queue with its source.
func sameQueues(t *testing.T, a, b *node) {
	t.Helper()
	if x, y := a.text(ticksOf), b.text(ticksOf); x != y {
		t.Errorf("ticks of %s\n%s\nticks of %s\n%s", a.name, x, b.name, y)
	}
	if x, y := a.text(eventsOf, "1"), b.text(eventsOf, "1"); x != y {
		t.Errorf("events (-%s +%s):\n%s", a.name, b.name, short(cmp.Diff(strings.Split(x, "\n"), strings.Split(y, "\n"))))
	}
	if bad := b.text(`select count(*)::text from (
		select t.tick_event_seq < lag(t.tick_event_seq) over (order by tick_id) as back from pgq.tick t) x where back`); bad != "0" {
		t.Errorf("the event sequence of %s's ticks goes back %s times", b.name, bad)
	}
}

func TestFaultsOnBranch(t *testing.T) {
	t.Parallel()
	root, branch, _ := chain(t)
	round := 0
	faults(t, func(ctx context.Context, label string) {
		round++
		root.run(mixture(round))
		root.tick()
		w := cascade.New(branch.config())
		defer w.Close()
		w.RunOnce(ctx)
		w.RunOnce(ctx)
		drain(t, w)
		sameTables(t, root, branch, "public.items", "public.seen")
		sameQueues(t, root, branch)
	})
}

func TestFaultsOnLeaf(t *testing.T) {
	t.Parallel()
	root, branch, leaf := chain(t)
	wb := cascade.New(branch.config())
	defer wb.Close()
	round := 0
	faults(t, func(ctx context.Context, label string) {
		round++
		root.run(mixture(round))
		root.tick()
		drain(t, wb)
		w := cascade.New(leaf.config())
		defer w.Close()
		w.RunOnce(ctx)
		w.RunOnce(ctx)
		drain(t, w)
		sameTables(t, root, leaf, "public.items", "public.seen")
	})
}

func TestFaultsOnRoot(t *testing.T) {
	t.Parallel()
	root, _, _ := chain(t)
	total := 0
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			f := &pg.Fault{Nth: n, After: after}
			w := cascade.New(root.config())
			_, err := w.RunOnce(pg.WithFault(t.Context(), f))
			if f.Hit() != "" && err == nil {
				t.Errorf("statement %d failed and nobody noticed: %s", n, f.Hit())
			}
			before := root.text("select count(*)::text from pgq.event_template where ev_type = 'pgq.global-watermark'")
			if _, err := w.RunOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if f.Hit() == "" {
				break
			}
			total++
			if after := root.text("select count(*)::text from pgq.event_template where ev_type = 'pgq.global-watermark'"); after <= before && len(after) == len(before) && n > 1 && before == "0" {
				t.Errorf("no watermark was published after statement %d had failed", n)
			}
		}
	}
	if total < 10 {
		t.Errorf("only %d statements were failed", total)
	}
	if got := root.text("select coalesce(max(cur_error), '') from pgq_node.local_state"); got != "" {
		t.Errorf("an error is left: %s", got)
	}
}

// TestFaultsInCopy fails every statement of a copy, from its beginning to the
// hand-over, while the table changes.
func TestFaultsInCopy(t *testing.T) {
	t.Parallel()
	root, branch, leaf := chain(t)
	wb := cascade.New(branch.config())
	defer wb.Close()
	leaf.must(londiste.LocalRemoveTable(queue, "public.items"))
	stop := root.ticking(5 * time.Millisecond)
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		for ctx.Err() == nil {
			wb.Run(ctx)
		}
	}()
	defer func() { cancel(); <-relayed }()
	round := 0
	for _, after := range []bool{false, true} {
		// Statements of worker and copy run beside each other: their number differs a
		// little from one round to the next, so the loop ends after some rounds without.
		for n, missed := 1, 0; missed < 2 && !t.Failed(); n++ {
			round++
			root.run(mixture(round))
			leaf.addTable("public.items", londiste.AddTable{})
			f := &pg.Fault{Nth: n, After: after}
			stopping, stop := context.WithCancel(pg.WithFault(t.Context(), f))
			c := leaf.config()
			c.Poll = 10 * time.Millisecond
			w := cascade.New(c)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for stopping.Err() == nil {
					w.Run(stopping)
				}
			}()
			root.run(fmt.Sprintf("update items set name = name || '.' where id %% 3 = %d %% 3", n))
			leaf.inSync(10 * time.Second)
			root.run(fmt.Sprintf("insert into items values (-%d, 'late', 1, 1)", round))
			leaf.caughtUp(root, 10*time.Second)
			leaf.eventually(10*time.Second, "0", "select count(*)::text from pgq_node.local_state where consumer_name like '%.copy.%'")
			stop()
			<-ended
			sameTables(t, root, leaf, "public.items", "public.seen")
			leaf.must(londiste.LocalRemoveTable(queue, "public.items"))
			leaf.run("truncate items; insert into items values (1, 'junk', 1, 1)")
			if f.Hit() == "" {
				missed++
			}
			if t.Failed() {
				t.Fatalf("statement %d (after: %v): %s", n, after, f.Hit())
			}
			n += step(n)
		}
	}
	t.Logf("%d copies", round)
}

// step skips statements of the later, repeating rounds: each is failed in some run.
func step(n int) int {
	if n < 20 {
		return 0
	}
	return 6
}
