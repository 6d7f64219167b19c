package sql

import "testing"

func TestIdentAndLiteral(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Ident(`we"ird; drop table x`), `"we""ird; drop table x"`},
		{Ident("a", "b.c"), `"a"."b.c"`},
		{Ident("nul\x00"), `"nul"`},
		{Literal("it's"), `'it''s'`},
		{Literal(`back\slash`), `E'back\\slash'`},
		{ParseName("a.b.c").Ident(), `"a"."b.c"`},
		{ParseName("t").String(), "public.t"},
		{Exec("select f($1, $2, $10)", "x", nil).Pasteable(), "select f('x', null, $10);"},
		{Exec("select $1, $2", "has $2 in it", 7).Pasteable(), "select 'has $2 in it', 7;"},
		{Exec("select $1", []string{"a", "b'"}).Pasteable(), "select array['a', 'b''']::text[];"},
		{Exec("select $1", map[string]any{"input": "tick"}).Pasteable(), "select :'tick';"},
	} {
		if c.got != c.want {
			t.Errorf("got %s; want %s", c.got, c.want)
		}
	}
}
