package cascade_test

import (
	"strings"
	"testing"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestPartTemplate makes parts by SQL of the user's, for a handler of the original and for
// our attribute, with lists of columns, in one transaction with what fills them.
func TestPartTemplate(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	hostile := sql.Name{Schema: "public", Rel: `It's "odd"`}
	leaf.run("create table made (what text, at timestamptz default now()); create schema archive")
	for _, name := range []string{"public.orders", hostile.String()} {
		root.run("create table " + sql.ParseName(name).Ident() + " (id int primary key, born timestamp, mail text, secret text)")
		leaf.run("create table " + sql.ParseName(name).Ident() + " (id int primary key, made timestamp, email text)")
		root.addTable(name, londiste.AddTable{})
	}
	root.tick()
	w := cascade.New(leaf.config())
	defer w.Close()
	drain(t, w)
	before := "insert into made (what) values ('%(part)s of %(parent)s by %(part_field)s at %(part_time)s, a %(period)s, 100%%')"
	create := "create table %(part)s (like %(parent)s, primary key (%(pkeys)s)) inherits (%(parent)s)"
	dispatch := londiste.Handler{Name: "dispatch", Args: londiste.DictOf(map[string]string{"part_mode": "date_field", "part_field": "made", "period": "month", "fields": "id,born:made,mail:email",
		"pre_part": before, "part_template": create, "post_part": "create index %(schema_table)s_email on %(part)s (email); comment on table %(part)s is 'a;b'"})}
	attrs := londiste.Dict{}
	attrs.Set(londiste.AttrHandler, dispatch.String())
	leaf.addTable("public.orders", londiste.AddTable{Args: []string{"expect_sync"}, Attrs: attrs})
	ours := londiste.Dict{}
	ours.Set(londiste.AttrColumns, londiste.DictOf(map[string]string{"*": "", "id": "id", "born": "made", "mail": "email"}).String())
	londiste.Handling{Parts: &londiste.Parts{By: "field", Field: "born", Period: "year", Before: before, After: "comment on table %(part)s is '%(part)s'"}}.Write(ours)
	leaf.addTable(hostile.String(), londiste.AddTable{Args: []string{"expect_sync"}, Attrs: ours})
	for _, name := range []string{"orders", hostile.Ident()} {
		root.run("insert into " + name + " values (1, '2026-08-23', 'a', 's'), (2, '2026-09-01 10:11:12', 'b', 's'), (3, '2026-08-01', null, 's')")
		root.run("update " + name + " set mail = 'c', secret = 'new' where id = 1; delete from " + name + " where id = 3")
	}
	root.tick()
	drain(t, w)
	odd := `public."It''s ""odd""_2026" of public."It''s ""odd""" by made at 2026-08-23 00:00:00, a year, 100%`
	for query, want := range map[string]string{
		"select string_agg(id || email || ' ' || tableoid::regclass, ', ' order by id) from orders":                "1c orders_2026_08, 2b orders_2026_09",
		"select string_agg(id || email || ' ' || tableoid::regclass, ', ' order by id) from " + hostile.Ident():    `1c "It's ""odd""_2026", 2b "It's ""odd""_2026"`,
		"select string_agg(indexname, ', ' order by indexname) from pg_indexes where tablename = 'orders_2026_08'": "orders_2026_08_pkey, public__orders_2026_08_email",
		"select obj_description('orders_2026_08'::regclass)":                                                       "a;b",
		"select obj_description(to_regclass('public.\"It''s \"\"odd\"\"_2026\"'))":                                 `public."It's ""odd""_2026"`,
		"select count(*)::text from made":                               "3",
		"select min(what) from made where what like '%orders_2026_09%'": "public.orders_2026_09 of public.orders by made at 2026-09-01 10:11:12, a month, 100%",
		"select min(what) from made where what like '%odd%'":            strings.ReplaceAll(odd, "''", "'"),
	} {
		if got := leaf.text(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}

	// What cannot be run leaves no part behind, and no name goes where it could mean something else.
	for after, want := range map[string]string{
		"select 1/0": "division by zero",
		`comment on table %(part)s is "%(part)s"`:   "stands within quotes",
		"create index %(schema_table)s_x on x (id)": "has no text here",
		"drop table %(part)s":                       "is not there after what should make it",
		"commit":                                    "cannot begin or end",
	} {
		londiste.Handling{Parts: &londiste.Parts{By: "field", Field: "born", Period: "year", Before: before, After: after}}.Write(ours)
		leaf.must(londiste.SetTableAttrs(queue, hostile.String(), ours))
		root.run("insert into " + hostile.Ident() + " values (9, '2027-01-01', 'x', 's')")
		root.tick()
		if err := tillError(t, w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", after, err)
		}
		if got := leaf.text("select count(*) || coalesce(to_regclass('public.\"It''s \"\"odd\"\"_2027\"')::text, '') from made"); got != "3" {
			t.Errorf("%s: left %s", after, got)
		}
		root.run("delete from " + hostile.Ident() + " where id = 9")
	}
	londiste.Handling{Parts: &londiste.Parts{By: "field", Field: "born", Period: "year", SQL: create, After: "analyze %(part)s"}}.Write(ours)
	leaf.must(londiste.SetTableAttrs(queue, hostile.String(), ours))
	root.tick()
	drain(t, w)
	if got := leaf.text("select string_agg(id::text, ' ' order by id) from " + hostile.Ident()); got != "1 2" {
		t.Errorf("at the end: %s", got)
	}
}

// tillError runs rounds until one fails or finds nothing to do.
func tillError(t *testing.T, w *cascade.Worker) error {
	for range 100 {
		if worked, err := w.RunOnce(t.Context()); err != nil || !worked {
			return err
		}
	}
	return nil
}

// TestCopyFields copies a table with the columns that a handler of the original lists.
func TestCopyFields(t *testing.T) {
	t.Parallel()
	root, leaf := pairOf(t, nil, "create table plain (id int primary key, mail text, more text)")
	root.run("insert into plain values (1, 'a', 'x')")
	root.addTable("public.plain", londiste.AddTable{})
	leaf.run("alter table plain rename mail to email")
	attrs := londiste.Dict{}
	attrs.Set(londiste.AttrHandler, "direct(fields=id,mail:email)")
	leaf.ticking(10e6)
	root.ticking(10e6)
	leaf.start()
	leaf.eventually(10e9, "1", "select count(*)::text from londiste.table_info")
	leaf.addTable("public.plain", londiste.AddTable{Attrs: attrs})
	leaf.inSync(10e9)
	root.run("insert into plain values (2, 'b', 'y'); update plain set mail = 'c', more = 'z' where id = 1")
	leaf.caughtUp(root, 10e9)
	if got := leaf.text("select string_agg(p::text, ' ' order by id) from plain p"); got != "(1,c,) (2,b,)" {
		t.Error(got)
	}
}
