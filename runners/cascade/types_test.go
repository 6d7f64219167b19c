package cascade_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

const typesSetup = `
create type mood as enum ('sad', 'so "so"', 'happy');
create type point3 as (x int, y text, z numeric);
create domain percent as int check (value between 0 and 100);
create domain tags as jsonb;
create domain "odd, name" as percent;
`

const typesTable = `
create table %s (
	id bigint generated always as identity, part text,
	a_int2 int2, a_int4 int4, a_int8 int8, a_num numeric, a_num2 numeric(10,2), a_f4 float4, a_f8 float8, a_bool bool,
	a_text text, a_vc varchar(20), a_ch char(8), "a ""quoted"" column" text, a_name name, a_qchar "char",
	a_bytea bytea, a_date date, a_time time, a_timetz timetz, a_ts timestamp, a_tstz timestamptz, a_iv interval,
	a_json json, a_jsonb jsonb, a_uuid uuid, a_inet inet, a_cidr cidr, a_mac macaddr, a_bit bit(5), a_vbit varbit,
	a_xml xml, a_point point, a_range int4range, a_tsv tsvector, a_money money, a_lsn pg_lsn,
	an_enum mood, a_comp point3, a_dom percent, a_dom2 "odd, name", a_domjson tags,
	some_ints int[], some_texts text[], some_json jsonb[], some_comps point3[], grid int[],
	twice int generated always as (a_int4 * 2) stored,%s
	primary key (part, id)
);`

// typeRows are values that lose something when a program reads them as what they seem.
const typeRows = `
insert into %[1]s (part, a_int2, a_int4, a_int8, a_num, a_num2, a_f4, a_f8, a_bool, a_text, a_vc, a_ch, "a ""quoted"" column", a_name, a_qchar,
	a_bytea, a_date, a_time, a_timetz, a_ts, a_tstz, a_iv, a_json, a_jsonb, a_uuid, a_inet, a_cidr, a_mac, a_bit, a_vbit, a_xml, a_point,
	a_range, a_tsv, a_money, a_lsn, an_enum, a_comp, a_dom, a_dom2, a_domjson, some_ints, some_texts, some_json, some_comps, grid) values
('full', -32768, 1073741823, 9223372036854775807, 123456789012345678901234567890.123456789, 12345678.90, 1.1754944e-38, 0.1, true,
	E'tab\there \\ "q" ''s'' \n é 漢 🙂', 'null', 'pad', 'x=1&y=2+3%%20', 'na me', 'z',
	'\x00ff5c27', '0044-03-15 BC', '23:59:59.999999', '12:00:00+05:30', '9999-12-31 23:59:59.999999', '2020-02-01 12:11:12.123456+02', '1 year 2 mons -3 days 04:05:06.7',
	'{"a" : [1, 2.50], "b":null}', '"a string"', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10.0.0.1', '10.0.0.0/8', '08:00:2b:01:02:03', '10101', '1', '<a>1 &amp; 2</a>', '(1.5,-2)',
	'[1,10)', 'fat:1A cat:2', '12.34', '16/B374D848', 'so "so"', '(1,"a ""b"", c",2.50)', 42, 7, '{"k": "v\u00e9\\"}',
	'{1,NULL,3}', array['a,b', null, '', 'null', '"q"', '\'], array['{"x":1}', 'null', '"s"']::jsonb[], array['(1,"p q",3)']::point3[], '[0:1][1:2]={{1,2},{3,4}}'),
('nulls', null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
	null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null),
('empty', 0, 0, 0, 'NaN', 0, 'Infinity', '-Infinity', false, '', '', '', '', '', ' ', '', 'infinity', '00:00', '00:00+00', '-infinity', 'infinity', '0',
	'null', 'null', '00000000-0000-0000-0000-000000000000', '::1/64', '::/0', '00:00:00:00:00:00', '00000', '', '', '(0,0)', 'empty', '', '-0.01', '0/0',
	'happy', '(,,)', 0, 0, 'null', '{}', '{}', '{}', '{}', '{}');
update %[1]s set a_text = a_text || E'\n\\N', a_int4 = coalesce(a_int4, 0) / 3, a_json = '[]', a_bool = not a_bool, some_texts = some_texts || 'more'::text where part <> 'nulls';
insert into %[1]s (part) values ('gone');
delete from %[1]s where part = 'gone';
`

