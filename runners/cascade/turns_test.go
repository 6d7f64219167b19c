package cascade_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	tablecopy "github.com/skytools-go/skytools/runners/copy"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// turnsOf makes a leaf that is about to copy three large tables and three small ones.
func turnsOf(t *testing.T) (root, leaf *node, names []string) {
	t.Helper()
	tables := []string{"large1", "large2", "large3", "small1", "small2", "small3"}
	setup := ""
	for _, name := range tables {
		setup += "create table public." + name + " (id int primary key, pad text);"
		names = append(names, "public."+name)
	}
	root, leaf = pairOf(t, nil, setup, names...)
	for i, name := range tables {
		rows := 10
		if strings.HasPrefix(name, "large") {
			rows = 20_000 - i // the largest is first
		}
		root.run(fmt.Sprintf("insert into %s select i, repeat('x', 100) from generate_series(1, %d) i; analyze %[1]s", name, rows))
	}
	root.ticking(20 * time.Millisecond)
	leaf.run("update londiste.table_info set merge_state = null")
	return root, leaf, names
}

const turnStates = "select string_agg(substr(table_name, 8) || ' ' || coalesce(merge_state, 'waits'), ', ' order by table_name) from londiste.table_info"

// TestTurns: the rows of one large table are copied at a time; others are ready for
// their turn, and those that are small do not wait for one.
func TestTurns(t *testing.T) {
	t.Parallel()
	root, leaf, names := turnsOf(t)
	leaf.run("update londiste.table_info set table_attrs = 'skytools_rate=400000' where table_name like '%large%'") // about five seconds each
	leaf.start(func(c *cascade.Config) { c.Copies = 1 })
	leaf.eventually(10*time.Second, "large1 in-copy, large2 in-copy, large3 waits, small1 ok, small2 ok, small3 ok", turnStates)
	leaf.eventually(10*time.Second, "1", "select count(*)::text from pg_stat_activity where datname = current_database() and query like 'copy %large%'")
	leaf.inSync(60 * time.Second)
	sameTables(t, root, leaf, names...)
}

