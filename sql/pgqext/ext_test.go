package pgqext_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqext"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

type step struct{ query, want string }

func installed(t *testing.T) *sandboxtest.DB {
	t.Helper()
	db := sandboxtest.Database(t)
	db.Install(t, pgqext.Schema)
	return db
}

// run checks answers: the rows as PostgreSQL writes them, one a line, or ERROR and
// the message.
func run(t *testing.T, conn *pg.Conn, steps []step) {
	t.Helper()
	for _, s := range steps {
		if s.query[0] == '!' {
			if err := conn.Script(t.Context(), s.query[1:]); err != nil {
				t.Fatalf("%s: %v", s.query, err)
			}
			continue
		}
		got, err := pg.One[string](t.Context(), conn, fmt.Sprintf("select coalesce(string_agg(q::text, E'\\n'), '') from (%s) q", s.query))
		if err != nil {
			message, _, _ := strings.Cut(err.Error(), " (SQLSTATE")
			got = strings.ToUpper(message[:5]) + message[6:]
		}
		if diff := cmp.Diff(s.want, got); diff != "" {
			t.Fatalf("%s:\n%s", s.query, diff)
		}
	}
}

func TestVersion(t *testing.T) {
	db := installed(t)
	if got := sandboxtest.One[string](t, db, "select pgq_ext.version()"); got != pgqext.Schema.Version {
		t.Errorf("version() is %q, the schema says %q", got, pgqext.Schema.Version)
	}
}

// signatures are the functions with their argument names, which callers may use and
// an installation over the original must not change. Source: contract/pgq.md 0.1, 3.2.
const signatures = `get_last_tick(a_consumer text) bigint
get_last_tick(a_consumer text, a_subconsumer text) bigint definer
is_batch_done(a_consumer text, a_batch_id bigint) boolean
is_batch_done(a_consumer text, a_subconsumer text, a_batch_id bigint) boolean definer
is_event_done(a_consumer text, a_batch_id bigint, a_event_id bigint) boolean
is_event_done(a_consumer text, a_subconsumer text, a_batch_id bigint, a_event_id bigint) boolean definer
set_batch_done(a_consumer text, a_batch_id bigint) boolean
set_batch_done(a_consumer text, a_subconsumer text, a_batch_id bigint) boolean definer
set_event_done(a_consumer text, a_batch_id bigint, a_event_id bigint) boolean
set_event_done(a_consumer text, a_subconsumer text, a_batch_id bigint, a_event_id bigint) boolean definer
set_last_tick(a_consumer text, a_subconsumer text, a_tick_id bigint) integer definer
set_last_tick(a_consumer text, a_tick_id bigint) integer
upgrade_schema() integer
version() text`

func TestSignatures(t *testing.T) {
	db := installed(t)
	got := sandboxtest.One[string](t, db, `
		select string_agg(d, E'\n' order by d collate "C")
		  from (select proname || '(' || pg_get_function_arguments(oid) || ') ' || pg_get_function_result(oid)
		               || case when prosecdef then ' definer' else '' end as d
		          from pg_proc where pronamespace = 'pgq_ext'::regnamespace) x`)
	if diff := cmp.Diff(signatures, got); diff != "" {
		t.Error(diff)
	}
	if got := sandboxtest.One[string](t, db, `
		select coalesce(string_agg(oid::regprocedure::text, ', '), '') from pg_proc
		 where pronamespace = 'pgq_ext'::regnamespace and prosecdef
		   and not 'search_path=pg_catalog, pg_temp' = any (coalesce(proconfig, '{}'))`); got != "" {
		t.Errorf("without a search path: %s", got)
	}
}

