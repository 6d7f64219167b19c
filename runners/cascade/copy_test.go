package cascade_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
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

const portable = `
create type mood as enum ('sad', 'so "so"', 'ä');
create domain percent as int check (value between 0 and 100);
create table public.portable (id int primary key, a_num numeric(12,2), a_vc varchar(20), a_ch char(8), "a name" text, an_enum mood, a_dom percent,
	some_ints int[], some_texts text[], grid int[], a_tstz timestamptz, a_jsonb jsonb, a_range numrange, a_bytea bytea, a_qchar "char");`

const portableRows = `
insert into portable values
	(1, 12.345, 'null', 'pad', E'tab\t \\ "q" é 漢', 'so "so"', 42, '{1,null,3}', array['a,b', null, ''], '[0:1][1:2]={{1,2},{3,4}}', '2020-02-01 12:11:12.123456+02', '{"k": "é\\"}', '[1.5,)', '\x00ff', 'z'),
	(2, 'NaN', '', '', '', 'ä', 0, '{}', '{}', '{}', 'infinity', 'null', 'empty', '', '');
insert into portable values (3)`

// TestBinaryCopy copies types that travel in binary format.
func TestBinaryCopy(t *testing.T) {
	t.Parallel()
	root, leaf := pairOf(t, nil, portable, "public.portable")
	root.run(portableRows)
	root.ticking(20 * time.Millisecond)
	binary := &pg.Fault{Match: "(format binary"}
	if err := leaf.copyTable(pg.WithFault(t.Context(), binary), "public.portable"); err != nil {
		t.Fatal(err)
	}
	sameTables(t, root, leaf, "public.portable")
	if binary.Seen() != 2 {
		t.Errorf("%d binary COPY commands", binary.Seen())
	}
}

// TestCopyEncodings copies and replays between databases of different encodings, in
// both formats.
func TestCopyEncodings(t *testing.T) {
	t.Parallel()
	server := sandboxtest.Server(t)
	admin := (&sandboxtest.DB{DSN: server.DSN("postgres"), Server: server}).Conn(t)
	if _, err := admin.Exec(t.Context(), "create database copy_latin template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'"); err != nil {
		t.Fatal(err)
	}
	latin := sandboxtest.DatabaseOn(t, server, "copy_latin")
	install(t, latin)
	root, leaf := pairOf(t, latin, "create table public.bin (k text primary key); create table public.txt (k text primary key, m money)", "public.bin", "public.txt")
	root.run("insert into bin select 'ä' || i from generate_series(1, 10) i; insert into txt select 'ä' || i from generate_series(1, 10) i")
	stop := root.ticking(20 * time.Millisecond)
	leaf.start(func(c *cascade.Config) { c.Poll = 20 * time.Millisecond })
	leaf.inSync(10 * time.Second)
	root.run("insert into bin values ('é'); update txt set m = 1 where k = 'ä3'")
	stop()
	leaf.caughtUp(root, 10*time.Second)
	sameTables(t, root, leaf, "public.bin", "public.txt")
}
