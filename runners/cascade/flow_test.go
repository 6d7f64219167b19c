package cascade_test

import (
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

const items = `create table public.items (id int primary key, name text, price numeric, n int)`

func TestReplayRootBranchLeaf(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	branch := root.add(s, root, "branch", pgqnode.Branch)
	leaf := branch.add(s, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, branch, leaf} {
		n.run(items)
	}
	wb, wl := cascade.New(branch.config()), cascade.New(leaf.config())
	defer wb.Close()
	defer wl.Close()
	step := func() {
		t.Helper()
		root.tick()
		drain(t, wb)
		drain(t, wl)
	}
	root.addTable("public.items", londiste.AddTable{})
	step()
	branch.addTable("public.items", londiste.AddTable{Args: []string{"expect_sync"}})
	leaf.addTable("public.items", londiste.AddTable{Args: []string{"expect_sync"}})
	step()

	root.run(`insert into items select i, 'name ' || i, i / 3.0, null from generate_series(1, 100) i`)
	root.run(`update items set name = name || ' "x" \ ' || chr(10), n = id where id % 2 = 0`)
	root.run(`delete from items where id % 5 = 0; insert into items values (5, 'again', 0, 0)`)
	step()
	sameTables(t, root, branch, "public.items")
	sameTables(t, root, leaf, "public.items")
	if want, got := root.rows("pgq.event_template"), branch.rows("pgq.event_template"); len(got) == 0 || len(want) == 0 {
		t.Errorf("events: root %d bytes, branch %d", len(want), len(got))
	}
	ids := "select string_agg(concat_ws('|', ev_id, ev_time, ev_type, ev_data, ev_extra1, ev_extra2), E'\n' order by ev_id) from pgq.event_template"
	if want, got := root.text(ids), branch.text(ids); want != got {
		t.Errorf("events differ:\nroot\n%s\nbranch\n%s", short(want), short(got))
	}
	root.run(`truncate items; insert into items values (1, 'one', 1, 1)`)
	step()
	sameTables(t, root, branch, "public.items")
	sameTables(t, root, leaf, "public.items")
}

func TestCopyDownTheCascade(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	branch := root.add(s, root, "branch", pgqnode.Branch)
	leaf := branch.add(s, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, branch, leaf} {
		n.run(items + `; create index on items (name); alter table items add unique (n); alter table items add check (id > 0)`)
	}
	root.run(`insert into items select i, 'name ' || i, i, i from generate_series(1, 1000) i`)
	root.addTable("public.items", londiste.AddTable{})
	root.ticking(20 * time.Millisecond)
	kb, kl := branch.start(), leaf.start()
	branch.eventually(5*time.Second, "1", "select count(*)::text from londiste.table_info")
	leaf.eventually(5*time.Second, "1", "select count(*)::text from londiste.table_info")
	structure := `select string_agg(d, E'\n' order by d) from (
		select pg_get_indexdef(indexrelid) as d from pg_index where indrelid = 'items'::regclass
		union all select conname || pg_get_constraintdef(oid) from pg_constraint where conrelid = 'items'::regclass) x`
	before := leaf.text(structure)

	start := time.Now()
	branch.addTable("public.items", londiste.AddTable{})
	leaf.addTable("public.items", londiste.AddTable{})
	branch.inSync(5 * time.Second)
	leaf.inSync(5 * time.Second)
	t.Logf("in sync after %s", time.Since(start))
	sameTables(t, root, branch, "public.items")
	sameTables(t, root, leaf, "public.items")
	if after := leaf.text(structure); after != before {
		t.Errorf("structure was\n%s\nis\n%s", before, after)
	}
	root.run(`update items set n = -n; delete from items where id < 10`)
	leaf.caughtUp(root, 5*time.Second)
	sameTables(t, root, leaf, "public.items")
	leaf.eventually(5*time.Second, "0", "select count(*)::text from pgq_node.local_state where consumer_name like '%.copy.%'")
	for _, n := range []*node{root, branch} {
		n.eventually(5*time.Second, "0", "select count(*)::text from pgq.consumer where co_name like '%.copy.%'")
	}
	kb.healthy()
	kl.healthy()
}
