package pgq_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql/pg"
)

func file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const events = "select jsonb_build_array(ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4)::text from pgq.event_template order by ev_id"

func rows(t *testing.T, conn *pg.Conn, query string) []string {
	t.Helper()
	all, err := pg.Rows[string](t.Context(), conn, query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return all
}

// The golden file is what the C functions of PgQ 3.5 wrote.
func TestTriggersWriteWhatTheOriginalsWrote(t *testing.T) {
	conn := installed(t).Conn(t)
	script(t, conn, "set timezone = 'UTC'; select pgq.create_queue('q');")
	for _, name := range []string{"types.sql", "triggers.sql", "changes.sql"} {
		script(t, conn, file(t, name))
	}
	want := strings.Split(strings.TrimSpace(file(t, "events.golden")), "\n")
	if diff := cmp.Diff(want, rows(t, conn, events)); diff != "" {
		t.Error(diff)
	}
}

// Source: contract/pgq.md section 7.2, the table of examples.
func TestTriggerExamples(t *testing.T) {
	conn := installed(t).Conn(t)
	script(t, conn, `
		select pgq.create_queue('q');
		create table acct (id int primary key, name text, amt numeric, ok bool);
		create trigger a after insert or update or delete on acct for each row execute function pgq.logutriga('q');
		create trigger b after insert or update or delete on acct for each row execute function pgq.jsontriga('q');
		create trigger c after insert or update or delete on acct for each row execute function pgq.sqltriga('q');
		create trigger d after truncate on acct for each statement execute function pgq.logutriga('q');
		create trigger e after truncate on acct for each statement execute function pgq.jsontriga('q');
		create trigger f after truncate on acct for each statement execute function pgq.sqltriga('q')`)
	json := func(op string) string { return `{"op":"` + op + `","table":["public","acct"],"pkey":["id"]}` }
	for _, c := range []struct {
		change string
		want   []string
	}{
		{"insert into acct values (7, 'A&B c', 1.50, true)", []string{
			"I:id / id=7&name=A%26B+c&amt=1.50&ok=t",
			json("INSERT") + ` / {"id":7,"name":"A&B c","amt":"1.50","ok":true}`,
			"I / (id,name,amt,ok) values ('7','A&B c','1.50','t')"}},
		{"insert into acct values (8, null, null, false)", []string{
			"I:id / id=8&name&amt&ok=f",
			json("INSERT") + ` / {"id":8,"name":null,"amt":null,"ok":false}`,
			"I / (id,name,amt,ok) values ('8',null,null,'f')"}},
		{"update acct set name = null where id = 7", []string{
			"U:id / id=7&name&amt=1.50&ok=t",
			json("UPDATE") + ` / {"id":7,"name":null,"amt":"1.50","ok":true}`,
			"U / name=NULL where id='7'"}},
		{"update acct set ok = ok where id = 7", []string{
			"U:id / id=7&name&amt=1.50&ok=t",
			json("UPDATE") + ` / {"id":7,"name":null,"amt":"1.50","ok":true}`,
			"U / id='7' where id='7'"}},
		{"delete from acct where id = 7", []string{
			"D:id / id=7&name&amt=1.50&ok=t",
			json("DELETE") + ` / {"id":7,"name":null,"amt":"1.50","ok":true}`,
			"D / id='7'"}},
		{"truncate acct", []string{"R / ", json("TRUNCATE") + " / {}", "R / "}},
	} {
		script(t, conn, "truncate pgq.event_1_0; "+c.change)
		got := rows(t, conn, "select ev_type || ' / ' || ev_data from pgq.event_template where ev_extra1 = 'public.acct' order by ev_id")
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", c.change, diff)
		}
	}
}

