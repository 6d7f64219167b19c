package pgq_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// original is a database with the extension pgq 3.5, whose functions are C. CI must
// have it; elsewhere the test says that it needs it.
func original(t *testing.T) (*sandboxtest.DB, bool) {
	t.Helper()
	for _, i := range sandbox.Installs() {
		if _, err := os.Stat(fmt.Sprintf("/usr/share/postgresql/%d/extension/pgq.control", i.Major())); err == nil {
			db := sandboxtest.Server(t)
			if db.Install.Bin != i.Bin {
				db = sandboxtest.Private(t, sandbox.Options{Install: i})
			}
			made := sandboxtest.DatabaseOn(t, db, "template1")
			made.Script(t, "create extension pgq")
			return made, true
		}
	}
	const advice = "no server here has the extension pgq (Debian: postgresql-15-pgq3)"
	if os.Getenv("CI") == "true" {
		t.Fatal(advice)
	}
	t.Log("ours was not compared: " + advice)
	return nil, false
}

// runBoth runs steps on our schema and on the original. The answers must be the same,
// but for those in theirs: by query, what the original answers instead.
func runBoth(t *testing.T, steps []step, theirs map[string]string) {
	t.Helper()
	run(t, installed(t).Conn(t), steps)
	db, ok := original(t)
	if !ok {
		return
	}
	conn := db.Conn(t)
	for _, s := range steps {
		want, differs := theirs[s.query]
		if !differs {
			want = s.want
		}
		if got := answer(t.Context(), conn, s.query); want != whatever && got != want {
			t.Errorf("the original answers %s with\n%s\nand not with\n%s", s.query, got, want)
		}
	}
}

// What clients see of a schema: a row per thing, as text. Only functions, tables and
// sequences that the original has are looked at; ours has more.
var seen = map[string]string{
	"functions": `
		select p.proname || '(' || pg_get_function_arguments(p.oid) || ') ' || pg_get_function_result(p.oid)
		       || ' definer ' || p.prosecdef || ' strict ' || p.proisstrict
		  from pg_proc p where p.pronamespace = 'pgq'::regnamespace and p.proname !~ '^_'`,
	"rights": `
		select p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ') ' || g.grantee
		  from pg_proc p
		 cross join lateral (select case a.grantee when 0 then 'public' else pg_get_userbyid(a.grantee)::text end as grantee
		                       from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a) g
		 where p.pronamespace = 'pgq'::regnamespace and p.proname !~ '^_' and g.grantee like any (array['public', 'pgq%'])`,
	"columns": `
		select c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
		  from pg_class c
		  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
		 where c.relnamespace = 'pgq'::regnamespace and c.relkind = 'r'`,
	"constraints": "select conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint where connamespace = 'pgq'::regnamespace and contype <> 'n'",
	"indexes":     "select pg_get_indexdef(indexrelid) from pg_index join pg_class c on c.oid = indrelid where c.relnamespace = 'pgq'::regnamespace",
	"relations": `
		select c.relname || ' ' || c.relkind::text || ' ' || coalesce(array_to_string(c.reloptions, ' '), '') || ' ' || coalesce((select string_agg(inhparent::regclass::text, ' ') from pg_inherits where inhrelid = c.oid), '')
		  from pg_class c where c.relnamespace = 'pgq'::regnamespace and c.relkind in ('r', 'S')`,
	"grants": `
		select c.relname || ' ' || g.grantee || ' ' || string_agg(g.privilege_type, ' ' order by g.privilege_type)
		  from pg_class c
		 cross join lateral (select case a.grantee when 0 then 'public' else pg_get_userbyid(a.grantee)::text end as grantee, a.privilege_type from aclexplode(c.relacl) a) g
		 where c.relnamespace = 'pgq'::regnamespace and c.relkind in ('r', 'S') and g.grantee like any (array['public', 'pgq%'])
		 group by c.relname, g.grantee`,
}

// Our schema looks to clients as the original does, with a queue in it. What ours has
// beside it is listed here, so that nothing is added or lost by mistake.
//
// Source: contract/pgq.md rules 0.1 and 0.5, sections 1, 2 and 8.
func TestLooksLikeTheOriginal(t *testing.T) {
	added := map[string][]string{
		"functions": {"capture_source(", "create_capture(", "drop_capture(", "get_capture_info(", "insert_events(", "renew_captures("},
		"rights":    {"capture_source(", "create_capture(", "drop_capture(", "get_capture_info(", "insert_events(", "renew_captures("},
	}
	db, ok := original(t)
	if !ok {
		return
	}
	theirs, ours := db.Conn(t), installed(t).Conn(t)
	for _, conn := range []*pg.Conn{theirs, ours} {
		script(t, conn, "select pgq.create_queue('q'); select pgq.register_consumer('q', 'c')")
	}
	for what, query := range seen {
		query += " order by 1"
		want, got := rows(t, theirs, query), rows(t, ours, query)
		var kept []string
	next:
		for _, row := range got {
			for _, name := range added[what] {
				if strings.HasPrefix(row, name) {
					continue next
				}
			}
			kept = append(kept, row)
		}
		if diff := cmp.Diff(want, kept); diff != "" {
			t.Errorf("%s (-original +ours):\n%s", what, diff)
		}
	}
}
