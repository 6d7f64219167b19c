package cascade_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// load changes tables all the time; statements that meet a server that is down are
// tried no more.
func (n *node) load() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; ctx.Err() == nil; i++ {
			n.ask(fmt.Sprintf(`with a as (insert into items values (%d, 'load', 1, 1) returning 1),
				b as (update items set name = name || '+' where id = %d returning 1),
				c as (delete from items where id = %d returning 1) select 'x'`, i+1000, i+990, i+980))
			time.Sleep(time.Millisecond)
		}
	}()
	return func() { cancel(); <-done }
}

// TestServersKilled kills provider and subscribers in turn with SIGKILL while rows
// change and a table is copied.
func TestServersKilled(t *testing.T) {
	t.Parallel()
	up, down := sandboxtest.Private(t, sandbox.Options{Durable: true}), sandboxtest.Private(t, sandbox.Options{Durable: true})
	root := newRoot(t, up, "root")
	branch := root.add(down, root, "branch", pgqnode.Branch)
	leaf := branch.add(up, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, branch, leaf} {
		n.run(items)
	}
	root.run("insert into items select i, 'first', 0, 0 from generate_series(1, 500) i")
	root.addTable("public.items", londiste.AddTable{})
	stopTicks := root.ticking(10 * time.Millisecond)
	branch.start()
	leaf.start()
	for _, n := range []*node{branch, leaf} {
		n.eventually(10*time.Second, "1", "select count(*)::text from londiste.table_info")
		n.addTable("public.items", londiste.AddTable{})
	}
	stop := root.load()
	for i := range 6 {
		server := []*sandbox.Server{up, down}[i%2]
		time.Sleep(time.Duration(100+150*i) * time.Millisecond) // into the load, not a synchronisation
		server.Kill()
		if err := server.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	for _, n := range []*node{branch, leaf} {
		n.inSync(20 * time.Second)
	}
	stopTicks()
	for _, n := range []*node{branch, leaf} {
		n.caughtUp(root, 20*time.Second)
		sameTables(t, root, n, "public.items")
	}
	if n := strings.Count(root.rows("items"), "\n"); n < 500 {
		t.Errorf("only %d rows: the load did not run", n)
	}
	branch.caughtUp(root, 20*time.Second)
	sameQueues(t, root, branch)
}

// spendIDs brings the transaction ids of the node's server far ahead of a fresh one's.
func (n *node) spendIDs() {
	n.t.Helper()
	n.run(`create procedure burn() language plpgsql as $$ begin for i in 1 .. 20000 loop perform txid_current(); commit; end loop; end $$`)
	n.run(`call burn()`)
}

// TestCopyFromAnotherCluster copies from a node that is not the provider and whose
// transaction ids are far ahead. The originals skip what is written then, as if it
// had been copied. Source: contract/londiste.md sections 2.6 and 7.4, item 11.
func TestCopyFromAnotherCluster(t *testing.T) {
	t.Parallel()
	ahead, fresh := sandboxtest.Private(t, sandbox.Options{}), sandboxtest.Server(t)
	root := newRoot(t, ahead, "root")
	branch := root.add(fresh, root, "branch", pgqnode.Branch)
	leaf := branch.add(fresh, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, branch, leaf} {
		n.run(items)
	}
	root.spendIDs()
	root.run("insert into items select i, 'first', 0, 0 from generate_series(1, 100) i")
	root.addTable("public.items", londiste.AddTable{})
	root.run("update pgq.queue set queue_ticker_max_lag = '1 minute'") // nothing but force_tick makes a tick
	root.ticking(50 * time.Millisecond)
	kb, kl := branch.start(), leaf.start()
	root.tick()
	for _, copyNode := range []string{"root", "?"} {
		leaf.eventually(10*time.Second, "1", "select count(*)::text from londiste.table_info")
		if copyNode == "?" {
			branch.addTable("public.items", londiste.AddTable{})
			branch.inSync(5 * time.Second)
		}
		attrs := londiste.Dict{}
		attrs.Set("copy_node", copyNode)
		leaf.addTable("public.items", londiste.AddTable{Attrs: attrs})
		start := time.Now()
		leaf.inSync(5 * time.Second)
		t.Logf("copy_node=%s: in sync after %s on an idle queue", copyNode, time.Since(start))
		root.run("insert into items values (-1, 'late', 1, 1), (-2, 'late', 1, 1); update items set name = 'changed' where id = 5; delete from items where id = 6")
		leaf.caughtUp(root, 5*time.Second)
		sameTables(t, root, leaf, "public.items")
		root.run("delete from items where id < 0")
		leaf.caughtUp(root, 5*time.Second)
		leaf.must(londiste.LocalRemoveTable(queue, "public.items"))
	}
	kb.healthy()
	kl.healthy()
}

// TestCopyUnderLoad copies two tables with a foreign key while one of them changes.
func TestCopyUnderLoad(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	const parts = `; create table public.parts (id int primary key, item int references items on delete cascade, doubled int generated always as (id * 2) stored)`
	for _, n := range []*node{root, leaf} {
		n.run(items + parts)
	}
	root.run("insert into items select i, 'first', 0, 0 from generate_series(1, 500) i; insert into parts select i, i from generate_series(1, 500) i")
	tables := []string{"public.items", "public.parts"}
	for _, name := range tables {
		root.addTable(name, londiste.AddTable{})
	}
	root.ticking(5 * time.Millisecond)
	k := leaf.start()
	leaf.eventually(5*time.Second, "2", "select count(*)::text from londiste.table_info")
	stop := root.load()
	for _, name := range tables {
		leaf.addTable(name, londiste.AddTable{})
	}
	leaf.inSync(10 * time.Second)
	stop()
	leaf.caughtUp(root, 10*time.Second)
	sameTables(t, root, leaf, tables...)
	leaf.eventually(5*time.Second, "1", "select count(*)::text from pg_constraint where contype = 'f' and convalidated and conrelid = 'parts'::regclass")
	leaf.eventually(5*time.Second, "0", "select count(*)::text from londiste.pending_fkeys")
	k.healthy()
}

// TestPausedWorkerAcknowledges also proves that a paused worker does nothing.
func TestPausedWorkerAcknowledges(t *testing.T) {
	t.Parallel()
	root, branch, _ := chain(t)
	w := cascade.New(branch.config())
	defer w.Close()
	branch.must(pgqnode.SetConsumerPaused(queue, "branch_worker", true))
	root.run("insert into items values (100, 'x', 1, 1)")
	root.tick()
	drain(t, w)
	if got := branch.text("select paused || ' ' || uptodate from pgq_node.local_state"); got != "true true" {
		t.Errorf("paused and uptodate are %s", got)
	}
	if got := branch.text("select count(*)::text from items where id = 100"); got != "0" {
		t.Error("a paused worker has replayed")
	}
	branch.must(pgqnode.SetConsumerPaused(queue, "branch_worker", false))
	drain(t, w)
	sameTables(t, root, branch, "public.items")
}

func (n *node) pause(paused bool) {
	n.t.Helper()
	n.must(pgqnode.SetConsumerPaused(queue, n.name+"_worker", paused))
	n.eventually(5*time.Second, "true", "select uptodate::text from pgq_node.local_state where consumer_name = $1", n.name+"_worker")
}

// TestTakeover swaps root and branch and back under load, while workers run; the
// calls are those of contract/pgq.md section 6.8.
func TestTakeover(t *testing.T) {
	t.Parallel()
	root, branch, leaf := chain(t)
	stopTicks := []func(){root.ticking(10 * time.Millisecond), branch.ticking(10 * time.Millisecond)}
	root.start()
	kl, kb := leaf.start(), branch.start()
	written := 0
	write := func(n *node) {
		written++
		n.run(fmt.Sprintf("insert into items values (%d, 'by %s', 1, 1); update items set n = n + 1 where id = 3", 1000+written, n.name))
	}
	takeover := func(old, next *node) {
		t.Helper()
		write(old)
		old.pause(true)
		old.must(pgqnode.DemoteRoot(queue, 1, ""), pgqnode.DemoteRoot(queue, 2, ""))
		last := old.text("select max(tick_id)::text from pgq.tick")
		next.eventually(5*time.Second, "true", "select (last_tick_id >= $1::text::int8)::text from pgq_node.local_state where consumer_name = $2", last, next.name+"_worker")
		next.pause(true)
		next.must(pgqnode.PromoteBranch(queue))
		var tick int64
		fmt.Sscan(last, &tick)
		next.must(pgqnode.RegisterSubscriber(queue, old.name, old.name+"_worker", tick))
		old.must(pgqnode.UnregisterSubscriber(queue, next.name))
		next.pause(false)
		old.must(pgqnode.DemoteRoot(queue, 3, next.name))
		old.pause(false)
		next.run("update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '1 hour'")
		write(next)
		for _, n := range []*node{old, leaf} {
			n.caughtUp(next, 5*time.Second)
			sameTables(t, next, n, "public.items", "public.seen")
		}
	}
	takeover(root, branch)
	takeover(branch, root)
	takeover(root, branch)
	for _, stop := range append(stopTicks, kb.stop) { // the new root's worker publishes watermarks
		stop()
	}
	root.caughtUp(branch, 5*time.Second)
	sameQueues(t, branch, root)
	kl.healthy()
}

// TestChangeProvider moves a leaf from the branch to the root and back under load.
func TestChangeProvider(t *testing.T) {
	t.Parallel()
	root, branch, leaf := chain(t)
	root.ticking(5 * time.Millisecond)
	kb, kl := branch.start(), leaf.start()
	stop := root.load()
	old := branch
	for _, next := range []*node{root, branch, root} {
		leaf.pause(true)
		var tick int64
		fmt.Sscan(leaf.text("select last_tick_id::text from pgq_node.local_state"), &tick)
		next.eventually(10*time.Second, "true", "select (max(tick_id) >= $1)::text from pgq.tick", tick) // the leaf may be ahead of the branch
		next.must(pgqnode.RegisterLocation(queue, "leaf", leaf.db.DSN, false), pgqnode.RegisterSubscriber(queue, "leaf", "leaf_worker", tick))
		leaf.must(pgqnode.ChangeConsumerProvider(queue, "leaf_worker", next.name))
		leaf.pause(false)
		old.must(pgqnode.UnregisterSubscriber(queue, "leaf"))
		old = next
	}
	stop()
	leaf.caughtUp(root, 5*time.Second)
	sameTables(t, root, leaf, "public.items", "public.seen")
	kb.healthy()
	kl.healthy()
}

func TestLostPositionSaysWhatToDo(t *testing.T) {
	t.Parallel()
	root, branch, _ := chain(t)
	leafTick := branch.text("select last_tick_id::text from pgq_node.local_state")
	branch.run("update pgq_node.local_state set last_tick_id = 99999; delete from pgq.tick where tick_id = (select max(tick_id) from pgq.tick)")
	root.tick()
	w := cascade.New(branch.config())
	defer w.Close()
	_, err := w.RunOnce(t.Context())
	if err == nil || !strings.Contains(err.Error(), "lost position") || !strings.Contains(err.Error(), "99999") {
		t.Errorf("got %v (was at %s)", err, leafTick)
	}
	if got := branch.text("select cur_error from pgq_node.local_state"); !strings.Contains(got, "lost position") {
		t.Errorf("cur_error is %q", got)
	}
}

// TestErrorStays keeps what stops a node where status shows it until a round has been
// done: a worker that starts again, or is paused, has done none.
func TestErrorStays(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, leaf} {
		n.run("create table t (id int primary key)")
	}
	root.addTable("public.t", londiste.AddTable{})
	root.tick()
	first := cascade.New(leaf.config())
	defer first.Close()
	drain(t, first)
	leaf.addTable("public.t", londiste.AddTable{Args: []string{"expect_sync"}})
	leaf.run("alter table t add check (id < 2)")
	root.run("insert into t values (2)")
	root.tick()
	if _, err := first.RunOnce(t.Context()); err == nil {
		t.Fatal("the row was replayed")
	}
	stored := func() string {
		return leaf.text("select coalesce(cur_error, '') from pgq_node.local_state where consumer_name = 'leaf_worker'")
	}
	leaf.must(pgqnode.SetConsumerPaused(queue, "leaf_worker", true))
	second := cascade.New(leaf.config())
	defer second.Close()
	for range 2 {
		if _, err := second.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := stored(); !strings.Contains(got, "violates check constraint") {
			t.Errorf("the node has not gone on, and its error is %q", got)
		}
	}
	leaf.run("alter table t drop constraint t_id_check")
	leaf.must(pgqnode.SetConsumerPaused(queue, "leaf_worker", false))
	drain(t, second)
	if got := stored(); got != "" {
		t.Errorf("the node goes on, and its error is %q", got)
	}
}