// manyRows are so many that replay inserts them by COPY.
const manyRows = `
do $do$
declare
    cols text := (
        select string_agg(quote_ident(attname), ', ' order by attnum)
          from pg_attribute
         where attrelid = '%[1]s'::regclass and attnum > 0 and not attisdropped and attgenerated = '' and attname not in ('id', 'part'));
begin
    execute format('insert into %[1]s (part, %%1$s) select part || i, %%1$s from %[1]s, generate_series(1, 60) i', cols);
end $do$;
`

// TestTypes replays and copies values of all types in each format of events.
func TestTypes(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	formats := map[string][]string{"public.generated": nil, "public.logutriga": {"tgflags=L"}, "public.jsontriga": {"tgflags=J"}, "public.sqltriga": {"tgflags=Q"}}
	virtual := ""
	if s.Install.Major() >= 18 {
		virtual = "\n\thalf int generated always as (a_int4 / 2) virtual,"
	}
	stats := &replay.Stats{}
	c := leaf.config()
	c.Stats = stats
	w := cascade.New(c)
	defer w.Close()
	for _, n := range []*node{root, leaf} {
		n.run(typesSetup)
		for name := range formats {
			n.run(fmt.Sprintf(typesTable, name, virtual))
		}
	}
	for name, args := range formats {
		root.addTable(name, londiste.AddTable{Args: args})
	}
	root.tick()
	drain(t, w)
	for name := range formats {
		leaf.addTable(name, londiste.AddTable{Args: []string{"expect_sync"}})
		root.run(sprintf(typeRows, name))
	}
	root.tick()
	drain(t, w)
	for name := range formats {
		sameTables(t, root, leaf, name)
	}
	stats.Fallbacks.Store(0)
	for name := range formats {
		root.run(fmt.Sprintf(manyRows, name))
	}
	root.tick()
	drain(t, w)
	for name := range formats {
		sameTables(t, root, leaf, name)
	}
	if n := stats.Fallbacks.Load(); n > 0 {
		t.Errorf("%d times rows went one by one", n)
	}
	// The same by COPY.
	for name := range formats {
		leaf.must(londiste.LocalRemoveTable(queue, name))
		leaf.run("truncate " + name)
		leaf.addTable(name, londiste.AddTable{})
	}
	root.ticking(10e6)
	leaf.start()
	leaf.inSync(10e9)
	for name := range formats {
		sameTables(t, root, leaf, name)
	}
}

