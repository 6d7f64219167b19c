package pgq_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
)

// A generated function writes what pgq.jsontriga writes, byte for byte, whether it
// fires for rows or for statements.
func TestGeneratedCaptureEqualsJSON(t *testing.T) {
	const written = "select jsonb_build_array(ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4)::text from pgq.event_%d order by ev_id"
	for _, options := range [][]string{
		nil,
		{"backup"},
		{"ignore=t,vc,back\\slash,sp ace"},
		{"ignore=i2,t", "backup", "when=id <> 8"},
		{"pkey=id, k2", "backup"},
		{"when=t is null or t <> 'x'"},
		{"ev_type=vc || '!'", "ev_data=\"a.b\"", "ev_extra1='other.name'", "ev_extra2=b", "ev_extra3=tz", "ev_extra4=user"},
	} {
		for _, level := range []string{"row", "statement"} {
			t.Run(level+" "+strings.Join(options, " "), func(t *testing.T) {
				conn := installed(t).Conn(t)
				script(t, conn, "set timezone = 'UTC'; select pgq.create_queue('q'), pgq.create_queue('generic');"+file(t, "types.sql"))
				asked := options
				if level == "statement" {
					asked = append([]string{"statement"}, options...)
				}
				run(t, conn, []step{{"select pgq.create_capture('q', 'public.many', 'a', " + array(asked) + ")", "(1)"}})
				args := "'generic'"
				for _, o := range options {
					args += ", " + sql.Literal(o)
				}
				script(t, conn, "create trigger b after insert or update or delete on many for each row execute function pgq.jsontriga("+args+")")
				if len(options) == 0 { // options make no sense to a truncate trigger of the generic kind
					script(t, conn, "create trigger b2 after truncate on many for each statement execute function pgq.jsontriga('generic')")
				}
				script(t, conn, file(t, "changes.sql"))
				if len(options) > 0 {
					script(t, conn, "delete from pgq.event_1 where ev_id = (select max(ev_id) from pgq.event_1)") // the truncate
				}
				generated, generic := rows(t, conn, fmt.Sprintf(written, 1)), rows(t, conn, fmt.Sprintf(written, 2))
				if diff := cmp.Diff(generic, generated); diff != "" || len(generic) < 6 {
					t.Errorf("%d events of jsontriga (-jsontriga +generated):\n%s", len(generic), diff)
				}
			})
		}
	}
}

func array(items []string) string {
	s := sql.Exec("$1", items).Pasteable()
	if items == nil {
		return "null"
	}
	return strings.TrimSuffix(s, ";")
}

// What a session has set does not change what it writes.
func TestGeneratedCaptureIgnoresSession(t *testing.T) {
	conn := installed(t).Conn(t)
	script(t, conn, "select pgq.create_queue('q');"+file(t, "types.sql")+"select pgq.create_capture('q', 'public.many', 'a', null);")
	script(t, conn, "set timezone = 'UTC'; "+file(t, "changes.sql"))
	plain := rows(t, conn, events)
	script(t, conn, `truncate pgq.event_1_0; set datestyle = 'sql, dmy'; set intervalstyle = 'iso_8601'; set bytea_output = 'escape';
		set extra_float_digits = -10; set search_path = pg_temp, public`)
	script(t, conn, file(t, "changes.sql")) // its times are read in the zone that was set
	if diff := cmp.Diff(plain, rows(t, conn, events)); diff != "" {
		t.Error(diff)
	}
	script(t, conn, `reset all; create table plain (id int primary key, t text, n numeric, d date);
		select pgq.create_capture('q', 'public.plain', 'a', null);
		create table zoned (id int primary key, tz timestamptz, da date[]);
		insert into zoned values (0, '0044-03-15 12:00+01 BC', '{2020-02-01}');
		select pgq.create_capture('q', 'public.zoned', 'a', null);`)
	run(t, conn, []step{
		{"select proconfig from pg_proc where oid = (select tgfoid from pg_trigger where tgrelid = 'plain'::regclass and tgname = 'a')",
			`({enable_seqscan=off})`},
		{"select proconfig[2:] from pg_proc where oid = (select tgfoid from pg_trigger where tgrelid = 'zoned'::regclass and tgname = 'a')",
			`("{""DateStyle=ISO, MDY""}")`},
	})
}