// Source: contract/pgq.md 3.2, the upstream test test_pgq_ext.
func TestCore(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"select pgq_ext.upgrade_schema()", "(0)"},

		{"select pgq_ext.is_batch_done('c', 1)", "(f)"},
		{"select pgq_ext.set_batch_done('c', 1)", "(t)"},
		{"select pgq_ext.is_batch_done('c', 1)", "(t)"},
		{"select pgq_ext.set_batch_done('c', 1)", "(f)"},
		{"select pgq_ext.is_batch_done('c', '', 1)", "(t)"},
		{"select pgq_ext.is_batch_done('c', 2)", "(f)"},
		{"select pgq_ext.set_batch_done('c', 2)", "(t)"},
		{"select pgq_ext.is_batch_done('c', 1)", "(f)"},
		{"select pgq_ext.is_batch_done('c', null::int8)", "(f)"},

		// Ids that no batch has are answered and not kept.
		{"select pgq_ext.set_batch_done('c', 0), pgq_ext.set_batch_done('c', -7), pgq_ext.set_batch_done('c', null::int8)", "(t,t,t)"},
		{"select consumer_id, last_batch_id from pgq_ext.completed_batch", "(c,2)"},

		// Subconsumers keep apart.
		{"select pgq_ext.is_batch_done('c', 'w1', 2)", "(f)"},
		{"select pgq_ext.set_batch_done('c', 'w1', 2), pgq_ext.set_batch_done('c', 'w2', 2)", "(t,t)"},
		{"select pgq_ext.set_batch_done('c', 'w1', 2)", "(f)"},
		{"select pgq_ext.is_batch_done('c', 'w2', 2), pgq_ext.is_batch_done('x', 'w2', 2)", "(t,f)"},

		// Events: those of the batch before go with the first of a new one.
		{"select pgq_ext.is_event_done('c', 3, 101)", "(f)"},
		{"select pgq_ext.set_event_done('c', 3, 101)", "(t)"},
		{"select pgq_ext.is_event_done('c', 3, 101)", "(t)"},
		{"select pgq_ext.set_event_done('c', 3, 101)", "(f)"},
		{"select pgq_ext.set_event_done('c', 3, 102)", "(t)"},
		{"select count(*) from pgq_ext.completed_event", "(2)"},
		{"select pgq_ext.set_event_done('c', 'w1', 3, 101)", "(t)"},
		{"select pgq_ext.set_event_done('c', 4, 101)", "(t)"},
		{"select subconsumer_id, batch_id, event_id from pgq_ext.completed_event order by 1", "(\"\",4,101)\n(w1,3,101)"},
		{"select subconsumer_id, cur_batch_id from pgq_ext.partial_batch order by 1", "(\"\",4)\n(w1,3)"},
		{"select pgq_ext.is_event_done('c', 3, 101), pgq_ext.is_event_done('c', 'w1', 3, 101)", "(f,t)"},

		// Positions.
		{"select pgq_ext.get_last_tick('c')", "()"},
		{"select pgq_ext.set_last_tick('c', 1)", "(1)"},
		{"select pgq_ext.get_last_tick('c')", "(1)"},
		{"select pgq_ext.set_last_tick('c', 2), pgq_ext.set_last_tick('c', 'w1', 9)", "(1,1)"},
		{"select pgq_ext.get_last_tick('c', ''), pgq_ext.get_last_tick('c', 'w1')", "(2,9)"},
		{"select pgq_ext.set_last_tick('c', null::int8)", "(1)"},
		{"select pgq_ext.get_last_tick('c'), pgq_ext.get_last_tick('c', 'w1')", "(,9)"},
		{"select pgq_ext.set_last_tick('c', null::int8)", "(1)"},
	})
}

// old is the schema of 3.0 with something in it.
const old = `
create schema pgq_ext;
create table pgq_ext.completed_tick (consumer_id text not null, last_tick_id bigint not null, primary key (consumer_id));
create table pgq_ext.completed_batch (consumer_id text not null, last_batch_id bigint not null, primary key (consumer_id));
create table pgq_ext.completed_event (consumer_id text not null, batch_id bigint not null, event_id bigint not null,
    primary key (consumer_id, batch_id, event_id));
create table pgq_ext.partial_batch (consumer_id text not null, cur_batch_id bigint not null, primary key (consumer_id));
insert into pgq_ext.completed_tick values ('c', 7);
insert into pgq_ext.completed_batch values ('c', 8);
insert into pgq_ext.completed_event values ('c', 9, 1), ('c', 9, 2);
insert into pgq_ext.partial_batch values ('c', 9);
create function pgq_ext.is_batch_done(a_consumer text, a_batch_id bigint) returns boolean language sql as 'select null::boolean';
grant execute on all functions in schema pgq_ext to public;
`

// Source: the upstream test test_upgrade.
func TestUpgrade(t *testing.T) {
	db := installed(t)
	conn := db.Conn(t)
	run(t, conn, []step{
		{"!alter schema pgq_ext rename to kept", ""},
		{"!" + old, ""},
		{"!alter function kept.upgrade_schema() set schema pgq_ext", ""},
		{"select pgq_ext.upgrade_schema()", "(8)"},
		{"select pgq_ext.upgrade_schema()", "(0)"},
		{"!drop schema pgq_ext cascade", ""},
		{"!" + old, ""},
	})
	for range 2 { // the script can be run again
		db.Script(t, pgqext.Schema.Script())
		run(t, conn, []step{
			{"select pgq_ext.upgrade_schema()", "(0)"},
			{"select pgq_ext.get_last_tick('c'), pgq_ext.is_batch_done('c', 8), pgq_ext.is_event_done('c', 9, 2)", "(7,t,t)"},
			{"select count(*) from pgq_ext.completed_event", "(2)"},
			{"select conrelid::regclass, pg_get_constraintdef(oid) from pg_constraint where connamespace = 'pgq_ext'::regnamespace and contype = 'p' order by 1", `(pgq_ext.completed_tick,"PRIMARY KEY (consumer_id, subconsumer_id)")
(pgq_ext.completed_batch,"PRIMARY KEY (consumer_id, subconsumer_id)")
(pgq_ext.completed_event,"PRIMARY KEY (consumer_id, subconsumer_id, batch_id, event_id)")
(pgq_ext.partial_batch,"PRIMARY KEY (consumer_id, subconsumer_id)")`},
			{"select has_function_privilege('public', 'pgq_ext.is_batch_done(text, int8)', 'execute')", "(f)"},
		})
	}
	run(t, conn, []step{{"select pgq_ext.set_last_tick('c', 'w', 1), pgq_ext.set_batch_done('c', 'w', 1), pgq_ext.set_event_done('c', 'w', 1, 1)", "(1,t,t)"}})
}

