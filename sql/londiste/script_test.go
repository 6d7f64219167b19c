package londiste_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
)

func TestScriptHeader(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"select 1", ""},
		{"\n-- about\n--*-- Local-Table: a, s.b\n\n-- more\n--*-- Need-View: v\nselect 1;\n--*-- Nonsense", "local-table=a%2C+s.b&need-view=v"},
		{"--*-- Local-Table: a,\n--*--   b,\n-- in between\n--*--   c\n", "local-table=a%2Cb%2Cc"},
		{"--*-- local-table: a\r\n--*-- LOCAL-TABLE: b\r\nselect 1", "local-table=a%2Cb"},
		{"--*-- Local-Tables: a", `! line 1: --*-- begins a condition, and there is none called "local-tables"`},
		{"-- x\n--*-- nothing", `! line 2: --*-- begins a condition, and there is none called "nothing"`},
		{"--*-- Local-Table:\nselect 1", "! line 1: condition local-table names nothing"},
		{"--*-- Local-Table: a,\nselect 1", "! condition local-table ends with a comma"},
	} {
		s, err := londiste.ParseScript("x.sql", c.text)
		got := s.When.String()
		if err != nil {
			got = "! " + err.Error()
		}
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%q:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

func FuzzScriptHeader(f *testing.F) {
	f.Add("--*-- Local-Table: a,\n--*-- b\nselect @a@")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := londiste.ParseScript("x.sql", text); err == nil {
			if _, err := s.Condition("q"); err != nil {
				t.Error(err)
			}
			s.Here(nil)
		}
	})
}

func TestScriptHere(t *testing.T) {
	s, err := londiste.ParseScript("x.sql", "--*-- Local-Table: orders, s.b\nalter table @orders@ add x int; drop table @s.b@, @other@")
	if err != nil {
		t.Fatal(err)
	}
	got := s.Here(map[string]sql.Name{"orders": {Schema: "eu", Rel: `we"ird; drop table x`}})
	_, got, _ = strings.Cut(got, "\n")
	if diff := cmp.Diff(`alter table "eu"."we""ird; drop table x" add x int; drop table "s"."b", @other@`, got); diff != "" {
		t.Error(diff)
	}
}

// Every kind of condition, met and not; and one that is both.
func TestScriptConditions(t *testing.T) {
	n := newNode(t)
	n.root("q")
	n.run(`create table t (id int primary key); create sequence s; create view v as select 1; create materialized view m as select 1;
		create schema "odd""; one"; create function f(int, int) returns int language sql as 'select 1'; create table other (id int);
		create table "it's" (id int primary key)`)
	n.codes(step{"200", londiste.LocalAddTable("q", "public.t", londiste.AddTable{})}, step{"200", londiste.LocalAddSeq("q", "public.s")},
		step{"200", londiste.LocalAddTable("q", "public.it's", londiste.AddTable{})})
	for when, want := range map[string]string{
		"local-table: t": "true", "local-table: public.t, t, it's": "true", "local-table: other": "false", "local-table: t, other": "",
		"local-sequence: s": "true", "local-sequence: t": "false",
		"local-destination: t": "true", "local-destination: other": "false",
		"need-table: other": "true", "need-table: v": "false",
		"need-sequence: s": "true", "need-sequence: nope": "false",
		"need-view: v, m": "true", "need-view: t": "false",
		`need-schema: odd"; one`: "true", "need-schema: public.x": "false",
		"need-function: f(2)": "true", "need-function: f": "false", "need-function: public.f(2)": "true",
		"need-table: nope, other": "",
	} {
		s, err := londiste.ParseScript("x.sql", "--*-- "+when)
		if err != nil {
			t.Fatal(err)
		}
		query, err := s.Condition("q")
		if err != nil {
			t.Fatal(err)
		}
		n.is(want, "select coalesce(("+query+")::text, '')")
	}
}
