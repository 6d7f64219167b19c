package cascade_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	tablecopy "github.com/skytools-go/skytools/runners/copy"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// copyTable makes one copy of a table, without a worker beside it, until it fails or
// wants to be handed over.
func (n *node) copyTable(ctx context.Context, table string, change ...func(*tablecopy.Config)) error {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience*10*time.Second)
	defer cancel()
	c := n.config()
	config := tablecopy.Config{Queue: queue, Table: table, Worker: n.name + "_worker", DSN: c.DSN, Log: c.Log, Changed: cancel}
	for _, f := range change {
		f(&config)
	}
	return tablecopy.Run(ctx, config)
}

// pairOf makes a root and a leaf that is about to copy tables of the root.
func pairOf(t *testing.T, s *sandboxtest.DB, setup string, tables ...string) (root, leaf *node) {
	t.Helper()
	server := sandboxtest.Server(t)
	root = newRoot(t, server, "root")
	if s == nil {
		leaf = root.add(server, root, "leaf", pgqnode.Leaf)
	} else {
		leaf = root.addIn(s, root, "leaf", pgqnode.Leaf)
	}
	for _, n := range []*node{root, leaf} {
		n.run("set client_encoding = 'UTF8'; " + setup)
	}
	for _, name := range tables {
		root.addTable(name, londiste.AddTable{})
		leaf.must(londiste.GlobalAddTable(queue, name))
		leaf.addTable(name, londiste.AddTable{})
		leaf.run("update londiste.table_info set merge_state = 'in-copy'")
	}
	root.tick()
	return root, leaf
}

// TestCopyTakesManyTicks: a copy that is far behind its worker takes all that is
// there at once, however many ticks it is.
func TestCopyTakesManyTicks(t *testing.T) {
	t.Parallel()
	root, leaf := pairOf(t, nil, items, "public.items")
	root.run("insert into items select i, 'first', 0, 0 from generate_series(1, 10) i")
	if err := leaf.copyTable(pg.WithFault(t.Context(), &pg.Fault{Match: "next_batch_custom", Nth: 1}), "public.items"); err == nil {
		t.Fatal("the copy was not interrupted")
	}
	if state := leaf.text("select merge_state from londiste.table_info"); state != tablecopy.CatchingUp {
		t.Fatalf("it is %s", state)
	}
	for i := range 300 {
		root.run(fmt.Sprintf("insert into items values (%d, 'late', 1, 1)", 100+i))
		root.run("select pgq.ticker('shop')")
	}
	leaf.run("update pgq_node.local_state set last_tick_id = " + root.text("select max(tick_id)::text from pgq.tick") + " where consumer_name = 'leaf_worker'")
	batches := &pg.Fault{Match: "get_batch_cursor"}
	if err := leaf.copyTable(pg.WithFault(t.Context(), batches), "public.items"); err != nil {
		t.Fatal(err)
	}
	sameTables(t, root, leaf, "public.items")
	if n := batches.Seen(); n > 10 {
		t.Errorf("%d batches for 300 ticks", n)
	}
}