func TestCreateCapture(t *testing.T) {
	db := installed(t)
	conn := db.Conn(t)
	script(t, conn, `
		select pgq.create_queue('q''"\'), pgq.create_queue('other');
		create schema "S x";
		create table "S x"."T"".é" ("K""ey" int primary key, "N a.m\e" text, "select" int);
		create role capture_reader;
		grant pgq_reader to capture_reader`)
	const create = `select pgq.create_capture('q''"\', 'S x.T".é', 'Tr "ig', `
	const infos = "select trigger_name, args, enabled, generated, is_current from pgq.get_capture_info()"
	const table = `"S x"."T"".é"`
	run(t, conn, []step{
		{create + "null)", "(1)"},
		{create + "'{}')", "(0)"},
		{infos, `("Tr ""ig",{},origin,t,t)` + "\n" + `("Tr ""ig_truncate",{},origin,t,t)`},
		{"!insert into " + table + " values (1, 'x', 2); truncate " + table, ""},
		{"select ev_data, ev_extra1 from pgq.event_template", `("{""K\\""ey"":1,""N a.m\\\\e"":""x"",""select"":2}","S x.T"".é")` + "\n" + `({},"S x.T"".é")`},

		// A change of the table makes the function stale, and only that is replaced.
		{"!alter table " + table + " add column more int", ""},
		{infos, `("Tr ""ig",{},origin,t,f)` + "\n" + `("Tr ""ig_truncate",{},origin,t,f)`},
		{"!create temp table before as select oid, xmin as version from pg_trigger where tgrelid = '" + strings.ReplaceAll(table, "'", "''") + "'::regclass", ""},
		{create + "'{}')", "(1)"},
		{infos, `("Tr ""ig",{},origin,t,t)` + "\n" + `("Tr ""ig_truncate",{},origin,t,t)`},
		{"select count(*) from before b join pg_trigger t on t.oid = b.oid and t.xmin = b.version", "(2)"},
		{"!insert into " + table + " values (1, 'x', 2, 3)", ""},
		{"select ev_data::json ->> 'more' from pgq.event_template order by ev_id desc limit 1", "(3)"},

		// Other arguments, another name, a trigger that was switched off.
		{create + "'{\"ignore=more\"}')", "(1)"},
		{infos, `("Tr ""ig",{ignore=more},origin,t,t)` + "\n" + `("Tr ""ig_truncate",{ignore=more},origin,t,t)`},
		{strings.Replace(create, `Tr "ig`, "renamed", 1) + "'{}')", "(1)"},
		{infos, "(renamed,{},origin,t,t)\n(renamed_truncate,{},origin,t,t)"},
		{"!alter table " + table + " disable trigger renamed", ""},
		{infos, "(renamed,{},disabled,t,f)\n(renamed_truncate,{},origin,t,t)"},
		{strings.Replace(create, `Tr "ig`, "renamed", 1) + "'{}')", "(1)"},
		{infos, "(renamed,{},origin,t,t)\n(renamed_truncate,{},origin,t,t)"},

		// Whoever reads may look, in a transaction that cannot write.
		{"!set role capture_reader; begin transaction read only", ""},
		{infos, "(renamed,{},origin,t,t)\n(renamed_truncate,{},origin,t,t)"},
		{"!commit; reset role", ""},
		{"select has_function_privilege('capture_reader', tgfoid, 'execute') from pg_trigger where tgname = 'renamed'", "(f)"},
		{"!drop role capture_reader", ""},

		// What cannot work is refused before the table is touched.
		{"select pgq.create_capture('nope', 'S x.T\".é', 'x', null)", "ERROR No such queue"},
		{"select pgq.create_capture('other', 'nope', 'x', null)", "ERROR table nope does not exist"},
		{"select pgq.create_capture('other', 'S x.T\".é', 'x', '{SKIP}')", "ERROR SKIP does not work in AFTER trigger."},
		{"select pgq.create_capture('other', 'S x.T\".é', 'x', '{ignore=nope}')", `ERROR table "S x"."T"".é" has no column "nope"`},
		{"select pgq.create_capture('other', 'S x.T\".é', 'x', '{pkey=nope}')", `ERROR table "S x"."T"".é" has no column "nope"`},
		{"select pgq.create_capture('other', 'S x.T\".é', 'x', '{ev_extra3=nope}')", `ERROR column "nope" does not exist`},
		{"select pgq.create_capture('other', 'S x.T\".é', 'x', '{when=more}')", "ERROR argument of AND must be type boolean, not type integer"},

		// A queue goes only with its captures.
		{"select pgq.create_capture('other', 'S x.T\".é', 'x', null)", "(1)"},
		{`!create trigger generic after insert on ` + table + ` for each row execute function pgq.logutriga('other')`, ""},
		{"select pgq.drop_queue('other')", `ERROR cannot drop queue other, tables still captured into it: S x.T".é`},
		{"select pgq.drop_capture('nope', 'S x.T\".é'), pgq.drop_capture('other', 'nope')", "(0,0)"},
		{"select pgq.drop_capture('other', 'S x.T\".é')", "(3)"},
		{"select count(*) from pg_proc where proname ~ '^_capture_\\d'", "(1)"},
		{"select pgq.drop_queue('other')", "(1)"},
		{`select pgq.drop_queue('q''"\', true)`, "(1)"},
		{infos, ""},
		{"select count(*) from pg_proc where proname ~ '^_capture_\\d'", "(0)"},
	})
}

