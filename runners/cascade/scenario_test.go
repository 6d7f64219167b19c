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
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// The scenarios of contract/londiste.md sections 7.1, 7.2 and 7.4 that no other test has.

// TestMergeBelowQueueOnlyBranch merges two parts that come through a branch without tables,
// and one that comes from its root, by a single call. The rows come from where they are.
func TestMergeBelowQueueOnlyBranch(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	m := &merge{t: t}
	between, below := database(t, s), database(t, s)
	var leafs []*node
	for i, name := range []string{"a", "b", "c"} {
		p := newRootIn(t, database(t, s), "part "+name, name)
		p.run(mergeItems + fmt.Sprintf("; insert into items select '%s', i, 'first', 0 from generate_series(1, 200) i", name))
		p.addTable("public.items", londiste.AddTable{})
		m.parts = append(m.parts, p)
		up := p
		if i < 2 {
			up = p.addIn(between, p, "between", pgqnode.Branch)
			defer up.start().healthy()
		}
		leafs = append(leafs, up.addIn(below, p, "below", pgqnode.Leaf))
	}
	x := &node{t: t, db: below, name: "below"}
	x.run(mergeItems)
	m.targets, m.leafs = []*node{x}, [][]*node{leafs}
	for _, leaf := range leafs {
		defer leaf.start().healthy()
		leaf.must(londiste.GlobalAddTable(leaf.queue(), "public.items"))
	}
	for _, p := range m.parts {
		p.ticking(20 * time.Millisecond)
	}
	stop := m.load()
	attrs := londiste.Dict{}
	attrs.Set("copy_node", "?")
	leafs[0].addTable("public.items", londiste.AddTable{Args: []string{"merge_all"}, Attrs: attrs})
	x.inSync(10 * time.Second)
	stop()
	m.settle()
}

// TestMergedScripts: a script that comes through all parts runs once here and goes on once,
// and rows before and after it have the columns that they had.
func TestMergedScripts(t *testing.T) {
	t.Parallel()
	m := newMerge(t, 3, 2)
	m.register("expect_sync")
	wx, wy := m.workers(0), m.workers(1)
	m.fill(1)
	for _, p := range m.parts {
		p.script("more.sql", "alter table items add column more int default 1")
		p.run("update items set more = id")
	}
	m.fill2("more")
	m.step(wx, wy)
	m.check(m.targets...)
	if n := m.targets[0].text("select count(*)::text from pgq.event_template where ev_type = 'EXECUTE'"); n != "1" {
		t.Errorf("the combined queue has the script %s times", n)
	}
	for _, n := range m.targets {
		if got := n.text("select string_agg(execute_file, ' ') from londiste.applied_execute"); got != "more.sql" {
			t.Errorf("%s: applied scripts: %s", n.name, got)
		}
	}
	m.targets[0].script("own.sql", "alter table items add column own int")
	m.step(wx, wy)
	if got := m.targets[1].text("select string_agg(execute_file, ' ' order by execute_file) from londiste.applied_execute"); got != "more.sql own.sql" {
		t.Errorf("applied scripts below the combined root: %s", got)
	}
}

// fill2 inserts rows that have one more column.
func (m *merge) fill2(column string) {
	for _, p := range m.parts {
		p.run(fmt.Sprintf("insert into items (part, id, name, n, %s) values ('%s', 901, 'new', 1, 7)", column, p.name))
	}
}

