package pgq_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql/pgq"
)

// Triggers that fire once for a statement: what is refused, counted and kept as it
// is by those that fire for each row.
func TestStatementCapture(t *testing.T) {
	conn := installed(t).Conn(t)
	script(t, conn, `
		select pgq.create_queue('q');
		create table e (id int primary key, a text, b text);
		create table nokey (a int);
		create table parts (id int primary key) partition by range (id);
		create table part1 partition of parts for values from (0) to (10);
		create table base (id int primary key);
		create table derived () inherits (base);`)
	const infos = "select trigger_name, args, enabled, is_current from pgq.get_capture_info()"
	const count = "select count(*) from pgq.event_template"
	const newest = "select ev_type::json ->> 'op', ev_data from pgq.event_template order by ev_id desc limit 2"
	run(t, conn, []step{
		{"select pgq.create_capture('q', 'public.e', 'x', '{statement}')", "(1)"},
		{"select pgq.create_capture('q', 'public.e', 'x', '{statement}')", "(0)"},
		{infos, "(x,{statement},origin,t)\n(x_delete,{statement},origin,t)\n(x_key,{statement},origin,t)\n(x_truncate,{statement},origin,t)\n(x_update,{statement},origin,t)"},
		{"!insert into e select i, 'a' from generate_series(1, 5) i; update e set a = 'b' where id = 99; delete from e where false", ""},
		{count, "(5)"},
		{"select array_agg(ev_data::json ->> 'id' order by ev_id) from pgq.event_template", `("{1,2,3,4,5}")`},

		// Both sides of an upsert, a merge of operations in one statement.
		{"!insert into e values (5, 'c'), (6, 'd') on conflict (id) do update set a = excluded.a", ""},
		{newest, `(INSERT,"{""id"":6,""a"":""d"",""b"":null}")` + "\n" + `(UPDATE,"{""id"":5,""a"":""c"",""b"":null}")`},
		{"!with gone as (delete from e where id = 6 returning *) insert into e select 7, a from gone", ""},
		{"select count(*) from pgq.event_template where ev_type like '%DELETE%'", "(1)"},

		// Keys stay, and two may not be exchanged.
		{"!update e set id = 77 where id = 7", "ERROR primary key update not allowed"},
		{"!update e set id = id, a = 'e' where id = 7", ""},
		{"!alter table e drop constraint e_pkey, add primary key (id) deferrable", ""},
		{"!update e set id = 3 - id where id in (1, 2)", "ERROR primary key update not allowed"},
		{newest, `(UPDATE,"{""id"":7,""a"":""e"",""b"":null}")` + "\n" + `(INSERT,"{""id"":7,""a"":""d"",""b"":null}")`},
		{"!set session_replication_role = local; update e set id = 77 where id = 7; reset session_replication_role", ""},

		// Sessions and queues that want no events.
		{"!truncate pgq.event_1_0", ""},
		{"!set session_replication_role = local; insert into e values (11); reset session_replication_role", ""},
		{"!set skytools.replaying = 'q'; insert into e values (12); reset skytools.replaying", ""},
		{count, "(0)"},
		{"!update pgq.queue set queue_disable_insert = true", ""},
		{"!insert into e values (15)", "ERROR Insert into queue disallowed"},
		{"!update e set a = 'x' where false", ""},
		{"!update pgq.queue set queue_disable_insert = false, queue_per_tx_limit = 2", ""},
		{"!insert into e values (21), (22), (23)", "ERROR Queue 'q' allows max 2 events from one TX"},
		{"!insert into e values (21), (22)", ""},
		{"!begin; insert into e values (23), (24); insert into e values (25); commit", "ERROR Queue 'q' allows max 2 events from one TX"},
		{"!rollback; update pgq.queue set queue_per_tx_limit = null", ""},

		// Old and new rows are paired row by row.
		{"select pgq.create_capture('q', 'public.e', 'x', '{statement,ignore=b,backup}')", "(1)"},
		{"!update e set b = 'unseen' where id < 4; update e set a = a || id, b = 'seen' where id in (1, 3)", ""},
		{"select ev_data, ev_extra2 from pgq.event_template order by ev_id desc limit 2",
			`("{""id"":3,""a"":""a3""}","{""id"":3,""a"":""a""}")` + "\n" + `("{""id"":1,""a"":""a1""}","{""id"":1,""a"":""a""}")`},
		{count, "(4)"},
		{"select proconfig from pg_proc where proname ~ '^_capture_\\d'", `("{""search_path=pg_catalog, pg_temp"",enable_nestloop=off}")`},

		// From statements to rows and back: what is in the way goes.
		{"select pgq.create_capture('q', 'public.e', 'x', null)", "(1)"},
		{infos, "(x,{},origin,t)\n(x_truncate,{},origin,t)"},
		{"!insert into e values (31)", ""},
		{count, "(5)"},
		{"select pgq.create_capture('q', 'public.e', 'x', '{statement}')", "(1)"},
		{"!insert into e values (32); truncate e", ""},
		{newest, "(TRUNCATE,{})\n" + `(INSERT,"{""id"":32,""a"":null,""b"":null}")`},
		{count, "(7)"},
		{"select pgq.drop_capture('q', 'public.e')", "(5)"},

		// Another key: the trigger that guards it is made anew.
		{"select pgq.create_capture('q', 'public.e', 'x', '{statement}')", "(1)"},
		{"!alter table e drop constraint e_pkey, alter a set not null, add primary key (a); update e set id = 1, a = a", ""},
		{"select pgq.create_capture('q', 'public.e', 'x', '{statement}'), pgq.create_capture('q', 'public.e', 'x', '{statement}')", "(1,0)"},
		{"!insert into e values (1, 'a'); update e set id = 2; update e set a = 'b'", "ERROR primary key update not allowed"},
		{"!insert into e values (1, 'a'); update e set id = 2", ""},
		{"!truncate e", ""},
		{"select pgq.drop_capture('q', 'public.e')", "(5)"},

		{"select pgq.create_capture('q', 'public.nokey', 'x', '{statement,when=a}')", "ERROR argument of AND must be type boolean, not type integer"},
		{"select pgq.create_capture('q', 'public.nokey', 'x', '{statement,when=a>0}')", "(1)"},
		{"!insert into nokey values (1), (0)", ""},
		{count, "(11)"},
		{"!insert into nokey values (1), (null)", "ERROR when= should not be NULL"},
		{"!update nokey set a = 2 where a = 99; update nokey set a = 2", "ERROR Update/Delete on table without pkey"},
		{"!delete from nokey", "ERROR Update/Delete on table without pkey"},
		{"select pgq.create_capture('q', 'public.parts', 'x', '{statement}')", "ERROR table public.parts is partitioned or inherits: triggers of its statements would miss changes"},
		{"select pgq.create_capture('q', 'public.part1', 'x', '{statement}')", "ERROR table public.part1 is partitioned or inherits: triggers of its statements would miss changes"},
		{"select pgq.create_capture('q', 'public.base', 'x', '{statement}')", "ERROR table public.base is partitioned or inherits: triggers of its statements would miss changes"},
		{"select pgq.create_capture('q', 'public.e', 'x', '{statement,deny}')", "ERROR deny does not work in statement triggers."},
		{"!create trigger g after insert on e for each row execute function pgq.jsontriga('q', 'statement')", ""},
		{"!insert into e values (41, 'x')", "ERROR bad param to pgq trigger"},
	})
}