// Options and their errors, for the functions that every table can have.
// Source: contract/pgq.md sections 7.1, 7.3, 7.4, 7.5, 7.7.
func TestTriggerOptions(t *testing.T) {
	conn := installed(t).Conn(t)
	script(t, conn, `
		select pgq.create_queue('q');
		create table e (id int primary key, a text, "Mixed" text, "user" text);
		create table nokey (a int);
		create table magic (id int primary key, _pgq_ev_type text, a text, _pgq_ev_extra4 text);
		create table badmagic (id int primary key, _pgq_ev_foo int);
		create table renamed (a int, b int, c int, primary key (b, a) include (c));
		alter table renamed rename a to "A"`)
	const (
		rowwise  = "after insert or update or delete on %s for each row"
		before   = "before insert or update or delete on %s for each row"
		truncate = "after truncate on %s for each statement"
		life     = "insert into e values (1, 'a', 'Mi', 'us'); update e set a = 'b'; delete from e"
	)
	for _, c := range []struct {
		trigger, table, args string
		change               string
		columns              string // of the events that are expected, and
		want                 string // what is in them; or the error
	}{
		{rowwise, "e", "", life, "", "ERROR pgq trigger must have destination queue as argument"},
		{rowwise, "e", "'q', 'foo'", life, "", "ERROR bad param to pgq trigger"},
		{rowwise, "e", "'q', 'foo=1'", life, "", "ERROR bad param to pgq trigger"},
		{rowwise, "e", "'q', 'skip'", life, "", "ERROR bad param to pgq trigger"},
		{rowwise, "e", "'q', 'SKIP'", life, "", "ERROR SKIP does not work in AFTER trigger."},
		{rowwise, "e", "'q', 'deny'", life, "", "ERROR Table 'public.e' to queue 'q': change not allowed (INSERT)"},
		{"after update on %s for each statement", "e", "'q'", life, "", "ERROR pgq Ins/Upd/Del trigger must be fired FOR EACH ROW"},
		{truncate, "e", "'q', 'deny'", "truncate e", "", "ERROR Table 'public.e' to queue 'q': change not allowed (TRUNCATE)"},
		{truncate, "e", "'q', 'ignore=a'", "truncate e", "", "ERROR Column ignore does not make sense for truncate trigger"},
		{truncate, "e", "'q', 'pkey=a'", "truncate e", "", "ERROR Custom pkey_list does not make sense for truncate trigger"},
		{truncate, "e", "'q', 'backup'", "truncate e", "", "ERROR Backup does not make sense for truncate trigger"},
		{truncate, "e", "'q', 'when=true'", "truncate e", "", "ERROR Custom expressions do not make sense for truncate trigger"},
		{rowwise, "badmagic", "'q'", "insert into badmagic values (1)", "", "ERROR Unknown magic column: _pgq_ev_foo"},

		{rowwise, "nokey", "'q'", "insert into nokey values (1)", "ev_type", "I:"},
		{rowwise, "nokey", "'q'", "insert into nokey values (1); update nokey set a = 2", "", "ERROR Update/Delete on table without pkey"},
		{rowwise, "nokey", "'q', 'pkey=a'", "insert into nokey values (1); update nokey set a = a", "ev_type", "I:a\nU:a"},
		{rowwise, "e", "'q', 'pkey=id, user'", life, "ev_type", "I:id, user\nU:id, user\nD:id, user"},
		{rowwise, "e", "'q'", "insert into e values (1); update e set id = 2", "", "ERROR primary key update not allowed"},
		{rowwise, "e", "'q', 'ignore=a'", "insert into e values (1); update e set a = 'z', id = 2", "", "ERROR primary key update not allowed"},
		{rowwise, "renamed", "'q'", "insert into renamed values (1, 2, 3); update renamed set c = 4", "ev_type", "I:b,A\nU:b,A"},

		{rowwise, "e", "'q', 'when=null::bool'", life, "", "ERROR when= should not be NULL"},
		{rowwise, "e", "'q', 'when=1'", life, "", "ERROR argument of CASE/WHEN must be type boolean, not type integer"},
		{rowwise, "e", "'q', 'when=a <> ''b'''", life, "ev_type", "I:id"},
		{rowwise, "e", "'q', 'ignore=a'", life, "ev_type, ev_data", "I:id / id=1&Mixed=Mi&user=us\nD:id / id=1&Mixed=Mi&user=us"},
		{rowwise, "e", "'q', 'ignore=a'", "insert into e values (1); update e set a = a; update e set a = 'x'", "ev_type", "I:id\nU:id"},
		{rowwise, "e", "'q', 'backup'", life, "ev_extra2", "-\nid=1&a=a&Mixed=Mi&user=us\n-"},
		{rowwise, "e", `'q', 'ev_type=NULL', 'ev_data=lower(Mixed) || r.a', 'ev_extra1=id + 1', 'ev_extra2=user', 'ev_extra3="Mixed"', 'ev_extra4=''user'''`, "insert into e values (1, 'a', 'Mi', 'us')",
			"ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4", "- / mia / 2 / us / Mi / user"},
		{rowwise, "magic", "'q'", "insert into magic values (1, 'T', 'a', null), (2, null, null, 'four')", "ev_type, ev_data, ev_extra4", "T / id=1&a=a / -\n- / id=2&a / four"},
		{rowwise, "magic", "'q', 'ignore=a'", "insert into magic values (1, 'T'); update magic set _pgq_ev_extra4 = 'x'", "ev_type", "T"},

		{before, "e", "'q'", life, "ev_type", "I:id\nU:id\nD:id"},
		{"before update on %s for each row", "e", "'q', 'SKIP'", "insert into e values (1, 'a'); update e set a = 'b'", "ev_data, (select a from e)", "id=1&a=b&Mixed&user / a"},
		{before, "e", "'q', 'SKIP', 'when=false'", "insert into e values (1, 'a')", "ev_type", ""},
		{truncate, "e", "'q'", "truncate e", "ev_type, ev_data, ev_extra1", "R /  / public.e"},

		// Quiet sessions: 7.6.
		{before, "e", "'q', 'SKIP', 'deny'", "set local session_replication_role = local; " + life, "ev_type", ""},
		{rowwise, "e", "'q'", "set local skytools.replaying = 'q'; " + life, "ev_type", ""},
		{rowwise, "e", "'q'", "set local skytools.replaying = 'p'; " + life, "ev_type", "I:id\nU:id\nD:id"},
	} {
		script(t, conn, "begin; create trigger x "+fmt.Sprintf(c.trigger, c.table)+" execute function pgq.logutriga("+c.args+")")
		got := message(conn.Script(t.Context(), c.change))
		if got == "" && c.columns != "" {
			fields := regexp.MustCompile(`ev_\w+`).ReplaceAllString(c.columns, "coalesce($0, '-')")
			got = strings.Join(rows(t, conn, "select concat_ws(' / ', "+fields+") from pgq.event_template order by ev_id"), "\n")
		}
		script(t, conn, "rollback")
		if got != c.want {
			t.Errorf("%s(%s): %s:\n%s", fmt.Sprintf(c.trigger, c.table), c.args, c.change, cmp.Diff(c.want, got))
		}
	}
}

// A trigger that is enabled always writes even into a closed queue, as a replica.
func TestTriggerAsReplica(t *testing.T) {
	conn := installed(t).Conn(t)
	script(t, conn, `
		select pgq.create_queue('q');
		update pgq.queue set queue_disable_insert = true;
		create table e (id int primary key);
		create trigger x after insert on e for each row execute function pgq.logutriga('q');`)
	run(t, conn, []step{
		{"!insert into e values (1)", "ERROR Insert into queue disallowed"},
		{"!set session_replication_role = replica; insert into e values (2)", ""},
		{"select count(*) from pgq.event_template", "(0)"},
		{"!alter table e enable always trigger x; insert into e values (3)", ""},
		{"select ev_data from pgq.event_template", "(id=3)"},
	})
}
