package cascade_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/runners/cascade"
	tablecopy "github.com/skytools-go/skytools/runners/copy"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// mapping are the attributes of TestMapping's table.
func mapping() londiste.Dict {
	attrs := londiste.Dict{}
	attrs.Set(londiste.AttrColumns, londiste.DictOf(map[string]string{"nr": "Id \"2", "mail": "email", "secret": ""}).String())
	attrs.Set(londiste.AttrTransform, londiste.DictOf(map[string]string{
		"email": "lower(mail) -- in small letters", "born": "extract(year from born)", "name": "first || ' ' || last", "size": "length(secret)"}).String())
	attrs.Set(londiste.AttrTypes, londiste.DictOf(map[string]string{"mail": "text", "born": "date", "first": "text", "last": "text", "secret": "text"}).String())
	attrs.Set(londiste.AttrWhere, "secret is distinct from 'x'")
	return attrs
}

// TestMapping renames, leaves out and computes columns, in each format of events, by
// copy and by replay, set-based and in the order of events.
func TestMapping(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	formats := map[string][]string{"public.generated": nil, "public.logutriga": {"tgflags=L"}, "public.jsontriga": {"tgflags=J"}}
	stats := &replay.Stats{}
	c := leaf.config()
	c.Stats = stats
	w := cascade.New(c)
	defer w.Close()
	for name, args := range formats {
		root.run(fmt.Sprintf(`create table %s (part text, nr int, mail text, born date, first text, last text, secret text, doc jsonb, primary key (part, nr))`, name))
		leaf.run(fmt.Sprintf(`create table %s (part text, doc json, "Id ""2" bigint, email varchar(40), born int, name text, size int, note text default 'mine', primary key ("Id ""2", part))`, name))
		root.addTable(name, londiste.AddTable{Args: args})
	}
	root.tick()
	drain(t, w)
	for name := range formats {
		leaf.addTable(name, londiste.AddTable{Args: []string{"expect_sync"}, Attrs: mapping()})
		root.run(sprintf(`insert into %[1]s values ('a', 1, 'A@X', '1970-02-03', 'Ann', 'Lee', 'abc', '{"k": [1]}'), ('a', 2, 'B@X', null, 'Bo', null, null, '"s"'), ('b', 1, 'C', '2000-01-01', 'C', 'D', 'x', null)`, name))
	}
	root.tick()
	drain(t, w)
	first := "(a,\"\"\"s\"\"\",2,b@x,,,,mine)\n(a,\"{\"\"k\"\": [1]}\",1,a@x,1970,\"Ann Lee\",3,mine)"
	same := func(when, want string) {
		t.Helper()
		for name := range formats {
			if got := leaf.rows(name); got != want {
				t.Errorf("%s: %s:\n%s\nwant\n%s", when, name, got, want)
			}
		}
	}
	same("insert", first)
	for name := range formats {
		root.run(sprintf(`update %[1]s set mail = 'NEW ' || part, secret = 'long' where nr = 1; delete from %[1]s where nr = 2; insert into %[1]s values ('c', 9, 'I', null, 'x', 'y', '', '[]')`, name))
	}
	root.tick()
	drain(t, w)
	second := "(a,\"{\"\"k\"\": [1]}\",1,\"new a\",1970,\"Ann Lee\",4,mine)\n(b,,1,\"new b\",2000,\"C D\",4,mine)\n(c,[],9,i,,\"x y\",0,mine)"
	same("all at once", second)
	if n := stats.Fallbacks.Load(); n > 0 {
		t.Errorf("%d times the order of events was needed", n)
	}
	// Unique values that change places cannot be written at once.
	for name := range formats {
		leaf.run(sprintf("set session_replication_role = replica; alter table %[1]s add unique (email); reset session_replication_role", name))
		root.run(sprintf(`delete from %[1]s where part = 'a'; update %[1]s set mail = 'Q' where part = 'c'; update %[1]s set mail = 'I' where part = 'b'; update %[1]s set mail = 'NEW b' where part = 'c'`, name))
	}
	root.tick()
	drain(t, w)
	if n := stats.Fallbacks.Load(); n == 0 {
		t.Error("the test never needed the order of events")
	}
	third := "(b,,1,i,2000,\"C D\",4,mine)\n(c,[],9,\"new b\",,\"x y\",0,mine)"
	same("in order", third)
	for name := range formats {
		leaf.must(londiste.LocalRemoveTable(queue, name))
		leaf.addTable(name, londiste.AddTable{Attrs: mapping()})
	}
	root.ticking(10e6)
	leaf.start()
	leaf.inSync(10e9)
	same("copy", third)
}

// TestMappingBelowBranch copies from the root what the branch has with other columns.
func TestMappingBelowBranch(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	branch := root.add(s, root, "branch", pgqnode.Branch)
	leaf := branch.add(s, root, "leaf", pgqnode.Leaf)
	root.run("create table t (id int primary key, mail text); insert into t values (1, 'A')")
	branch.run("create table t (id int primary key, email text)")
	leaf.run("create table t (id int primary key, mail text)")
	root.addTable("public.t", londiste.AddTable{})
	root.ticking(10e6)
	branch.start()
	leaf.start()
	renamed := londiste.Dict{}
	renamed.Set(londiste.AttrColumns, "mail=email")
	branch.eventually(10e9, "1", "select count(*)::text from londiste.table_info")
	branch.addTable("public.t", londiste.AddTable{Attrs: renamed})
	branch.inSync(10e9)
	leaf.eventually(10e9, "1", "select count(*)::text from londiste.table_info")
	leaf.addTable("public.t", londiste.AddTable{})
	leaf.eventually(10e9, "in-copy", "select coalesce(merge_state, '') from londiste.table_info")
	err := tablecopy.Run(t.Context(), tablecopy.Config{Queue: queue, Table: "public.t", Worker: "leaf_worker", DSN: leaf.config().DSN})
	if err == nil || !strings.Contains(err.Error(), "other columns there than on the root") {
		t.Errorf("a copy from the branch: %v", err)
	}
	leaf.must(londiste.LocalRemoveTable(queue, "public.t"))
	fromRoot := londiste.Dict{}
	fromRoot.Set("copy_node", "root")
	leaf.addTable("public.t", londiste.AddTable{Attrs: fromRoot})
	leaf.inSync(10e9)
	root.run("insert into t values (2, 'B')")
	leaf.caughtUp(root, 10e9)
	branch.caughtUp(root, 10e9)
	sameTables(t, root, leaf, "public.t")
	sameTables(t, root, branch, "public.t")
}