// script runs a script on a root, as apply does.
func (n *node) script(name, text string) {
	n.t.Helper()
	err := n.with(func(c *pg.Conn) error {
		return c.Write(context.Background(), func(tx *pg.Tx) error {
			for _, s := range []struct {
				text string
				args []any
			}{
				{"set local session_replication_role = local", nil},
				{"select * from londiste.execute_start($1, $2, $3, true, null)", []any{n.queue(), name, text}},
				{text, nil},
				{"select * from londiste.execute_finish($1, $2)", []any{n.queue(), name}},
				{"select pgq.create_capture(q.queue_name, t.table_name, '_londiste_' || q.queue_name, '{}') from pgq.queue q join londiste.table_info t using (queue_name) where q.queue_name = $1 and t.local", []any{n.queue()}},
			} {
				if _, err := tx.Exec(context.Background(), s.text, s.args...); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// TestMergedMask: what a merged leaf hides, it hides in its table, from the copy and from
// replay, and in what goes into the combined queue.
func TestMergedMask(t *testing.T) {
	t.Parallel()
	m := newMerge(t, 2, 2)
	h := londiste.Handling{Mask: londiste.Mask{"part": {Word: "keep"}, "id": {Word: "keep"}, "name": {Word: "hash"}, "n": {Word: "skip"}}}
	attrs := londiste.Dict{}
	h.Write(attrs)
	key := func(c *cascade.Config) {
		c.MaskKey = func(context.Context) ([]byte, error) { return []byte("key"), nil }
	}
	for i, p := range m.parts {
		p.run(fmt.Sprintf("insert into items select '%s', i, 'secret ' || i, 1 from generate_series(1, 20) i", p.name))
		p.addTable("public.items", londiste.AddTable{})
		p.ticking(20 * time.Millisecond)
		for target := range m.targets {
			m.leafs[target][i].start(key)
		}
	}
	x, y := m.targets[0], m.targets[1]
	x.must(londiste.GlobalAddTable(combined, "public.items"))
	x.addTable("public.items", londiste.AddTable{})
	for i, n := range m.targets {
		n.ticking(20 * time.Millisecond)
		n.start(key)
		if i == 1 {
			n.must(londiste.GlobalAddTable(combined, "public.items"))
			n.addTable("public.items", londiste.AddTable{}) // as the combined root has it
		}
		for _, leaf := range m.leafs[i] {
			leaf.must(londiste.GlobalAddTable(leaf.queue(), "public.items"))
			leaf.addTable("public.items", londiste.AddTable{Args: append(h.AddArgs(), "no_merge"), Attrs: attrs})
		}
		n.inSync(10 * time.Second)
	}
	for i, p := range m.parts {
		p.run(fmt.Sprintf("insert into items values ('%s', 30, 'secret 1', 2); update items set name = 'secret 2' where id = 3", p.name))
		for target := range m.targets {
			m.leafs[target][i].caughtUp(p, 10*time.Second)
		}
	}
	y.caughtUp(x, 10*time.Second)
	sameTables(t, x, y, "public.items")
	for _, n := range m.targets {
		if got := n.rows("items"); strings.Contains(got, "secret") || strings.Count(got, "\n") != 41 {
			t.Errorf("%s holds\n%s", n.name, short(got))
		}
		if got := n.text("select count(*)::text from items where n is not null"); got != "0" {
			t.Errorf("%s: %s rows have a column that is left out", n.name, got)
		}
		if got := n.text("select count(distinct name)::text from items where id in (1, 30)"); got != "1" {
			t.Errorf("%s: the same value has %s hashes", n.name, got)
		}
		if got := n.text("select count(*)::text from pgq.event_template e where e::text like '%secret%'"); got != "0" {
			t.Errorf("%s: %s events tell the secret", n.name, got)
		}
	}
}

// TestMixedTakeover moves the root of a cascade there and back with Londiste's takeover,
// where one of root and branch is Londiste's and the leaf is of the other kind.
func TestMixedTakeover(t *testing.T) {
	t.Parallel()
	for who, name := range []string{"their root and leaf", "their branch"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, branch, leaf := chain(t)
			for i, n := range []*node{root, branch, leaf} {
				if i%2 == who {
					n.python().work()
				} else {
					n.start()
				}
				n.run("update pgq.queue set queue_ticker_idle_period = '200 ms'")
			}
			root.ticking(50 * time.Millisecond)
			branch.ticking(50 * time.Millisecond)
			written := 0
			for _, move := range [][2]*node{{root, branch}, {branch, root}} {
				from, to := move[0], move[1]
				written++
				from.run(mixture(written))
				to.python().do("takeover", from.name)
				to.run("update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '200 ms'")
				written++
				to.run(mixture(written))
				for _, n := range []*node{from, leaf} {
					n.caughtUp(to, 10*time.Second)
					sameTables(t, to, n, "public.items", "public.seen")
				}
			}
		})
	}
}

// TestMixedRootReturns loses a root whose last changes nobody has, and lets Londiste promote
// our branch. When the old root is back, it joins anew as a branch. Londiste's resurrect,
// which would do that and write down what was lost, fails in 3.12 on the first lost event.
func TestMixedRootReturns(t *testing.T) {
	t.Parallel()
	root, branch, leaf := chain(t)
	wb := branch.start()
	wl := leaf.start()
	root.run(mixture(1))
	leaf.caughtUp(root, 10*time.Second)
	branch.caughtUp(root, 10*time.Second)
	wb.stop()
	root.run(mixture(2)) // this is lost
	root.tick()
	was := root.db.Name
	admin := func(text string, args ...string) {
		t.Helper()
		conn, err := pg.Dial(t.Context(), root.db.Server.DSN("postgres"), pg.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where datname in ($1::text, $1::text || '_hidden')", was); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	admin(fmt.Sprintf("alter database %s rename to %s_hidden", was, was))
	branch.start()
	branch.python().do("takeover", "root", "--dead-root")
	branch.run("update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '200 ms'")
	branch.run(mixture(3))
	leaf.caughtUp(branch, 10*time.Second)
	sameTables(t, branch, leaf, "public.items", "public.seen")

	admin(fmt.Sprintf("alter database %s_hidden rename to %s", was, was))
	root.ask("select 1") // its session was ended
	branch.must(pgqnode.UnregisterSubscriber(queue, "root"))
	root.must(pgqnode.DropNode(queue, "root"))
	root = branch.addIn(root.db, branch, "root", pgqnode.Branch)
	for _, table := range []string{"public.items", "public.seen"} { // what was lost goes with the copy
		root.must(londiste.GlobalAddTable(queue, table))
		root.addTable(table, londiste.AddTable{})
	}
	branch.ticking(20 * time.Millisecond)
	defer root.start().healthy()
	root.inSync(10 * time.Second)
	branch.run(mixture(4))
	root.caughtUp(branch, 10*time.Second)
	sameTables(t, branch, root, "public.items", "public.seen")
	wl.stop()
}

// TestChangeProviderAfterCopy moves a leaf to a node of another cluster, whose transaction
// ids are far behind, at the moment its copy is done. The originals skip there what they
// take for copied.
func TestChangeProviderAfterCopy(t *testing.T) {
	t.Parallel()
	ahead, fresh := sandboxtest.Private(t, sandbox.Options{}), sandboxtest.Server(t)
	root := newRoot(t, ahead, "root")
	branch := root.add(fresh, root, "branch", pgqnode.Branch)
	leaf := root.add(fresh, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, branch, leaf} {
		n.run(items)
	}
	root.spendIDs()
	root.run("insert into items select i, 'first', 0, 0 from generate_series(1, 100) i")
	root.addTable("public.items", londiste.AddTable{})
	root.ticking(20 * time.Millisecond)
	kb, kl := branch.start(), leaf.start()
	old, next := root, branch
	for range 3 {
		leaf.must(londiste.GlobalAddTable(queue, "public.items"))
		stop := root.load()
		branch.run("select 1")
		if branch.text("select count(*)::text from londiste.table_info where local") == "0" {
			branch.must(londiste.GlobalAddTable(queue, "public.items"))
			branch.addTable("public.items", londiste.AddTable{})
			branch.inSync(10 * time.Second)
		}
		leaf.addTable("public.items", londiste.AddTable{})
		leaf.eventually(10*time.Second, "ok", "select merge_state from londiste.table_info where table_name = 'public.items'")
		leaf.pause(true)
		var tick int64
		fmt.Sscan(leaf.text("select last_tick_id::text from pgq_node.local_state where consumer_name = 'leaf_worker'"), &tick)
		next.eventually(10*time.Second, "true", "select (max(tick_id) >= $1)::text from pgq.tick", tick)
		next.must(pgqnode.RegisterLocation(queue, "leaf", leaf.db.DSN, false), pgqnode.RegisterSubscriber(queue, "leaf", "leaf_worker", tick))
		leaf.must(pgqnode.ChangeConsumerProvider(queue, "leaf_worker", next.name))
		leaf.pause(false)
		old.must(pgqnode.UnregisterSubscriber(queue, "leaf"))
		stop()
		leaf.caughtUp(root, 10*time.Second)
		sameTables(t, root, leaf, "public.items")
		leaf.must(londiste.LocalRemoveTable(queue, "public.items"))
		root.run("delete from items where id > 1000")
		old, next = next, old
	}
	kb.healthy()
	kl.healthy()
}
