package pgq_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

func TestVersion(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema, pgqcoop.Schema)
	for _, s := range []sql.Schema{pgq.Schema, pgqcoop.Schema} {
		if got := sandboxtest.One[string](t, db, "select "+sql.Ident(s.Name)+".version()"); got != s.Version {
			t.Errorf("%s.version() is %q, the schema says %q", s.Name, got, s.Version)
		}
	}
}

// described is all of a schema that an installation makes.
const described = `
select coalesce(string_agg(d, E'\n' order by d), '') from (
    select p.oid::regprocedure || ' ' || md5(p.prosrc) || ' ' || coalesce(p.proconfig::text, '') || ' ' || p.prosecdef || ' ' || p.proacl::text as d
      from pg_proc p where pronamespace = 'pgq'::regnamespace
    union all
    select c.oid::regclass || ' ' || c.relkind::text || ' ' || coalesce(c.relacl::text, '')
      from pg_class c where relnamespace = 'pgq'::regnamespace
    union all
    select a.attrelid::regclass || '.' || a.attname || ' ' || a.atttypid::regtype || ' ' || a.attnotnull
      from pg_attribute a join pg_class c on c.oid = a.attrelid where c.relnamespace = 'pgq'::regnamespace and a.attnum > 0) x`

func TestInstallByPlainOwnerTwice(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema) // for its roles, which are the server's
	db.Script(t, `drop schema pgq cascade; drop role if exists plain_owner;
		create role plain_owner login createrole; alter database `+sql.Ident(db.Name)+` owner to plain_owner`)
	admin, err := pg.Dial(context.Background(), db.DSN, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { // the role is the server's: another run must find it gone
		if err := admin.Script(context.Background(), "reassign owned by plain_owner to current_user; drop owned by plain_owner; drop role plain_owner"); err != nil {
			t.Error(err)
		}
		admin.Close()
	}()
	conn, err := pg.Dial(t.Context(), db.DSN+" user=plain_owner", pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	script(t, conn, pgq.Schema.Script()+pgqcoop.Schema.Script())
	run(t, conn, []step{
		{"select pgq.create_queue('work')", "(1)"},
		{"select pgq.insert_event('work', 'a', 'b')", "(1)"},
	})
	before := one[string](t, conn, described)
	script(t, conn, pgq.Schema.Script()+pgqcoop.Schema.Script())
	if diff := cmp.Diff(before, one[string](t, conn, described)); diff != "" {
		t.Errorf("installing again changed something (-before +after):\n%s", diff)
	}
	run(t, conn, []step{
		{"select pgq.upgrade_schema()", "(0)"},
		{"select ev_data from pgq.event_template", "(b)"},
	})
}

// Every security definer function must pin its search path, or whoever calls it
// decides what it runs. Only insert_event does without, for speed: see
// [TestInsertEventLeavesNothingToTheCaller].
func TestDefinersPinTheirPath(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema, pgqcoop.Schema)
	if got := sandboxtest.One[string](t, db, `
		select coalesce(string_agg(oid::regprocedure::text, ', '), '') from pg_proc
		 where pronamespace in ('pgq'::regnamespace, 'pgq_coop'::regnamespace) and prosecdef
		   and not 'search_path=pg_catalog, pg_temp' = any (coalesce(proconfig, '{}'))`); got != "pgq.insert_event(text,text,text,text,text,text,text)" {
		t.Errorf("without a search path: %s", got)
	}
}