// TestTurnGoesOn: tables that somebody has locked here give up their turn, and the place
// where they would wait for it, and come back when they can be copied.
func TestTurnGoesOn(t *testing.T) {
	t.Parallel()
	root, leaf, names := turnsOf(t)
	held, err := pg.Dial(t.Context(), leaf.db.DSN, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := held.Script(t.Context(), "begin; lock table large1, large2 in access share mode"); err != nil {
		t.Fatal(err)
	}
	leaf.start(func(c *cascade.Config) { c.Copies = 1 })
	leaf.eventually(20*time.Second, "large1 in-copy, large2 in-copy, large3 ok, small1 ok, small2 ok, small3 ok", turnStates)
	leaf.eventually(10*time.Second, "2", "select count(*)::text from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database() and query like 'lock table%'")
	if err := held.Script(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	leaf.inSync(20 * time.Second)
	sameTables(t, root, leaf, names...)
}

// TestTurnTaken: a copy that comes by its lock while another has the turn lets go of the
// table, which can be read until it has its turn again.
func TestTurnTaken(t *testing.T) {
	t.Parallel()
	root, leaf, names := turnsOf(t)
	leaf.run("update londiste.table_info set table_attrs = 'skytools_rate=300000', merge_state = 'ok' where table_name = 'public.large2'")
	held, err := pg.Dial(t.Context(), leaf.db.DSN, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := held.Script(t.Context(), "begin; lock table large1 in access share mode"); err != nil {
		t.Fatal(err)
	}
	leaf.start(func(c *cascade.Config) { c.Copies = 1 })
	leaf.eventually(20*time.Second, "large1 in-copy, large2 ok, large3 ok, small1 ok, small2 ok, small3 ok", turnStates) // its turn is over
	leaf.run("update londiste.table_info set merge_state = null where table_name = 'public.large2'")
	leaf.eventually(20*time.Second, "1", "select count(*)::text from pg_stat_activity where datname = current_database() and query like 'copy %large2%'")
	if err := held.Script(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	leaf.eventually(10*time.Second, "0", "select count(*)::text from pg_locks where relation = 'large1'::regclass and mode = 'AccessExclusiveLock'")
	if got := leaf.text("select count(*)::text from large1"); got != "0" {
		t.Errorf("large1 holds %s rows before its turn", got)
	}
	if state := leaf.text("select merge_state from londiste.table_info where table_name = 'public.large2'"); state != "in-copy" {
		t.Errorf("large2 is %s: it should have had the turn all the time", state)
	}
	leaf.inSync(30 * time.Second)
	sameTables(t, root, leaf, names...)
}

// TestPiecesServersKilled kills both servers with SIGKILL while a table is copied in
// pieces and changes: it is whole in the end, with its indexes.
func TestPiecesServersKilled(t *testing.T) {
	t.Parallel()
	up, down := sandboxtest.Private(t, sandbox.Options{Durable: true}), sandboxtest.Private(t, sandbox.Options{Durable: true})
	root := newRoot(t, up, "root")
	leaf := root.add(down, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, leaf} {
		n.run(indexed)
	}
	root.run(indexedRows)
	before := leaf.text(structure)
	root.addTable("public.indexed", londiste.AddTable{})
	stopTicks := root.ticking(20 * time.Millisecond)
	attrs := londiste.Dict{}
	attrs.Set(londiste.AttrRate, "1500000") // about two seconds for the rows
	leaf.start(func(c *cascade.Config) { c.Sessions, c.Piece = 3, 64<<10 })
	leaf.eventually(10*time.Second, "1", "select count(*)::text from londiste.table_info")
	leaf.addTable("public.indexed", londiste.AddTable{Attrs: attrs})
	stop := root.changeIndexed()
	for i := range 4 {
		leaf.eventually(30*time.Second, "true", "select (merge_state <> 'in-copy' or dropped_ddl like '%-- piece%')::text from londiste.table_info")
		time.Sleep(time.Duration(i) * 150 * time.Millisecond) // into the copy, not a synchronisation
		server := []*sandbox.Server{up, down}[i%2]
		server.Kill()
		if err := server.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	leaf.inSync(60 * time.Second)
	stop()
	stopTicks()
	leaf.caughtUp(root, 20*time.Second)
	sameTables(t, root, leaf, "public.indexed")
	leaf.eventually(10*time.Second, before, structure)
}

// TestPiecesWithoutOwnership copies in pieces as a role that may write and empty the
// table, and owns it not: indexes stay, as only the owner can make them again.
func TestPiecesWithoutOwnership(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Private(t, sandbox.Options{})
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, leaf} {
		n.run(`do $$ begin create role worker login; exception when duplicate_object then null; end $$; grant pgq_admin, londiste_writer to worker;` +
			"create table public.owned (id int primary key, a text unique, b int); create index on owned (b); grant select, insert, update, delete, truncate on owned to worker")
	}
	root.run("insert into owned select i, 'a ' || i, i from generate_series(1, 20000) i")
	root.addTable("public.owned", londiste.AddTable{})
	root.ticking(20 * time.Millisecond)
	indexes := func() string {
		return leaf.text("select string_agg(indexrelid::text, ' ' order by indexrelid) from pg_index where indrelid = 'owned'::regclass")
	}
	before := indexes()
	pieces := &pg.Fault{Match: "where ctid >="}
	leaf.must(londiste.GlobalAddTable(queue, "public.owned"))
	leaf.addTable("public.owned", londiste.AddTable{})
	leaf.run("update londiste.table_info set merge_state = 'in-copy'")
	err := leaf.copyTable(pg.WithFault(t.Context(), pieces), "public.owned", small, func(c *tablecopy.Config) {
		c.DSN = func(context.Context) (string, error) {
			return strings.Replace(leaf.db.DSN, "user=postgres", "user=worker", 1), nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	sameTables(t, root, leaf, "public.owned")
	if after := indexes(); after != before {
		t.Errorf("indexes were %s, are %s", before, after)
	}
	if pieces.Seen() < 3 {
		t.Errorf("it was copied in %d pieces", pieces.Seen())
	}
}