// Half of an upgrade is finished.
func TestUpgradeOfADefaultAlone(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"!alter table pgq_ext.completed_tick alter column subconsumer_id drop default", ""},
		{"!alter table pgq_ext.partial_batch drop constraint partial_batch_pkey", ""},
		{"select pgq_ext.upgrade_schema()", "(2)"},
		{"select pgq_ext.upgrade_schema()", "(0)"},
	})
}

// Source: contract/pgq.md section 8.
func TestGrants(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"!set role pgq_writer", ""},
		{"select pgq_ext.set_batch_done('c', 1), pgq_ext.set_event_done('c', 1, 1), pgq_ext.set_last_tick('c', 1)", "(t,t,1)"},
		{"select pgq_ext.is_batch_done('c', 1), pgq_ext.is_event_done('c', 1, 1), pgq_ext.get_last_tick('c')", "(t,t,1)"},
		{"select pgq_ext.upgrade_schema()", "(0)"},
		{"select * from pgq_ext.completed_batch", "ERROR permission denied for table completed_batch"},
		{"!reset role", ""},
		{"!drop role if exists ext_nobody; create role ext_nobody; set role ext_nobody", ""},
		{"select pgq_ext.version()", "(3.1)"},
		{"select pgq_ext.is_batch_done('c', 1)", "ERROR permission denied for function is_batch_done"},
		{"select pgq_ext.set_last_tick('c', '', 1)", "ERROR permission denied for function set_last_tick"},
		{"!reset role; drop role ext_nobody", ""},
	})
}

// Of many sessions that mark the same thing one gets true, and none fails.
func TestMarksAreMadeOnce(t *testing.T) {
	db := installed(t)
	const sessions, rounds = 4, 50
	marks := []string{"select pgq_ext.set_batch_done('c', $1)", "select pgq_ext.set_event_done('c', 1, $1)", "select pgq_ext.set_last_tick('c', $1) = 1"}
	var won [3][rounds + 1]atomic.Int32
	var all sync.WaitGroup
	for range sessions {
		conn := db.Conn(t)
		all.Go(func() {
			for id := 1; id <= rounds; id++ {
				for i, text := range marks {
					got, err := pg.One[bool](t.Context(), conn, text, int64(id))
					if err != nil {
						t.Error(err)
						return
					}
					if got {
						won[i][id].Add(1)
					}
				}
			}
		})
	}
	all.Wait()
	for id := 1; id <= rounds; id++ {
		if n := won[1][id].Load(); n != 1 {
			t.Errorf("event %d was marked %d times", id, n)
		}
		if n := won[2][id].Load(); n != sessions {
			t.Errorf("tick %d was set %d times", id, n)
		}
	}
}

// A batch that another session is marking is waited for.
func TestMarkWaitsForAnother(t *testing.T) {
	db := installed(t)
	first, second := db.Conn(t), db.Conn(t)
	answer := make(chan bool, 1)
	err := first.Write(t.Context(), func(tx *pg.Tx) error {
		if got, err := pg.One[bool](t.Context(), tx, "select pgq_ext.set_batch_done('c', 1)"); err != nil || !got {
			return fmt.Errorf("first: %v %w", got, err)
		}
		pid := second.PID()
		go func() {
			got, err := pg.One[bool](t.Context(), second, "select pgq_ext.set_batch_done('c', 1)")
			if err != nil {
				t.Error(err)
			}
			answer <- got
		}()
		for { // the test's own deadline ends it
			waits, err := pg.One[bool](t.Context(), tx, "select exists (select 1 from pg_locks where pid = $1 and not granted)", pid)
			if err != nil || waits {
				return err
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if <-answer {
		t.Error("two sessions did the same batch")
	}
}
