package pgq_test

import (
	"context"
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
// decides what it runs.
func TestDefinersPinTheirPath(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema, pgqcoop.Schema)
	if got := sandboxtest.One[string](t, db, `
		select coalesce(string_agg(oid::regprocedure::text, ', '), '') from pg_proc
		 where pronamespace in ('pgq'::regnamespace, 'pgq_coop'::regnamespace) and prosecdef
		   and not 'search_path=pg_catalog, pg_temp' = any (coalesce(proconfig, '{}'))`); got != "" {
		t.Errorf("without a search path: %s", got)
	}
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
