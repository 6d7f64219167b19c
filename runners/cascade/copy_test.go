package cascade_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	tablecopy "github.com/skytools-go/skytools/runners/copy"
	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// copyTable makes one copy of a table, without a worker beside it, until it fails or
// wants to be handed over.
func (n *node) copyTable(ctx context.Context, table string, change ...func(*tablecopy.Config)) error {
	n.t.Helper()
	wants := func() bool {
		state, _ := n.ask("select merge_state from londiste.table_info where table_name = $1", table)
		return tablecopy.TickOf(state) > 0
	}
	if wants() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience*10*time.Second)
	defer cancel()
	config := n.copyConfig(table)
	config.Changed = func() {
		if wants() {
			cancel()
		}
	}
	for _, f := range change {
		f(&config)
	}
	return tablecopy.Run(ctx, config)
}

func (n *node) copyConfig(table string) tablecopy.Config {
	c := n.config()
	return tablecopy.Config{Queue: queue, Table: table, Worker: n.name + "_worker", DSN: c.DSN, Log: c.Log}
}

// small makes pieces of a table that is not large.
func small(c *tablecopy.Config) { c.Sessions, c.Piece = 3, 64<<10 }

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

// indexed has every kind of index and constraint that a copy has to make again.
const indexed = `
create table public.indexed (id int primary key, a text, b int, c int, d int4range, n int not null check (n >= 0));
alter table indexed add constraint "a Unique" unique (a) include (b) deferrable initially deferred;
alter table indexed add unique (id, n);
alter table indexed add exclude using gist (d with &&) where (n < 0);
create unique index on indexed (lower(a)) where b > 0;
create index "by ""c""" on indexed using hash (c);
create index on indexed (c desc nulls last, (b + 1)) with (fillfactor = 70);
create index kept on indexed (b); comment on index kept is 'has a comment';
create table public.child (id int primary key, parent int references indexed (id));`

const indexedRows = `insert into indexed select i, 'a ' || i, i, i % 100, int4range(i, i + 1), 1 from generate_series(1, 20000) i; insert into child select i, i from generate_series(1, 100) i`

const structure = `select string_agg(d, E'\n' order by d) from (
	select pg_get_indexdef(indexrelid) || ' ' || indisprimary || indimmediate as d from pg_index where indrelid in ('indexed'::regclass, 'child'::regclass)
	union all select conname || ' ' || pg_get_constraintdef(oid) from pg_constraint where contype <> 'f' and conrelid in ('indexed'::regclass, 'child'::regclass)) x`

// changeIndexed inserts, updates and deletes rows of the table all the time; statements that
// meet a server that is down are tried no more.
func (n *node) changeIndexed() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; ctx.Err() == nil; i++ {
			n.ask(fmt.Sprintf(`with a as (insert into indexed values (%d, 'new', 1, 1, 'empty', 1) on conflict do nothing returning 1),
				b as (update indexed set c = c + 1, a = a || '.' where id = %d returning 1),
				c as (delete from indexed where id = %d returning 1) select 'x'`, 100000+i, i*37%19999+200, i*91%19999+200))
			time.Sleep(time.Millisecond)
		}
	}()
	return func() { cancel(); <-done }
}

// TestCopyInPieces copies a table by several sessions while it changes, and makes its
// indexes again as they were.
func TestCopyInPieces(t *testing.T) {
	t.Parallel()
	root, leaf := pairOf(t, nil, indexed, "public.indexed", "public.child")
	root.run(indexedRows)
	before := leaf.text(structure)
	root.ticking(20 * time.Millisecond)
	pieces := &pg.Fault{Match: "where ctid >="}
	rest := root.changeIndexed()
	leaf.run("update londiste.table_info set merge_state = null")
	w := cascade.New(func() cascade.Config { c := leaf.config(); c.Sessions, c.Piece = 3, 64<<10; return c }())
	run, stop := context.WithCancel(pg.WithFault(t.Context(), pieces))
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(run) }()
	defer func() { stop(); <-ended }()
	leaf.inSync(20 * time.Second)
	rest()
	leaf.caughtUp(root, 10*time.Second)
	sameTables(t, root, leaf, "public.indexed", "public.child")
	leaf.eventually(10*time.Second, "true", "select convalidated::text from pg_constraint where conname = 'child_parent_fkey'")
	if after := leaf.text(structure); after != before {
		t.Errorf("structure was\n%s\nis\n%s", before, after)
	}
	if pieces.Seen() < 10 {
		t.Errorf("it was copied in %d pieces", pieces.Seen())
	}
}

// TestPiecesOfTwoCopies lets a second copy of a table begin while the first has lost
// its lock and still writes pieces: what it has not committed yet must not come any more.
func TestPiecesOfTwoCopies(t *testing.T) {
	t.Parallel()
	root, leaf := pairOf(t, nil, indexed, "public.indexed")
	root.run(indexedRows + "; analyze indexed")
	before := leaf.text(structure)
	root.ticking(20 * time.Millisecond)
	first := make(chan error, 1)
	go func() {
		first <- leaf.copyTable(t.Context(), "public.indexed", small, func(c *tablecopy.Config) {
			c.Limits = []*tablecopy.Limit{tablecopy.NewLimit(1 << 20)} // about 2 s
		})
	}()
	leaf.eventually(10*time.Second, "true", "select (dropped_ddl like '%-- piece%')::text from londiste.table_info")
	leaf.shows(root, func(t status.Table) bool {
		return t.State == "in-copy" && t.Rows > 0 && t.Rows < t.Of && t.Of == 20000 && t.Progress > 0 && t.Progress < 0.99 && strings.Contains(t.Note, "of about 20,000 rows")
	})
	leaf.run("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())")
	if err := leaf.copyTable(t.Context(), "public.indexed", small); err != nil {
		t.Error(err)
	}
	if err := <-first; err == nil {
		t.Error("the first copy has not noticed")
	}
	sameTables(t, root, leaf, "public.indexed")
	if after := leaf.text(structure); after != before {
		t.Errorf("structure was\n%s\nis\n%s", before, after)
	}
}