// The triggers of a capture belong together: the one that stands for them is
// current while all of them fire.
func TestCaptureIsWhole(t *testing.T) {
	for _, args := range []string{"null", "'{statement}'"} {
		for _, harm := range []string{
			"alter table e disable trigger x_truncate", "drop trigger x_truncate on e", "alter table e enable replica trigger x",
			"alter table e disable trigger all", "alter table e add column more int", "alter table e rename to f",
			"alter table e drop constraint e_pkey", "create or replace function FUNCTION() returns trigger language plpgsql as 'begin return null; end'",
		} {
			conn := installed(t).Conn(t)
			script(t, conn, "select pgq.create_queue('q'); create table e (id int primary key); select pgq.create_capture('q', 'public.e', 'x', "+args+")")
			current := func() (whole []bool) {
				for _, c := range catalog[pgq.Capture](t, conn, pgq.Captures) {
					if c.Main() {
						whole = append(whole, c.IsCurrent)
					}
				}
				return whole
			}
			before := current()
			function := one[string](t, conn, "select tgfoid::regproc::text from pg_trigger where tgname = 'x'")
			script(t, conn, strings.ReplaceAll(harm, "FUNCTION", function))
			if diff := cmp.Diff([][]bool{{true}, {false}}, [][]bool{before, current()}); diff != "" {
				t.Errorf("%s, %s:\n%s", args, harm, diff)
			}
		}
	}
}