func TestGeneratedCaptureObeysQueueAndSession(t *testing.T) {
	conn := installed(t).Conn(t)
	script(t, conn, `
		select pgq.create_queue('q');
		create table e (id int primary key, a text);
		create table nokey (a int);
		create table locked (a int);
		create table parts (id int primary key, a text) partition by range (id);
		create table part1 (a text, id int not null);
		alter table parts attach partition part1 for values from (0) to (10);
		select pgq.create_capture('q', 'public.e', 'x', '{ignore=a}'), pgq.create_capture('q', 'public.nokey', 'x', null),
		       pgq.create_capture('q', 'public.locked', 'x', '{deny}'), pgq.create_capture('q', 'public.parts', 'x', null);`)
	const count = "select count(*) from pgq.event_template"
	run(t, conn, []step{
		{"!insert into locked values (1)", "ERROR Table 'public.locked' to queue 'q': change not allowed (INSERT)"},
		{"!truncate locked", "ERROR Table 'public.locked' to queue 'q': change not allowed (TRUNCATE)"},
		{"!insert into nokey values (1)", ""},
		{"!update nokey set a = 2", "ERROR Update/Delete on table without pkey"},
		{"!delete from nokey", "ERROR Update/Delete on table without pkey"},
		{"!insert into e values (1, 'a'); update e set a = 'b'; update e set a = a", ""},
		{"!update e set id = 2, a = 'c'", "ERROR primary key update not allowed"},
		{count, "(3)"},
		{"!insert into parts values (1, 'one'); update parts set a = 'two'; delete from part1", ""},
		{"select ev_data, ev_extra1 from pgq.event_template where ev_extra1 like '%part%' order by ev_id",
			`("{""id"":1,""a"":""one""}",public.parts)` + "\n" + `("{""id"":1,""a"":""two""}",public.parts)` + "\n" + `("{""id"":1,""a"":""two""}",public.parts)`},
		{"!truncate pgq.event_1_0", ""},

		{"!set session_replication_role = local; insert into e values (11); insert into locked values (2); reset session_replication_role", ""},
		{"!set skytools.replaying = 'q'; insert into e values (12); reset skytools.replaying", ""},
		{"!set session_replication_role = replica; insert into e values (13); reset session_replication_role", ""},
		{count, "(0)"},
		{"!set skytools.replaying = 'p'; insert into e values (14); reset skytools.replaying", ""},
		{count, "(1)"},

		{"!update pgq.queue set queue_disable_insert = true", ""},
		{"!insert into e values (15)", "ERROR Insert into queue disallowed"},
		{"!alter table e enable always trigger x; set session_replication_role = replica; insert into e values (16); reset session_replication_role", ""},
		{count, "(2)"},
		{"!update pgq.queue set queue_disable_insert = false, queue_per_tx_limit = 2", ""},
		{"!insert into e values (21), (22), (23)", "ERROR Queue 'q' allows max 2 events from one TX"},
		{"!insert into e values (21), (22)", ""},
		{"!begin; insert into e values (23); select pgq.insert_event('q', 't', 'd'); insert into e values (24); commit", "ERROR Queue 'q' allows max 2 events from one TX"},
		{"!rollback; update pgq.queue set queue_per_tx_limit = null, queue_rotation_period = '0'", ""},
		{"select pgq.maint_rotate_tables_step1('q')", "(0)"},
		{"!insert into e values (31)", ""},
		{"select ev_data from pgq.event_1_1", `("{""id"":31}")`},
	})
}

// Whoever writes the table needs no right on the queue.
func TestGeneratedCaptureNeedsNoRights(t *testing.T) {
	db := installed(t)
	conn := db.Conn(t)
	script(t, conn, `
		create role nobody_special;
		select pgq.create_queue('q');
		create table e (id int primary key);
		grant insert on e to nobody_special;
		select pgq.create_capture('q', 'public.e', 'x', null);
		set role nobody_special`)
	run(t, conn, []step{
		{"!insert into e values (1)", ""},
		{"select pgq.insert_event('q', 't', 'd')", "ERROR permission denied for function insert_event"},
		{"!reset role; drop owned by nobody_special; drop role nobody_special", ""},
		{"select ev_data from pgq.event_template", `("{""id"":1}")`},
	})
}