// hostile is a search path that begins with functions, operators and types of
// somebody who may write: each of them complains when it runs as anybody else.
func hostile(t *testing.T, conn *pg.Conn) {
	t.Helper()
	script(t, conn, `
		create schema evil;
		create function evil.run() returns void language plpgsql as $$ begin
			if current_user <> 'sly' then raise exception 'ran as %', current_user; end if; end $$;`)
	for _, f := range []string{"clock_timestamp() returns timestamptz", "now() returns timestamptz", "nextval(regclass) returns int8", "nextval(text) returns int8",
		"current_setting(text) returns text", "current_setting(text, bool) returns text", "format(text, text, text) returns text", "quote_ident(text) returns text",
		"to_json(text) returns json", "to_json(timestamp) returns json", "to_json(date) returns json", "to_json(bool) returns json", "timezone(text, timestamptz) returns timestamp", "\"left\"(text, int) returns text", "concat(bool) returns text", "concat(char) returns text"} {
		kind := f[strings.LastIndex(f, " ")+1:]
		script(t, conn, "create function evil."+f+" language plpgsql as $$ begin perform evil.run(); return null::pg_catalog."+kind+"; end $$")
	}
	types := []string{"int2", "int4", "int8", "text", "varchar", "uuid", "date", "timestamp", "timestamptz", "numeric", "bool", "bpchar"}
	for _, o := range []string{"=", "<>", "<=", ">=", ">"} {
		for _, kind := range types {
			script(t, conn, fmt.Sprintf(`create function evil.f%x_%[2]s(%[2]s, %[2]s) returns bool language plpgsql as $$ begin perform evil.run(); return null; end $$;
				create operator evil.%[3]s (function = evil.f%[1]x_%[2]s, leftarg = %[2]s, rightarg = %[2]s)`, o, kind, o))
		}
	}
	for _, o := range []string{"|| text text text", "/ int4 int4 int4", "+ timestamptz interval timestamptz", "= int4 int8 bool"} {
		part := strings.Fields(o)
		script(t, conn, fmt.Sprintf(`create function evil.g%x(%[2]s, %[3]s) returns %[4]s language plpgsql as $$ begin perform evil.run(); return null; end $$;
			create operator evil.%[5]s (function = evil.g%[1]x, leftarg = %[2]s, rightarg = %[3]s)`, o, part[1], part[2], part[3], part[0]))
	}
	for _, kind := range append(types, "regclass", "record_") {
		script(t, conn, "create domain evil."+kind+" as pg_catalog."+strings.ReplaceAll(kind, "record_", "text")+" check (evil.run() is not null)")
	}
	script(t, conn, `
		create domain evil.record as pg_catalog.text check (evil.run() is not null);
		create table evil.new_rows (a int); create table evil.old_rows (a int);
		create role sly; grant pgq_writer to sly; grant usage on schema evil to sly;`)
}

// A writer cannot make insert_event run anything of his with the rights of its
// owner: not by a search path that begins with his operators, types and functions.
func TestInsertEventLeavesNothingToTheCaller(t *testing.T) {
	conn := installed(t).Conn(t)
	script(t, conn, `
		select count(pgq.create_queue('q' || i)) from generate_series(1, 70) i;
		update pgq.queue set queue_per_tx_limit = 100 where queue_name = 'q2';
		update pgq.queue set queue_ntables = 4, queue_cur_table = 3 where queue_name = 'q3';
		create table pgq.event_3_3 () inherits (pgq.event_3);`)
	hostile(t, conn)
	script(t, conn, "set role sly; set search_path = evil, pg_catalog")
	for _, q := range []string{"q1", "q2", "q3", "q40", "q70"} {
		script(t, conn, "select pgq.insert_event('"+q+"', 't', 'd', 'e', null, null, null)")
	}
	for _, q := range []string{"'nope'", "null"} {
		if err := conn.Script(t.Context(), "select pgq.insert_event("+q+", 't', 'd', null, null, null, null)"); err == nil || strings.Contains(err.Error(), "ran as") {
			t.Errorf("queue %s: %v", q, err)
		}
	}
	script(t, conn, "reset role; reset search_path; drop owned by sly; drop role sly")
	run(t, conn, []step{{"select count(*) from pgq.event_template where ev_data = 'd' and ev_extra1 = 'e'", "(5)"}})
}

