package sql_test

import (
	"strings"
	"testing"

	"github.com/skytools-go/skytools/sql"
)

func TestTemplate(t *testing.T) {
	hostile := `public."it's \ ""me"""`
	texts := map[string]string{"part": "public.orders_2026", "bad": hostile, "quote": `public."it's"`}
	for template, want := range map[string]string{
		"create table %(part)s (x text default '50 %%')": "create table public.orders_2026 (x text default '50 %')",
		"select 'x %(part)s', E'\\'%(quote)s'":           `select 'x public.orders_2026', E'\'public."it''s"'`,
		"grant all on %(bad)s to x":                      "grant all on " + hostile + " to x",
		"do $$ begin lock %(part)s; end $$ -- %(part)s":  "do $$ begin lock public.orders_2026; end $$ -- public.orders_2026",
		"%(part)s_idx": "public.orders_2026_idx",
	} {
		if err := sql.Template(template).Check([]string{"part", "bad", "quote"}); err != nil {
			t.Errorf("%s: %v", template, err)
		}
		if got, err := sql.Template(template).Fill(texts); err != nil || got != want {
			t.Errorf("%s: got %s, %v", template, got, err)
		}
	}
	for template, want := range map[string]string{
		"select '%(bad)s'":                     "stands within quotes",
		`select "%(quote)s"`:                   "stands within quotes",
		"do $x$ begin lock %(quote)s; end $x$": "stands within quotes",
		"select 1 -- %(quote)s":                "stands within quotes",
		"select 1 /* /* */ %(quote)s */":       "stands within quotes",
		"select $$ %(quote)s":                  "stands within quotes",
		"%(none)s":                             "has no text here",
	} {
		if got, err := sql.Template(template).Fill(texts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %s, %v", template, got, err)
		}
	}
	for template, want := range map[string]string{
		"select 5 % 2":            "written twice",
		"%(part)d":                "written twice",
		"%(table)s":               "is none of part, bad",
		"select 1; commit":        "cannot begin or end",
		"/* x */ ROLLBACK; a":     "cannot begin or end",
		"select 1;\nbegin;":       "cannot begin or end",
		"select '\x00'":           "zero byte",
		"%(part)s; savepoint x; ": "cannot begin or end",
	} {
		if err := sql.Template(template).Check([]string{"part", "bad"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", template, err)
		}
	}
}
