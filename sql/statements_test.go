package sql_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql"
)

func TestStatements(t *testing.T) {
	for _, c := range []struct {
		script string
		want   []sql.Statement
	}{
		{"", nil},
		{" ;; -- nothing\n/* /* ; */ ; */", nil},
		{"select 1", []sql.Statement{{"select 1", 1}}},
		{"select 1; select 2;", []sql.Statement{{"select 1", 1}, {"select 2", 1}}},
		{"-- one\nselect ';' || e'\\';' || \"a;\"\"\" ;\n\n/* ; */ select $$;$$, $a$ ; $$ $a$", []sql.Statement{
			{`select ';' || e'\';' || "a;"""`, 2}, {"select $$;$$, $a$ ; $$ $a$", 4}}},
		{"create rule r as on insert to t do also (insert into a values (1); insert into b values (2)); select 3", []sql.Statement{
			{"create rule r as on insert to t do also (insert into a values (1); insert into b values (2))", 1}, {"select 3", 1}}},
		{"create function f() returns int begin atomic select case when true then 1 end; select 2; END; select 4", []sql.Statement{
			{"create function f() returns int begin atomic select case when true then 1 end; select 2; END", 1}, {"select 4", 1}}},
		{"prepare p as select $1; execute p(1)", []sql.Statement{{"prepare p as select $1", 1}, {"execute p(1)", 1}}},
		{"select 'no end; select 2", []sql.Statement{{"select 'no end; select 2", 1}}},
		{"select $x$no end; select 2", []sql.Statement{{"select $x$no end; select 2", 1}}},
		{"select 1 as straße$x; select a$b$c from t; select 2", []sql.Statement{{"select 1 as straße$x", 1}, {"select a$b$c from t", 1}, {"select 2", 1}}},
	} {
		if diff := cmp.Diff(c.want, sql.Statements(c.script)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.script, diff)
		}
	}
}

func TestStatementsThatEndTransactions(t *testing.T) {
	for text, want := range map[string]bool{
		"BEGIN": true, "begin work": true, "Start Transaction": true, "commit and chain": true, "END": true, "rollback to x": true,
		"abort": true, "savepoint s": true, "release s": true, "prepare transaction 'x'": true, "commit prepared 'x'": true,
		"prepare p as select 1": false, "select 1": false, "": false, "do $$ begin commit; end $$": false, "create table commit_log ()": false,
	} {
		if got := (sql.Statement{Text: text}).Ends(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// Whatever the text is, every statement is a part of it, in order, and the rest is
// spaces, comments and semicolons.
func FuzzStatements(f *testing.F) {
	for _, text := range []string{"select 1;", "/*", "$$;", "e'\\", "begin atomic end;", "\"a;", "--\r;", "x$$;$$"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rest, line := text, 1
		for _, s := range sql.Statements(text) {
			at := strings.Index(rest, s.Text)
			if at < 0 || strings.TrimSpace(s.Text) == "" {
				t.Fatalf("%q is not in %q", s.Text, rest)
			}
			if line += strings.Count(rest[:at], "\n"); s.Line < line {
				t.Fatalf("%q begins in line %d, not in %d", s.Text, line, s.Line)
			}
			line += strings.Count(s.Text, "\n")
			rest = rest[at+len(s.Text):]
		}
	})
}
