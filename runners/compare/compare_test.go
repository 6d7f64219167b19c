package compare_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/compare"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestCompare plants differences into tables of all sorts.
func TestCompare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		table      string // public.t without
		root, leaf string // SQL that makes the table; leaf empty: the same
		dest       string
		where      string
		columns    map[string]string
		transform  map[string]string
		shard      string
		mask       string
		args       []string
		plant      string // on the leaf; :t is the table there
		want       []string
		notes      []string
	}{
		{name: "equal rows",
			root: "create table t (id int primary key, v text); insert into t select n, 'v' || n from generate_series(1, 5000) n"},
		{name: "an empty table", root: "create table t (id int primary key)"},
		{name: "a row is missing, one is extra, one has changed",
			root:  "create table t (id int primary key, v text); insert into t select n, 'v' || n from generate_series(1, 5000) n",
			plant: "delete from :t where id = 4999; insert into :t values (6000, 'x'); update :t set v = 'other' where id = 17",
			want:  []string{"changed 17 v: v17 / other", "extra 6000", "missing 4999"}},
		{name: "NULL is not the empty text",
			root:  "create table t (id int primary key, v text, w text); insert into t values (1, '', null), (2, null, ''), (3, 'NULL', '')",
			plant: "update :t set v = null where id = 1; update :t set v = '' where id = 2; update :t set v = null where id = 3",
			want:  []string{"changed 1 v:  / NULL", "changed 2 v: NULL / ", "changed 3 v: NULL / NULL"}},
		{name: "values do not run into each other",
			root:  "create table t (id int primary key, v text, w text); insert into t values (1, 'a,b', 'c'), (2, 'a\"', 'b')",
			plant: "update :t set v = 'a', w = 'b,c' where id = 1; update :t set v = 'a', w = '\"b' where id = 2",
			want:  []string{"changed 1 v: a,b / a w: c / b,c", `changed 2 v: a" / a w: b / "b`}},
		{name: "numbers are equal when PostgreSQL finds them equal",
			root: "create table t (id numeric primary key, n numeric, f float8, g float4); insert into t values (1.0, 1.0, 0, 0), (2, 'NaN', 'NaN', 'NaN'), (3, 100, 1e-300, 0.1), (4, 5, 1, 1)",
			plant: `update :t set id = 1.000, n = 1.00, f = '-0', g = '-0' where id = 1; update :t set n = 100.0 where id = 3;
				update :t set n = 5.01, f = 1.0000000000000002, g = 1.0000001 where id = 4`,
			want: []string{"changed 4 n: 5 / 5.01 f: 1 / 1.0000000000000002 g: 1 / 1.0000001"}},
		{name: "float keys", root: "create table t (id float8 primary key, v int); insert into t values (0, 1), (1.5, 1), ('NaN', 1), ('Infinity', 1)",
			plant: "update :t set id = '-0' where id = 0; delete from :t where id = 'NaN'", want: []string{"missing NaN"}},
		{name: "types without equality",
			root:  `create table t (id int primary key, j json, p point, x xml, b bytea); insert into t values (1, '{"a": 1}', '(1,2)', '<a/>', '\x00ff'), (2, '[1]', '(0,0)', '<b/>', '\x')`,
			plant: `update :t set j = '{"a":1}' where id = 1; update :t set p = '(0,1)', b = null where id = 2`,
			want:  []string{`changed 1 j: {"a": 1} / {"a":1}`, `changed 2 p: (0,0) / (0,1) b: \x / NULL`}},
		{name: "uuid keys", root: "create table t (id uuid primary key, v int); insert into t select md5(n::text)::uuid, n from generate_series(1, 3000) n",
			plant: "update :t set v = 0 where v in (7, 2999)",
			want:  []string{"changed 8f14e45f-ceea-167a-5a36-dedd4bea2543 v: 7 / 0", "changed a36e841c-5230-a79c-2102-036d2e259848 v: 2999 / 0"}},
		{name: "keys of several columns",
			root: `create table t ("a b" text, at timestamptz, n bool, v int, primary key (n, at, "a b"));
				insert into t select 'k'' " ' || n % 7, '2020-01-01 00:00+00'::timestamptz + n * interval '1 us', n % 2 = 0, n from generate_series(1, 3000) n`,
			plant: "delete from :t where v = 1500; update :t set v = -1 where v = 3",
			want:  []string{`changed false,2020-01-01 00:00:00.000003+00,k' " 3 v: 3 / -1`, `missing true,2020-01-01 00:00:00.0015+00,k' " 2`}},
		{name: "another collation",
			root:  `create table t (k text collate "C" primary key, v int); insert into t select x || n, n from generate_series(1, 1000) n, unnest(array['a', 'A', 'ä', '_', '-']) x`,
			leaf:  `create table t (k text collate "und-x-icu" primary key, v int)`,
			plant: "delete from :t where k = 'A500'; insert into :t values ('é', 1); update :t set v = 0 where k = '_7'",
			want:  []string{"changed _7 v: 7 / 0", "extra é", "missing A500"},
			notes: []string{`column "k" is put into order by its text, which is slow: the two databases order it differently`}},
		{name: "an enum whose labels have another order", args: []string{"tgflags=L"},
			root:  `create type mood as enum ('sad', 'ok', 'glad'); create table t (k mood primary key, v int); insert into t values ('sad', 1), ('ok', 1), ('glad', 1)`,
			leaf:  `create type mood as enum ('glad', 'ok', 'sad'); create table t (k mood primary key, v int)`,
			plant: "delete from :t where k = 'ok'", want: []string{"missing ok"},
			notes: []string{`column "k" is put into order by its text, which is slow: the two databases order it differently`}},
		{name: "other columns in another order, and another type",
			root:  "create table t (id int primary key, v text, only_there int, n int); insert into t select n, 'v' || n, n, n from generate_series(1, 100) n",
			leaf:  "create table t (n bigint, only_here int default 5, v varchar(20), id bigint primary key)",
			plant: "update :t set n = 0 where id = 5", want: []string{"changed 5 n: 5 / 0"},
			notes: []string{`column "only_there" is only on the provider`, `column "only_here" is only on the subscriber`}},
		{name: "renamed, filtered and without ignored columns", dest: "eu.T \"2", where: "region = 'eu' or v is null", args: []string{"ignore=seen"},
			root:  "create table t (id int primary key, region text, v int, seen int); insert into t select n, case when n % 3 = 0 then 'eu' else 'us' end, n, 0 from generate_series(1, 900) n",
			leaf:  `create schema eu; create table eu."T ""2" (id int primary key, region text, v int, seen int)`,
			plant: "update :t set seen = 9 where id = 3; delete from :t where id = 6; insert into :t values (7, 'us', 7, 0)",
			want:  []string{"extra 7", "missing 6"}, notes: []string{`column "seen" is not replicated (ignore) and not compared`}},
		{name: "renamed, left out and computed columns", where: "secret <> 'x'", args: []string{"ignore=seen"},
			columns: map[string]string{"id": "nr", "mail": "email", "secret": ""}, transform: map[string]string{"email": "lower(mail)", "size": "length(secret)"},
			root:  "create table t (id int primary key, mail text, secret text, seen int, more int); insert into t select n, 'M' || n, case when n % 3 = 0 then 'x' else 'y' || n end, 0 from generate_series(1, 900) n",
			leaf:  "create table t (size bigint, nr bigint primary key, email text, seen int)",
			plant: "update :t set size = 9 where nr = 4; delete from :t where nr = 5; insert into :t values (1, 6, 'm6', 0); update :t set email = 'M7', seen = 1 where nr = 7",
			want:  []string{"changed 4 size: 2 / 9", "changed 7 email: m7 / M7", "extra 6", "missing 5"},
			notes: []string{`column "more" is only on the provider`, `column "seen" is not replicated (ignore) and not compared`}},
		{name: "a mask", mask: `{"id": "keep", "mail": "skip", "ok": "bool", "v": "keep"}`,
			root: "create table t (id int primary key, mail text, ok text, v int); insert into t select n, 'secret', n, n from generate_series(1, 300) n",
			leaf: "create table t (id int primary key, mail text, ok bool, v int)", plant: "update :t set v = 0, ok = null where id = 5; delete from :t where id = 6",
			want: []string{"changed 5 v: 5 / 0", "missing 6"}, notes: []string{`column "mail" has a mask and is not compared`, `column "ok" has a mask and is not compared`}},
		{name: "a shard", shard: "key=id&function=public.h&number=1&of=2", args: []string{"ev_extra3='hash='||public.h(id)"},
			root: "create function h(int) returns int language sql immutable as 'select $1'; create table t (id int primary key, v int); insert into t select n, n from generate_series(1, 900) n",
			leaf: "create table t (id int primary key, v int)", plant: "delete from :t where id = 5; insert into :t values (4, 4)", want: []string{"extra 4", "missing 5"}},
		{name: "generated columns", root: "create table t (id int primary key, v int, d int generated always as (v * 2) stored); insert into t values (1, 1)",
			leaf:  "create table t (id int primary key, v int, d int generated always as (v * 3) stored)",
			notes: []string{`column "d" is generated on the subscriber and not compared`}},
		{name: "hostile names", table: `public.we"ird; drop table x`,
			root:  `create table "we""ird; drop table x" ("Id ' \ """ int primary key, "select" text); insert into "we""ird; drop table x" values (1, 'a'), (2, E'\n\t\\ '' "')`,
			plant: `update :t set "select" = 'b' where "select" = 'a'; delete from :t where "select" <> 'b'`, want: []string{`changed 1 select: a / b`, "missing 2"}},
		{name: "partitions", root: "create table t (id int primary key, v int) partition by range (id); create table t1 partition of t for values from (0) to (10); create table t2 partition of t for values from (10) to (20); insert into t select n, n from generate_series(1, 19) n",
			table: "public.t2", leaf: "create table t2 (id int primary key, v int)", plant: "delete from :t where id = 10", want: []string{"missing 10"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			root := newRoot(t)
			leaf := root.add(root, "leaf", pgqnode.Leaf)
			name := c.table
			if name == "" {
				name = "public.t"
			}
			root.run(c.root)
			if c.leaf == "" {
				ddl, _, _ := strings.Cut(c.root, "; insert")
				c.leaf = ddl
			}
			leaf.run(c.leaf)
			root.addTable(name, londiste.AddTable{Args: c.args})
			root.ticking(50 * time.Millisecond)
			leaf.work()
			leaf.passed(root)
			attrs := londiste.Dict{}
			if c.where != "" {
				attrs[londiste.AttrWhere] = &c.where
			}
			if c.mask != "" {
				attrs.Set(londiste.AttrMask, c.mask)
			}
			if c.shard != "" {
				attrs.Set(londiste.AttrShard, c.shard)
			}
			if c.columns != nil {
				attrs.Set(londiste.AttrColumns, londiste.DictOf(c.columns).String())
				attrs.Set(londiste.AttrTransform, londiste.DictOf(c.transform).String())
			}
			leaf.addTable(name, londiste.AddTable{Attrs: attrs, Dest: c.dest})
			leaf.inSync()
			here := name
			if c.dest != "" {
				here = c.dest
			}
			if c.plant != "" {
				leaf.runQuiet(strings.ReplaceAll(c.plant, ":t", sql.ParseName(here).Ident()))
			}
			r := compared(t, config(root, leaf, name))
			if c.want == nil {
				c.want = []string{}
			}
			if c.notes == nil {
				c.notes = []string{}
			}
			if diff := cmp.Diff(c.want, lines(r)); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.notes, r.Notes); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
			if len(r.Unsettled) > 0 || r.More {
				t.Errorf("unsettled %v, more %v", r.Unsettled, r.More)
			}
		})
	}
}