// The same of captures, whichever options and columns they have.
func TestCapturesLeaveNothingToTheCaller(t *testing.T) {
	conn := installed(t).Conn(t)
	script(t, conn, `
		select pgq.create_queue('q');
		create domain odd as varchar check (value <> 'x');
		create type mood as enum ('a', 'b');
		set timezone = 'UTC';`)
	var tables []string
	for i, options := range []string{"null", "'{backup}'", "'{ignore=t}'", "'{pkey=id}'", "'{when=id > 0}'", "'{ev_extra3=t || id}'",
		"'{statement}'", "'{statement,backup}'", "'{statement,ignore=t}'", "'{statement,pkey=id}'", "'{statement,when=id > 0}'", "'{statement,ev_extra3=t || id}'"} {
		for j, columns := range []string{
			"id int primary key, t text, v varchar, n numeric, ts timestamp default '2020-01-01', tz timestamptz default '2020-01-01', d date default '2020-01-01', b bool default true, j jsonb, u uuid, i2 int2, c char(3) default 'c'",
			"id int, t text, k2 odd, f float8, iv interval, m mood, a text[], o oid, primary key (id, k2)",
		} {
			name := fmt.Sprintf("t%d_%d", i, j)
			tables = append(tables, name)
			script(t, conn, fmt.Sprintf("create table %s (%s); select pgq.create_capture('q', 'public.%[1]s', 'c', %[3]s)", name, columns, options))
			if j == 1 {
				script(t, conn, "alter table "+name+" alter k2 set default 'k'")
			}
		}
	}
	hostile(t, conn)
	script(t, conn, "grant all on all tables in schema public to sly; set role sly; set search_path = evil, pg_catalog")
	for _, name := range tables {
		script(t, conn, fmt.Sprintf("insert into public.%s (id, t) values (7, 'x'), (8, 'y'); update public.%[1]s set t = 'z'; delete from public.%[1]s; truncate public.%[1]s", name))
	}
	script(t, conn, "reset role; reset search_path; drop owned by sly; drop role sly")
	run(t, conn, []step{
		{"select count(*) from pgq.event_template", fmt.Sprintf("(%d)", len(tables)*7-4*2)}, // where t is ignored its updates make no event
		{"select count(*) from pg_proc where proname ~ '^_capture_\\d' and proconfig = '{enable_seqscan=off}'", "(3)"},
	})
}

// Source: contract/pgq.md section 8, the upstream test pgq_perms.
func TestRoles(t *testing.T) {
	db := installed(t)
	conn := db.Conn(t)
	run(t, conn, []step{
		{"!set role pgq_admin", ""},
		{"select pgq.create_queue('q')", "(1)"},
		{"select pgq.ticker('q')", "(2)"},
		{"select pgq.maint_rotate_tables_step1('q')", "(0)"},
		{"!update pgq.queue set queue_rotation_period = '0'", ""},
		{"select pgq.maint_rotate_tables_step1('q')", "(0)"},
		{"select pgq.maint_rotate_tables_step2()", "(0)"},
		{"select pgq.maint_retry_events()", "(0)"},
		{"select queue_cur_table from pgq.queue", "(1)"},
		{"!set role pgq_writer", ""},
		{"select pgq.insert_event('q', 'a', 'b')", "(1)"},
		{"select pgq.current_event_table('q')", "(pgq.event_1_1)"},
		{"select pgq.create_queue('w')", "ERROR permission denied for function create_queue"},
		{"select pgq.register_consumer('q', 'c')", "ERROR permission denied for function register_consumer"},
		{"!insert into pgq.event_1_0 (ev_id, ev_time) values (1, now())", "ERROR permission denied for table event_1_0"},
		{"!set role pgq_reader", ""},
		{"select pgq.register_consumer('q', 'c')", "(1)"},
		{"select pgq.next_batch('q', 'c')", "()"},
		{"select pgq.insert_event('q', 'a', 'b')", "ERROR permission denied for function insert_event"},
		{"select pgq.create_queue('w')", "ERROR permission denied for function create_queue"},
		{"select count(*) from pgq.get_capture_info()", "(0)"},
		{"select ev_new from pgq.get_queue_info('q')", "(0)"},
		{"!reset role", ""},
	})
}
