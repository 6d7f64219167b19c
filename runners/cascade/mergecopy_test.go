package cascade_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// start runs all workers of the targets, and tickers, until the test ends.
func (m *merge) start() {
	for _, p := range m.parts {
		p.ticking(20 * time.Millisecond)
	}
	for i, n := range m.targets {
		n.start()
		if n.queue() == combined {
			n.ticking(20 * time.Millisecond)
		}
		for _, leaf := range m.leafs[i] {
			leaf.start()
		}
	}
}

// load changes rows of all parts until the returned function is called.
func (m *merge) load() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; ctx.Err() == nil; i++ {
			for _, p := range m.parts {
				p.ask(fmt.Sprintf(`with a as (insert into items values ('%[1]s', %[2]d, 'load', 1) returning 1),
					b as (update items set name = name || '+', n = n + 1 where id in (%[2]d - 10, %[2]d %% 50) returning 1),
					c as (delete from items where id = %[2]d - 20 returning 1) select 'x'`, p.name, i+1000))
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	return func() { cancel(); <-done }
}

// settle waits until the targets have everything, and compares.
func (m *merge) settle() {
	m.t.Helper()
	for i, n := range m.targets {
		for _, leaf := range m.leafs[i] {
			leaf.caughtUp(m.part(leaf.queue()), 10*time.Second)
		}
		if i > 0 {
			n.caughtUp(m.targets[0], 10*time.Second)
		}
	}
	m.check(m.targets...)
}

func (m *merge) part(queue string) *node {
	for _, p := range m.parts {
		if p.queue() == queue {
			return p
		}
	}
	m.t.Fatalf("no part %s", queue)
	return nil
}

const structureSQL = `select string_agg(d, E'\n' order by d) from (
	select pg_get_indexdef(indexrelid) as d from pg_index where indrelid = 'items'::regclass
	union all select conname || pg_get_constraintdef(oid) from pg_constraint where conrelid = 'items'::regclass) x`

// TestMergeCopies copies the rows of all parts together while they change, and those of
// one that comes later; the combined branch copies when all have arrived.
func TestMergeCopies(t *testing.T) {
	t.Parallel()
	m := newMerge(t, 4, 2)
	for _, p := range m.parts {
		p.run(fmt.Sprintf("insert into items select '%s', i, 'first', 0 from generate_series(1, 300) i", p.name))
	}
	for _, n := range m.targets {
		n.run("create index on items (name); insert into items values ('junk', 1, '', 0)")
	}
	x := m.targets[0]
	before := x.text(structureSQL)
	stop := m.load()
	m.start()
	m.register()
	for _, n := range m.targets {
		n.inSync(10 * time.Second)
	}
	stop()
	m.settle()
	if after := x.text(structureSQL); after != before {
		t.Errorf("structure was\n%s\nis\n%s", before, after)
	}
	for i, n := range m.targets { // implied by the parts, once
		if got := n.text("select string_agg(queue_name || ' ' || merge_state, ', ' order by queue_name) from londiste.table_info where table_name = 'public.items' and local"); got != "all ok, part a ok, part b ok, part c ok, part d ok" {
			t.Errorf("target %d: %s", i, got)
		}
	}
}

// TestMergeLatecomer adds a source to a table that others have filled: their rows stay.
func TestMergeLatecomer(t *testing.T) {
	t.Parallel()
	m := newMerge(t, 3, 1)
	for _, p := range m.parts {
		p.run(fmt.Sprintf("insert into items select '%s', i, 'first', 0 from generate_series(1, 300) i", p.name))
		p.addTable("public.items", londiste.AddTable{})
	}
	m.start()
	x := m.targets[0]
	stop := m.load()
	for _, leaf := range m.leafs[0] {
		leaf.must(londiste.GlobalAddTable(leaf.queue(), "public.items"))
		leaf.addTable("public.items", londiste.AddTable{Args: []string{"no_merge"}})
		x.inSync(10 * time.Second)
	}
	stop()
	m.settle()
	m.leafs[0][0].must(londiste.SetTableState("part a", "public.items", "", "")) // as a program that knows no better would
	x.eventually(10*time.Second, "true", "select bool_or(cur_error like '%the table has rows of part b/public.items, part c/public.items, too%')::text from pgq_node.local_state")
	for _, p := range m.parts[1:] {
		if want, got := p.rows("items"), x.text("select coalesce(string_agg(r::text, E'\\n' order by r::text collate \"C\"), '') from items r where part = $1", p.name); got != want {
			t.Errorf("the copy of another source took rows of %s", p.name)
		}
	}
}

// TestFaultsInMergeCopy fails every statement of the copies of two sources, the leader's
// and the follower's in turn.
func TestFaultsInMergeCopy(t *testing.T) {
	t.Parallel()
	m := newMerge(t, 2, 1)
	for _, p := range m.parts {
		p.run(fmt.Sprintf("insert into items select '%s', i, 'first', 0 from generate_series(1, 50) i", p.name))
		p.addTable("public.items", londiste.AddTable{})
		p.ticking(10 * time.Millisecond)
	}
	x, total := m.targets[0], 0
	x.must(londiste.GlobalAddTable(combined, "public.items"))
	x.addTable("public.items", londiste.AddTable{})
	for struck := range 2 {
		// Statements of worker and copy run beside each other, and each of them is struck
		// in some run: leader and follower take turns, from another place.
		// What comes after those is the worker's polling.
		for n, missed := 1+2*struck, 0; missed < 2 && n < 120 && !t.Failed(); n += 4 + step(n) {
			f := &pg.Fault{Nth: n, After: n/4%2 == 0}
			for _, leaf := range m.leafs[0] {
				leaf.must(londiste.GlobalAddTable(leaf.queue(), "public.items"))
				leaf.addTable("public.items", londiste.AddTable{Args: []string{"no_merge"}})
			}
			ended, stops := make(chan struct{}), []func(){}
			for i, leaf := range m.leafs[0] {
				ctx := t.Context()
				if i == struck {
					ctx = pg.WithFault(ctx, f)
				}
				ctx, stop := context.WithCancel(ctx)
				stops = append(stops, stop)
				c := leaf.config()
				c.Poll = 10 * time.Millisecond
				w := cascade.New(c)
				go func() {
					defer func() { ended <- struct{}{} }()
					for ctx.Err() == nil {
						w.Run(ctx)
					}
				}()
			}
			m.parts[0].run(fmt.Sprintf("update items set n = %d where id %% 5 = 1", n))
			m.parts[1].run(fmt.Sprintf("update items set name = '%d' where id %% 5 = 2; delete from items where id = %d; insert into items values ('b', -%d, 'x', 0)", n, n, n+1000*struck))
			x.inSync(20 * time.Second)
			m.settle()
			x.eventually(10*time.Second, "0", "select count(*)::text from pgq_node.local_state where consumer_name like '%.copy.%'")
			for _, stop := range stops {
				stop()
			}
			<-ended
			<-ended
			if got := x.text("select count(*)::text from pg_index where indrelid = 'items'::regclass"); got != "1" {
				t.Errorf("%s indexes", got)
			}
			for _, leaf := range m.leafs[0] {
				leaf.must(londiste.LocalRemoveTable(leaf.queue(), "public.items"))
			}
			if f.Hit() == "" {
				missed++
			}
			if total++; t.Failed() {
				t.Fatalf("source %d, statement %d (after: %v): %s", struck, n, f.After, f.Hit())
			}
		}
	}
	t.Logf("%d copies of both", total)
}

// TestMergeWithoutQueue: leafs of several queues fill tables of databases that no combined
// queue connects.
func TestMergeWithoutQueue(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	m := &merge{t: t}
	for _, name := range []string{"a", "b", "c", "d"} {
		p := newRootIn(t, database(t, s), "part "+name, name)
		p.run(mergeItems + fmt.Sprintf("; insert into items select '%s', i, 'first', 0 from generate_series(1, 200) i", name))
		m.parts = append(m.parts, p)
		p.addTable("public.items", londiste.AddTable{})
	}
	for _, name := range []string{"x", "y"} {
		db := database(t, s)
		var leafs []*node
		for _, p := range m.parts {
			leafs = append(leafs, p.addIn(db, p, name, pgqnode.Leaf))
		}
		leafs[0].run(mergeItems)
		m.targets, m.leafs = append(m.targets, &node{t: t, db: db, name: name}), append(m.leafs, leafs)
	}
	stop := m.load()
	for i := range m.targets {
		for _, leaf := range m.leafs[i] {
			defer leaf.start().healthy()
		}
	}
	for _, p := range m.parts {
		p.ticking(20 * time.Millisecond)
	}
	for i, n := range m.targets {
		for _, leaf := range m.leafs[i] {
			leaf.must(londiste.GlobalAddTable(leaf.queue(), "public.items"))
		}
		m.leafs[i][0].addTable("public.items", londiste.AddTable{Args: []string{"merge_all"}}) // all of them at once, as Londiste does
		n.inSync(10 * time.Second)
	}
	stop()
	for i := range m.targets {
		for _, leaf := range m.leafs[i] {
			leaf.caughtUp(m.part(leaf.queue()), 10*time.Second)
		}
	}
	m.check(m.targets...)
	if got := m.targets[0].text("select coalesce(string_agg(consumer_name, ' '), '') from pgq_node.local_state where consumer_name like '%.copy.%'"); strings.Contains(got, "copy") {
		m.targets[0].eventually(5*time.Second, "0", "select count(*)::text from pgq_node.local_state where consumer_name like '%.copy.%'")
	}
}
