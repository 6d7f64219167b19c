package cascade_test

import (
	"strings"
	"testing"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

const hashing = `create schema partconf;
	create function partconf.get_hash_raw(v text) returns int language sql immutable as $$ select length(v) $$;
	create function public.hash(v text) returns int language sql immutable as $$ select length(v) $$;`

// TestShard copies and replays the rows of a shard, whose number partconf.conf or the
// attributes say, and sends no others below the branch that has it.
func TestShard(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	branch := root.add(s, root, "branch", pgqnode.Branch)
	leaf := branch.add(s, root, "leaf", pgqnode.Leaf)
	tables := []string{"public.by_conf", "public.by_attr", "public.passed_on"}
	root.run(hashing)
	branch.run(hashing + "create table partconf.conf (shard_nr int, shard_mask int, shard_count int); insert into partconf.conf values (1, 1, 2)")
	for _, name := range tables {
		for _, n := range []*node{root, branch, leaf} {
			n.run(sprintf("create table %s (k text primary key, n int)", name))
		}
		root.run(sprintf("insert into %s values ('a', 1), ('bb', 1), ('ccc', 1)", name))
		root.handled(name, londiste.Handling{Shard: &londiste.Shard{Key: "k"}})
	}
	root.ticking(10e6)
	branch.start()
	leaf.start()
	number, of := 1, 2
	branch.eventually(10e9, "3", "select count(*)::text from londiste.table_info")
	branch.handled(tables[0], londiste.Handling{Shard: &londiste.Shard{Key: "k"}})
	branch.handled(tables[1], londiste.Handling{Shard: &londiste.Shard{Key: "k", Function: "public.hash", Number: &number, Of: &of}})
	branch.handled(tables[2], londiste.Handling{Shard: &londiste.Shard{Key: "k", Replay: "no"}})
	branch.inSync(10e9)
	leaf.eventually(10e9, "3", "select count(*)::text from londiste.table_info")
	for _, name := range tables[:2] {
		leaf.addTable(name, londiste.AddTable{})
	}
	leaf.addTable(tables[2], londiste.AddTable{Args: []string{"expect_sync"}})
	leaf.inSync(10e9)
	leaf.run("set session_replication_role = replica; insert into passed_on values ('a', 0), ('ccc', 0); reset session_replication_role")
	for _, name := range tables {
		root.run(sprintf("insert into %[1]s values ('d', 1), ('ee', 1); update %[1]s set n = 2; delete from %[1]s where k in ('ccc', 'bb'); insert into %[1]s values ('fffff', 1)", name))
	}
	branch.caughtUp(root, 10e9)
	leaf.caughtUp(root, 10e9)
	want := "(a,2)\n(d,2)\n(fffff,1)"
	for _, n := range []*node{branch, leaf} {
		for i, name := range tables {
			if i == 2 && n == branch {
				want := ""
				if got := n.rows(name); got != want {
					t.Errorf("%s has %q of %s", n.name, got, name)
				}
				continue
			}
			if got := n.rows(name); got != want {
				t.Errorf("%s has %q of %s, want %q", n.name, got, name, want)
			}
		}
	}
	if got := branch.text("select count(*)::text from pgq.event_template where ev_extra3 in ('hash=2', 'hash=4')"); got != "0" {
		t.Errorf("%s events of the other shard went on", got)
	}
}

// TestShardWithoutHash stops where nobody can say whose row an event is about.
func TestShardWithoutHash(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, leaf} {
		n.run("create table t (k text primary key)")
	}
	root.addTable("public.t", londiste.AddTable{})
	root.tick()
	w := cascade.New(leaf.config())
	defer w.Close()
	drain(t, w)
	leaf.handled("public.t", londiste.Handling{Shard: &londiste.Shard{Key: "k", Number: new(0), Of: new(2)}}, "expect_sync")
	root.run("insert into t values ('a')")
	root.tick()
	if _, err := w.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "the row's hash in ev_extra3: there is none") {
		t.Errorf("%v", err)
	}
}