// shows fails the test unless status says of the node's table what is right.
func (n *node) shows(root *node, right func(status.Table) bool) {
	n.t.Helper()
	var sources []status.Source
	for _, m := range []*node{root, n} {
		sources = append(sources, status.Source{Name: m.name, DSN: func(context.Context) (string, error) { return m.db.DSN, nil }})
	}
	r := status.Collect(n.t.Context(), sources, patience*time.Second)
	if len(r.Databases[1].Nodes) != 1 || len(r.Databases[1].Nodes[0].Tables) != 1 || !right(r.Databases[1].Nodes[0].Tables[0]) {
		n.t.Errorf("status shows %+v", r.Databases[1])
	}
}

// TestFaultsInPieces fails each statement of a copy in pieces once, before and after
// it ran, and lets another copy finish.
func TestFaultsInPieces(t *testing.T) {
	t.Parallel()
	root, leaf := pairOf(t, nil, indexed, "public.indexed")
	root.run("insert into indexed select i, 'a ' || i, i, i % 100, int4range(i, i + 1), 1 from generate_series(1, 3000) i")
	before := leaf.text(structure)
	root.ticking(5 * time.Millisecond)
	for n, round := 1, 0; ; n += 1 + n/10 { // sessions run beside each other: what is the nth differs
		f := &pg.Fault{Nth: n, After: n%2 == 0}
		ctx, label := pg.WithFault(t.Context(), f), fmt.Sprintf("n=%d after=%v", n, f.After)
		round++
		root.run(fmt.Sprintf("update indexed set c = %d, a = a || '.' where id %% 7 = 0; delete from indexed where id = %d", round, round))
		leaf.copyTable(ctx, "public.indexed", small) // a fault may end it
		root.run(fmt.Sprintf("update indexed set c = c + 1 where id = %d", 1000+round))
		for range 3 { // the first may find what the fault has left open
			if leaf.copyTable(t.Context(), "public.indexed", small) == nil {
				break
			}
		}
		if state := leaf.text("select merge_state from londiste.table_info"); tablecopy.TickOf(state) == 0 {
			t.Errorf("%s: it is %s", label, state)
		}
		// The events since then are the worker's.
		leaf.takeOver(root)
		sameTables(t, root, leaf, "public.indexed")
		if after := leaf.text(structure); after != before {
			t.Errorf("structure was\n%s\nis\n%s", before, after)
		}
		leaf.run("set session_replication_role = replica; truncate indexed cascade; reset session_replication_role; update londiste.table_info set merge_state = 'in-copy'")
		if t.Failed() {
			t.Fatalf("statement %d: %s", n, f.Hit())
		}
		if f.Hit() == "" {
			t.Logf("%d rounds", round)
			return
		}
	}
}

// takeOver is what a worker does with a table that wants to be handed over: here the
// copy goes on to the newest tick.
func (n *node) takeOver(root *node) {
	n.t.Helper()
	root.tick()
	top := root.text("select max(tick_id)::text from pgq.tick")
	n.run("update londiste.table_info set merge_state = 'do-sync:" + top + "'")
	ctx, cancel := context.WithCancel(n.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tablecopy.Run(ctx, n.copyConfig("public.indexed")) }()
	n.eventually(10*time.Second, "true", "select (last_tick_id >= "+top+")::text from pgq_node.local_state where consumer_name like '%.copy.%'")
	cancel()
	if err := <-ended; err != nil {
		n.t.Error(err)
	}
}

// TestCopyOptions: what table_attrs says about the copy is kept to.
func TestCopyOptions(t *testing.T) {
	t.Parallel()
	root, leaf := pairOf(t, nil, indexed, "public.indexed")
	root.run("insert into indexed select i, 'a ' || i, i, i % 100, int4range(i, i + 1), 1 from generate_series(1, 3000) i")
	before := leaf.text("select string_agg(oid::text, ',' order by oid) from pg_class where relkind = 'i' and relname like '%indexed%'")
	attrs := londiste.Dict{}
	attrs.Set(londiste.AttrRate, "100000") // the rows have about 200 kB
	attrs.Set(londiste.AttrIndexes, "keep")
	leaf.must(londiste.SetTableAttrs(queue, "public.indexed", attrs))
	root.ticking(20 * time.Millisecond)
	start := time.Now()
	if err := leaf.copyTable(t.Context(), "public.indexed", small); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("it took %s, which is faster than allowed", took)
	}
	sameTables(t, root, leaf, "public.indexed")
	if after := leaf.text("select string_agg(oid::text, ',' order by oid) from pg_class where relkind = 'i' and relname like '%indexed%'"); after != before {
		t.Errorf("indexes were %s, are %s", before, after)
	}
}