// A name of 63 bytes leaves no room for _truncate.
func TestLongTriggerName(t *testing.T) {
	conn := installed(t).Conn(t)
	name := strings.Repeat("é", 31) + "x"
	script(t, conn, "select pgq.create_queue('q'); create table e (id int primary key)")
	run(t, conn, []step{
		{"select pgq.create_capture('q', 'public.e', '" + name + "', null)", "(1)"},
		{"select pgq.create_capture('q', 'public.e', '" + name + "', null)", "(0)"},
		{"select trigger_name from pgq.get_capture_info() order by length(trigger_name)", "(" + strings.Repeat("é", 31) + "x)\n(" + strings.Repeat("é", 27) + "_truncate)"},
	})
}

// catalog reads a catalog query as a planner's observer does.
func catalog[T any](t *testing.T, conn *pg.Conn, q sql.Catalog) []T {
	t.Helper()
	var all []T
	if err := conn.Read(t.Context(), func(tx *pg.Tx) error {
		found, err := tx.Catalog(t.Context(), q)
		for _, row := range found {
			var one T
			decoder := json.NewDecoder(strings.NewReader(string(row)))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&one); err != nil {
				return err
			}
			all = append(all, one)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCatalogs(t *testing.T) {
	db := installed(t)
	conn := db.Conn(t)
	if q, c, k := catalog[pgq.Queue](t, conn, pgq.Queues), catalog[pgq.Consumer](t, conn, pgq.Consumers), catalog[pgq.Capture](t, conn, pgq.Captures); len(q)+len(c)+len(k) > 0 {
		t.Errorf("an empty database has %v %v %v", q, c, k)
	}

	limit := 5
	script(t, conn, `create table e (id int primary key); create schema "s\x"; create table "s\x"."é" (a int)`)
	if err := conn.Write(t.Context(), func(tx *pg.Tx) error {
		_, err := tx.Run(t.Context(),
			pgq.CreateQueue("q 1"), pgq.CreateQueue("other"), pgq.CreateQueue("gone"), pgq.DropQueue("gone", false),
			pgq.SetQueueConfig("q 1", "ticker_max_lag", "1500 milliseconds"), pgq.SetQueueConfig("q 1", "rotation_period", "1 hour"),
			pgq.SetDisableInsert("q 1", true), pgq.SetPerTxLimit("q 1", &limit), pgq.SetPerTxLimit("other", nil),
			pgq.RegisterConsumer("q 1", "b"), pgq.RegisterConsumer("q 1", "a.x"), pgq.RegisterConsumer("q 1", "gone"), pgq.UnregisterConsumer("q 1", "gone"),
			pgq.CreateCapture("q 1", "public.e", "cap", nil), pgq.CreateCapture("other", "public.e", "cap2", []string{"backup"}), pgq.DropCapture("other", "public.e"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	script(t, conn, `create trigger odd before insert on "s\x"."é" for each row execute function pgq.sqltriga('q 1', 'ev_extra1=''é\x''', '', 'SKIP');
		alter table "s\x"."é" enable replica trigger odd`)

	function := one[string](t, conn, "select tgfoid::regproc::text from pg_trigger where tgname = 'cap'")
	function = strings.TrimPrefix(function, "pgq.")
	want := []any{
		[]pgq.Queue{
			{Name: "other", TickerMaxLag: 3, TickerIdlePeriod: 60, RotationPeriod: 7200, TickerMaxCount: 500},
			{Name: "q 1", TickerMaxLag: 1.5, TickerIdlePeriod: 60, RotationPeriod: 3600, TickerMaxCount: 500, DisableInsert: true, PerTxLimit: &limit},
		},
		[]pgq.Consumer{{Queue: "q 1", Name: "a.x", Members: []string{}}, {Queue: "q 1", Name: "b", Members: []string{}}},
		[]pgq.Capture{
			{Queue: "q 1", Table: "public.e", Trigger: "cap", On: "row", Function: function, Args: []string{}, Enabled: "origin", Generated: true, IsCurrent: true},
			{Queue: "q 1", Table: "public.e", Trigger: "cap_truncate", On: "truncate", Function: function, Args: []string{}, Enabled: "origin", Generated: true, IsCurrent: true},
			{Queue: "q 1", Table: `s\x.é`, Trigger: "odd", On: "row", Function: "sqltriga", Args: []string{`ev_extra1='é\x'`, "", "SKIP"}, Enabled: "replica"},
		},
	}
	got := []any{catalog[pgq.Queue](t, conn, pgq.Queues), catalog[pgq.Consumer](t, conn, pgq.Consumers), catalog[pgq.Capture](t, conn, pgq.Captures)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFacts(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('q'), pgq.register_consumer('q', 'slow')", "(1,1)"},
		{"select pgq.ticker('q')", "(2)"},
		{"select pgq.register_consumer('q', 'fast')", "(1)"},
		{"select count(pgq.insert_event('q', 't', 'd')) from generate_series(1, 5)", "(5)"},
		{"!update pgq.tick set tick_time = now() - interval '20 seconds'", ""},
		{"!update pgq.queue set queue_rotation_period = '1 minute', queue_switch_time = now() - interval '2 minutes'", ""},
	})
	queues := catalog[pgq.QueueFact](t, conn, pgq.QueueFacts)
	if len(queues) != 1 {
		t.Fatalf("%d queues", len(queues))
	}
	if q := queues[0]; *q.EvNew != 4 || *q.LastTickID != 2 || *q.TickerLag < 20 || *q.TickerLag > 60 || *q.Bytes < 8192 {
		t.Errorf("queue: %+v", q)
	}
	consumers := catalog[pgq.ConsumerFact](t, conn, pgq.ConsumerFacts)
	if len(consumers) != 2 {
		t.Fatalf("%d consumers", len(consumers))
	}
	if fast := consumers[0]; fast.Name != "fast" || *fast.Pending != 0 || fast.Slowest || fast.HoldsBack != 0 {
		t.Errorf("fast: %+v", fast)
	}
	if slow := consumers[1]; slow.Name != "slow" || *slow.Lag < 20 || !slow.Slowest || slow.HoldsBack < 60 {
		t.Errorf("slow: %+v", slow)
	}
}

// A table that is altered goes on being captured as it is now, before anybody has
// renewed its capture; and quickly again afterwards.
func TestCaptureOfAnAlteredTable(t *testing.T) {
	for _, options := range [][]string{nil, {"statement"}, {"backup", "ignore=b"}, {"statement", "backup", "ignore=b"}, {"statement", "when=id < 100"}} {
		conn := installed(t).Conn(t)
		script(t, conn, "select pgq.create_queue('q %s %1$s'), pgq.create_queue('generic'); create table e (id int primary key, a int, b text)")
		args := array(options)
		run(t, conn, []step{{"select pgq.create_capture('q %s %1$s', 'public.e', 'x', " + args + ")", "(1)"}})
		generic := "'generic'"
		for _, o := range options {
			if o != "statement" {
				generic += ", " + sql.Literal(o)
			}
		}
		script(t, conn, "create trigger g after insert or update or delete on e for each row execute function pgq.jsontriga("+generic+")")
		written := func(queue int) []string {
			return rows(t, conn, fmt.Sprintf("select jsonb_build_array(ev_type, ev_data, ev_extra1, ev_extra2)::text from pgq.event_%d order by ev_id", queue))
		}
		for _, alter := range []string{
			"alter table e add column c timestamptz default '2026-01-02 03:04:05+00'",
			"alter table e alter column a type text",
			"alter table e drop column c",
			"alter table e rename column a to aa",
			"alter table e rename to f; alter table f rename to e",
			"delete from e; alter table e drop constraint e_pkey, add primary key (id, aa)",
		} {
			script(t, conn, alter)
			script(t, conn, `insert into e select i from generate_series(1, 3) i where false; delete from e;`)
			if strings.Contains(alter, "pkey") {
				continue
			}
			script(t, conn, "insert into e (id) values (7), (8); update e set b = 'x' where id = 7; update e set b = b || 'y'; delete from e where id = 8")
			if diff := cmp.Diff(written(2), written(1)); diff != "" {
				t.Errorf("%s after %s (-generic +generated):\n%s", args, alter, diff)
			}
		}
		run(t, conn, []step{{"select pgq.create_capture('q %s %1$s', 'public.e', 'x', " + args + ")", "(1)"}})
		script(t, conn, "insert into e (id, aa) values (9, 'k'); update e set b = 'z'")
		if diff := cmp.Diff(written(2), written(1)); diff != "" || len(written(1)) < 25 {
			t.Errorf("%s renewed, %d events (-generic +generated):\n%s", args, len(written(1)), diff)
		}
	}
}