// TestHandMadeEvents replays JSON that our triggers would not write: arrays and objects
// as such, other kinds of values than the column has.
func TestHandMadeEvents(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	const table = "create table t (id int primary key, ints int[], grid text[], doc jsonb, txt text, num numeric, dom percent, comp point3)"
	for _, n := range []*node{root, leaf} {
		n.run(typesSetup + table)
	}
	root.addTable("public.t", londiste.AddTable{})
	root.tick()
	w := cascade.New(leaf.config())
	defer w.Close()
	drain(t, w)
	leaf.addTable("public.t", londiste.AddTable{Args: []string{"expect_sync"}})
	kind := `{"op":"INSERT","table":["public","t"],"pkey":["id"]}`
	rows := []string{
		`{"id": 1, "ints": [1, null, 3], "grid": [["a,b", "q\"}"], ["", null]], "doc": {"k": [1, "x"]}, "txt": 12, "num": "1e3", "dom": 7, "comp": "(1,\"p q\",2)"}`,
		`{"id": "2", "ints": "{4,5}", "grid": [], "doc": "{\"k\": 1}", "txt": {"a": "b"}, "num": 1.50, "dom": null, "comp": null}`,
		`{"id": 3, "ints": null, "grid": null, "doc": 5, "txt": false, "num": null, "dom": "100", "comp": "(,,)"}`,
	}
	for _, data := range rows {
		root.text("select pgq.insert_event($1, $2, $3, 'public.t', null, null, null)::text", queue, kind, data)
	}
	root.tick()
	drain(t, w)
	want := strings.Join([]string{
		`(1,"{1,NULL,3}","{{""a,b"",""q\\""}""},{"""",NULL}}","{""k"": [1, ""x""]}",12,1000,7,"(1,""p q"",2)")`,
		`(2,"{4,5}",{},"{""k"": 1}","{""a"": ""b""}",1.50,,)`,
		`(3,,,5,false,,100,"(,,)")`,
	}, "\n")
	if diff := cmp.Diff(want, leaf.rows("t")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	id := regexp.MustCompile(`"id": ("2"|\d)`)
	for i := 9; i < 159; i++ { // so many go by COPY
		root.text("select pgq.insert_event($1, $2, $3, 'public.t', null, null, null)::text", queue, kind, id.ReplaceAllString(rows[i%3], fmt.Sprintf(`"id": %d`, i)))
	}
	root.tick()
	drain(t, w)
	const equal = `
		select count(*) filter (where to_jsonb(m) - 'id' = to_jsonb(o) - 'id') || ' of ' || count(*)
		  from t m join t o on o.id = m.id % 3 + 1 where m.id > 3`
	if got := leaf.text(equal); got != "150 of 150" {
		t.Errorf("%s rows are as those that came alone", got)
	}
}

// TestManyRowsMeetRules: what COPY would pass by is not passed by.
func TestManyRowsMeetRules(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	const table = "create table t (id int primary key)"
	root.run(table)
	leaf.run(table + "; create table log (id int); create rule noted as on insert to t do also insert into log values (new.id); alter table t enable always rule noted")
	root.addTable("public.t", londiste.AddTable{})
	root.tick()
	w := cascade.New(leaf.config())
	defer w.Close()
	drain(t, w)
	leaf.addTable("public.t", londiste.AddTable{Args: []string{"expect_sync"}})
	root.run("insert into t select generate_series(1, 150)")
	root.tick()
	drain(t, w)
	if got := leaf.text("select count(*) || ' ' || (select count(*) from log) from t"); got != "150 150" {
		t.Errorf("rows and notes: %s", got)
	}
}

// TestOddTables replays what the originals stumble over.
func TestOddTables(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	root.run(`
		create table keys_only (a int, b text, primary key (a, b));
		create table wide (id int primary key, kept text, only_there text);
		create table "Mixed.Case" (id int primary key);
		create table filtered (id int primary key, region text, n int);
		create table moved (id int primary key, v text)`)
	leaf.run(`
		create table keys_only (a int, b text, primary key (a, b));
		create table wide (only_here text default 'here', kept text, id int primary key);
		create table filtered (id int primary key, region text, n int, note text default 'mine');
		create schema eu; create table eu."Moved Table" (id int primary key, v text)`)
	tables := []string{"public.keys_only", "public.wide", "public.filtered", "public.moved"}
	for _, name := range tables {
		root.addTable(name, londiste.AddTable{})
	}
	root.tick()
	w := cascade.New(leaf.config())
	defer w.Close()
	drain(t, w)
	where := londiste.Dict{}
	where.Set(londiste.AttrWhere, "region = 'eu' -- no other")
	for _, name := range tables {
		o := londiste.AddTable{Args: []string{"expect_sync"}}
		switch name {
		case "public.filtered":
			o.Attrs = where
		case "public.moved":
			o.Dest = "eu.Moved Table"
		}
		leaf.addTable(name, o)
	}
	step := func(text string) { t.Helper(); root.run(text); root.tick(); drain(t, w) }
	step(`insert into keys_only values (1, 'x'), (1, 'y'), (2, 'x'); update keys_only set b = b; delete from keys_only where b = 'y'`)
	step(`update keys_only set a = a`)
	sameTables(t, root, leaf, "public.keys_only")

	step(`insert into wide values (1, 'a', 'b'); update wide set kept = 'c'`)
	if got := leaf.rows("wide"); got != "(here,c,1)" {
		t.Errorf("wide: %s", got)
	}
	step(`insert into moved values (1, 'a'), (2, 'b')`)
	if got := leaf.rows(`eu."Moved Table"`); got != "(1,a)\n(2,b)" {
		t.Errorf("moved: %s", got)
	}
	step(`truncate moved`)
	if got := leaf.rows(`eu."Moved Table"`); got != "" {
		t.Errorf("moved: %s", got)
	}

	step(`insert into filtered values (1, 'eu', 1), (2, 'us', 2), (3, 'eu', 3), (4, null, 4), (5, 'eu', 5)`)
	leaf.run(`set session_replication_role = local; update filtered set note = 'written here' where id = 1; reset session_replication_role`)
	step(`update filtered set n = 10 where id < 3; update filtered set region = 'us' where id = 3; update filtered set region = 'eu' where id = 2;
		delete from filtered where id in (4, 5)`)
	if got, want := leaf.rows("filtered"), "(1,eu,10,\"written here\")\n(2,eu,10,mine)"; got != want {
		t.Errorf("filtered:\n%s\nwant\n%s", got, want)
	}
	step(`update filtered set region = 'us' where id = 2`)
	step(`update filtered set region = 'eu' where id = 3`)
	if got, want := leaf.rows("filtered"), "(1,eu,10,\"written here\")\n(3,eu,3,mine)"; got != want {
		t.Errorf("filtered:\n%s\nwant\n%s", got, want)
	}
}

func sprintf(format, table string) string { return fmt.Sprintf(format, table) }
