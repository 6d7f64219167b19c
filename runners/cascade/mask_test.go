package cascade_test

import (
	"context"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestObfuscate: on a branch whose handler masks by rules that nobody here has, nothing goes
// on in clear, in sync or not; with the rules as a mask it goes on masked.
func TestObfuscate(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	branch := root.add(s, root, "branch", pgqnode.Branch)
	for _, n := range []*node{root, branch} {
		n.run("create table people (id int primary key, mail text, ok text)")
	}
	root.addTable("public.people", londiste.AddTable{Args: []string{"tgflags=L"}})
	root.tick()
	config := branch.config()
	config.MaskKey = func(context.Context) ([]byte, error) { return []byte("key"), nil }
	w := cascade.New(config)
	defer w.Close()
	drain(t, w)
	handler := londiste.Dict{}
	handler.Set(londiste.AttrHandler, "obfuscate")
	root.run("insert into people values (1, 'secret', 'f'), (2, 'secret', 't')")
	root.tick()
	for _, state := range []string{"", "expect_sync"} {
		branch.addTable("public.people", londiste.AddTable{Args: strings.Fields(state), Attrs: handler})
		if err := tillError(t, w); err == nil || !strings.Contains(err.Error(), "declare them (mask)") {
			t.Errorf("%q: %v", state, err)
		}
		if n := branch.text("select (select count(*) from people)::text || (select count(*) from pgq.event_template where ev_extra1 = 'public.people')"); n != "00" {
			t.Errorf("%q: %s rows and events", state, n)
		}
		branch.must(londiste.LocalRemoveTable(queue, "public.people"))
	}
	branch.handled("public.people", londiste.Handling{Mask: londiste.Mask{"id": {Word: "keep"}, "mail": {Word: "hash32"}, "ok": {Word: "bool"}}}, "expect_sync")
	drain(t, w)
	if got := branch.text("select string_agg(p::text, ' ' order by id) from people p"); got != "(1,158476446,f) (2,158476446,t)" {
		t.Error(got)
	}
	if n := branch.text("select count(*)::text from pgq.event_template e where ev_extra1 = 'public.people' and ev_data not like '%secret%'"); n != "2" {
		t.Errorf("%s masked events went on", n)
	}
}

// TestMask: what a branch has by copy and by replay, what it passes on, and what a leaf
// below it has, is masked the same, and nothing else goes through.
func TestMask(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	branch := root.add(s, root, "branch", pgqnode.Branch)
	leaf := branch.add(s, root, "leaf", pgqnode.Leaf)
	formats := map[string][]string{"public.generated": {"backup"}, "public.logutriga": {"tgflags=L", "backup"}}
	h := londiste.Handling{Mask: londiste.Mask{"id": {Word: "hash64"}, "mail": {Word: "hash"}, "ok": {Word: "bool"}, "plan": {Word: "keep"}, "notes": {Word: "skip"},
		"doc": {Inside: londiste.Mask{"plan": {Word: "keep"}, "name": {Word: "hash32"}}}}}
	row := `(%d, 'secret' || E'\t\\ ' || %[1]d, %[1]d = 1, E'a\tb', 'secret', '{"plan": 1, "name": "secret", "more": "secret"}', 'secret')`
	values := func(id string) string { return strings.ReplaceAll(strings.ReplaceAll(row, "%[1]d", id), "%d", id) }
	for name, args := range formats {
		root.run(sprintf("create table %[1]s (id int primary key, mail text, ok bool, plan text, notes text, doc jsonb, added text)", name))
		for _, n := range []*node{branch, leaf} {
			n.run(sprintf("create table %[1]s (id bigint primary key, mail text, ok bool, plan text, notes text, doc jsonb, added text)", name))
		}
		root.run("insert into " + name + " values " + values("1") + ", " + values("2"))
		root.addTable(name, londiste.AddTable{Args: args}) // what came before is in no queue
	}
	root.ticking(10e6)
	branch.start(func(c *cascade.Config) {
		c.MaskKey = func(context.Context) ([]byte, error) { return []byte("key"), nil }
	})
	leaf.start()
	branch.eventually(10e9, "2", "select count(*)::text from londiste.table_info")
	for name := range formats {
		branch.handled(name, h)
	}
	branch.inSync(10e9)
	leaf.eventually(10e9, "2", "select count(*)::text from londiste.table_info")
	for name := range formats {
		leaf.addTable(name, londiste.AddTable{})
	}
	leaf.inSync(10e9)
	for name := range formats {
		root.run("insert into " + name + " values " + values("3") + "; update " + name + " set plan = 'new' where id < 3; delete from " + name + " where id = 2; insert into " + name + " values " + values("2"))
	}
	branch.caughtUp(root, 10e9)
	leaf.caughtUp(root, 10e9)
	for name := range formats {
		sameTables(t, branch, leaf, name)
		sameTables(t, branch, branch, name)
		got := branch.rows(name)
		if strings.Contains(got, "secret") || strings.Count(got, "\n") != 2 || strings.Count(got, ",f,") != 2 || !strings.Contains(got, ",new,") {
			t.Errorf("%s:\n%s", name, got)
		}
		// Replayed and copied rows with the same values are the same, but for the key.
		if n := branch.text(sprintf("select count(distinct doc)::text || count(distinct mail) from %s", name)); n != "13" {
			t.Errorf("%s: %s distinct documents and mails", name, n)
		}
	}
	if branch.rows("generated") != branch.rows("logutriga") {
		t.Errorf("formats differ:\n%s\n--\n%s", branch.rows("generated"), branch.rows("logutriga"))
	}
	if n := branch.text("select count(*)::text from pgq.event_template e where e::text like '%secret%'"); n != "0" {
		t.Errorf("%s events went on with what is hidden: %s", n, branch.text("select string_agg(e::text, E'\n') from pgq.event_template e where e::text like '%secret%'"))
	}
	if n := branch.text("select count(*)::text from pgq.event_template e where ev_extra2 is not null"); n == "0" {
		t.Error("no event had an old row: the test does not look at them")
	}
}
