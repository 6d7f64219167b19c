package cascade_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// handled registers a table as apply does.
func (n *node) handled(name string, h londiste.Handling, args ...string) {
	n.t.Helper()
	attrs := londiste.Dict{}
	h.Write(attrs)
	n.addTable(name, londiste.AddTable{Args: append(append(args, h.TriggerArgs()...), h.AddArgs()...), Attrs: attrs})
}

// TestHandlings runs every handler that does not choose rows, below a branch that only
// passes the tables on: what is copied, and what becomes of changes.
func TestHandlings(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	branch := root.add(s, root, "branch", pgqnode.Branch)
	leaf := branch.add(s, root, "leaf", pgqnode.Leaf)
	tables := map[string]londiste.Handling{
		"public.bulky":   {Apply: londiste.ApplyBulk},
		"public.left":    {Apply: londiste.ApplyNothing},
		"public.virtual": {Apply: londiste.ApplyVirtual},
		"public.split":   {Queue: "mails"},
		"public.called":  {Function: &londiste.Function{Name: "public.on_change", Conf: "a'b"}},
		"public.newest":  {Newest: map[string]string{"timefield": "at"}},
		"public.box":     {},
	}
	for name := range tables {
		root.run(sprintf(`create table %[1]s (id int primary key, v text); insert into %[1]s values (1, 'old')`, name))
		h := londiste.Handling{}
		if name == "public.box" {
			h.Store = londiste.StoreNo
		}
		root.handled(name, h)
	}
	leaf.run(`
		create table bulky (id int primary key, v text); create table "left" (id int primary key, v text); create table called (id int primary key, v text);
		create table newest (id int primary key, v text); create table box (id int primary key, v text);
		create table calls (nr serial, line text);
		create function on_change(conf text, tick bigint, id bigint, at timestamptz, txid bigint, retry int, typ text, data text, e1 text, e2 text, e3 text, e4 text)
		returns int language sql as $$ insert into calls (line) values (concat_ws(' ', conf, tick > 0, id > 0, txid > 0, retry, substr(typ, 1, 1), e1, (select count(*) from bulky))) returning 1 $$;
		create function merge_on_time(conf text, tick text, id text, at text, txid text, retry text, typ text, data text, e1 text, e2 text, e3 text, e4 text)
		returns text language plpgsql as $$ begin insert into calls (line) values (concat_ws(' ', 'merge', conf, e1)); return 'ok'; end $$`)
	leaf.must(sql.Exec("select pgq.create_queue($1)", "mails"))
	root.ticking(10e6)
	branch.start()
	stats := &replay.Stats{}
	leaf.start(func(c *cascade.Config) { c.Stats = stats })
	for name := range tables {
		branch.eventually(10e9, "1", "select count(*)::text from londiste.table_info where table_name = $1", name)
		branch.handled(name, londiste.Handling{Apply: londiste.ApplyVirtual})
		leaf.eventually(10e9, "1", "select count(*)::text from londiste.table_info where table_name = $1", name)
	}
	for name, h := range tables {
		if h.Fills() {
			attrs := londiste.Dict{}
			h.Write(attrs)
			attrs.Set("copy_node", "?") // past the branch, which has no rows
			leaf.addTable(name, londiste.AddTable{Args: h.AddArgs(), Attrs: attrs})
			continue
		}
		leaf.handled(name, h)
	}
	leaf.inSync(10e9)
	for name, want := range map[string]string{"bulky": "(1,old)", `"left"`: "", "called": "(1,old)", "newest": "(1,old)", "box": "(1,old)"} {
		if got := leaf.rows(name); got != want {
			t.Errorf("after the copy %s has %q, want %q", name, got, want)
		}
	}
	root.run(`begin; insert into bulky values (2, 'a'); insert into called values (2, 'a'); insert into bulky values (3, 'a'); update called set v = 'b'; commit;
		insert into "left" values (2, 'a'); insert into virtual values (2, 'a'); insert into split values (2, 'a'); update split set v = 'b' where id = 1; truncate split; insert into newest values (2, 'a'); insert into box values (2, 'a')`)
	root.tick()
	leaf.eventually(10e9, "true", "select (last_tick_id >= $1::text::int8)::text from pgq_node.local_state where consumer_name = 'leaf_worker'", root.text("select max(tick_id)::text from pgq.tick"))
	for name, want := range map[string]string{"bulky": "(1,old)\n(2,a)\n(3,a)", `"left"`: "", "called": "(1,old)", "newest": "(1,old)", "box": "(1,old)\n(2,a)"} {
		if got := leaf.rows(name); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	if got := root.rows("box"); got != "(1,old)" {
		t.Errorf("the root stored %q", got)
	}
	calls := strings.Split(leaf.text("select string_agg(line, E'\\n' order by nr) from calls"), "\n")
	if diff := cmp.Diff([]string{"a'b t t t { public.called 2", "a'b t t t { public.called 3", "a'b t t t { public.called 3", "merge timefield=at public.newest"}, calls); diff != "" {
		t.Errorf("functions were called otherwise (-want +got):\n%s", diff)
	}
	events := leaf.text(`select string_agg(case when e.ev_type like '{%' then e.ev_type::json ->> 'op' else e.ev_type end || ' ' || e.ev_extra1 || ' ' || (e.ev_time < now() - interval '0 s'), ', ' order by ev_id) from pgq.event_template e`)
	if want := "INSERT public.split true, UPDATE public.split true, R public.split true"; events != want {
		t.Errorf("the queue got %s, want %s", events, want)
	}
	if stats.Passed.Load() != 7 {
		t.Errorf("%d events were passed on, want 7", stats.Passed.Load())
	}
	// Asked for a copy, a table that takes no rows is in sync at once.
	leaf.run("update londiste.table_info set merge_state = null where table_name in ('public.left', 'public.virtual', 'public.split')")
	leaf.inSync(10e9)
	if got := leaf.rows(`"left"`); got != "" {
		t.Errorf("it was copied all the same: %q", got)
	}
}

// TestUnknownHandler stops where nobody knows what a handler means.
func TestUnknownHandler(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, leaf} {
		n.run("create table t (id int primary key)")
	}
	root.addTable("public.t", londiste.AddTable{})
	root.tick()
	w := cascade.New(leaf.config())
	defer w.Close()
	drain(t, w)
	for text, want := range map[string]string{
		"mine": `handler "mine" is not known here`, "londiste(x=1)": `handler londiste has no argument "x"`, "bulk(method=7)": "method", "qsplitter": "needs the argument queue",
	} {
		attrs := londiste.Dict{}
		attrs.Set(londiste.AttrHandler, text)
		leaf.addTable("public.t", londiste.AddTable{Args: []string{"expect_sync"}, Attrs: attrs})
		root.run("insert into t select coalesce(max(id), 0) + 1 from t")
		root.tick()
		if _, err := w.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		leaf.must(londiste.LocalRemoveTable(queue, "public.t"))
		drain(t, w)
	}
}