func TestCompareEnds(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	leaf := root.add(root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, leaf} {
		n.run("create table t (id int primary key, v text)")
	}
	root.run("insert into t select n, 'v' from generate_series(1, 40000) n")
	root.addTable("public.t", londiste.AddTable{})
	root.ticking(50 * time.Millisecond)
	stop := leaf.work()
	leaf.passed(root)
	fails := func(want string, c compare.Config) {
		t.Helper()
		if _, err := compare.Table(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	fails("subscriber leaf: the table is not replicated there", config(root, leaf, "public.t"))
	fails("subscriber leaf: the table is not replicated there", config(root, leaf, "public.none"))
	leaf.addTable("public.t", londiste.AddTable{Args: []string{"expect_sync"}})
	r := compared(t, func() compare.Config { c := config(root, leaf, "public.t"); c.Max = 25; return c }())
	if len(r.Differences) != 25 || !r.More || r.Rows != 40000 || r.Here != 0 {
		t.Errorf("%d differences, more %v, %d and %d rows", len(r.Differences), r.More, r.Rows, r.Here)
	}
	stop()
	leaf.run("update londiste.table_info set merge_state = 'catching-up'")
	fails("subscriber leaf: the table is not in sync: catching-up", config(root, leaf, "public.t"))
	fails("it is the root, which follows nobody", config(root, root, "public.t"))
	leaf.run("update londiste.table_info set merge_state = 'ok'")
	fails("it has no queue shop to read from", config(leaf, leaf, "public.t"))
}

// Databases with different encodings hash the same text to the same number.
func TestCompareEncodings(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	conn := (&sandboxtest.DB{DSN: s.DSN("postgres"), Server: s}).Conn(t)
	if _, err := conn.Exec(t.Context(), "create database latin template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'"); err != nil {
		t.Fatal(err)
	}
	root := newRoot(t)
	latin := sandboxtest.DatabaseOn(t, s, "latin")
	install(t, latin)
	leaf := root.addOn(latin, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, leaf} {
		n.run("set client_encoding = 'UTF8'") // for the statements that follow
		n.run("create table t (k text primary key, v text); insert into t select 'ä' || n, 'é' || n from generate_series(1, 300) n")
	}
	root.addTable("public.t", londiste.AddTable{})
	root.ticking(50 * time.Millisecond)
	leaf.work()
	leaf.passed(root)
	leaf.addTable("public.t", londiste.AddTable{Args: []string{"expect_sync"}})
	if r := compared(t, config(root, leaf, "public.t")); !r.Equal() || r.Rows != 300 {
		t.Errorf("%d rows, %.300q", r.Rows, lines(r))
	}
	leaf.runQuiet("update t set v = 'ö' where k = 'ä7'")
	r := compared(t, config(root, leaf, "public.t"))
	if diff := cmp.Diff([]string{"changed ä7 v: é7 / ö"}, lines(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
