package tablecopy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
)

func relation(partitioned bool, columns ...replay.Column) *replay.Relation {
	return &replay.Relation{Partitioned: partitioned, Columns: columns}
}

func TestCommands(t *testing.T) {
	id, name := replay.Column{Name: "id", Base: "int4"}, replay.Column{Name: "a name", Base: "text"}
	money, twice := replay.Column{Name: "m", Base: "money"}, replay.Column{Name: "twice", Base: "int4", Generated: true}
	written := replay.Column{Name: "twice", Base: "int4"}
	for _, c := range []struct {
		label        string
		where        string
		dest, source *replay.Relation
		part         pages
		freeze       bool
		out, in      string
	}{
		{"binary", "", relation(false, name, id), relation(false, id, name), pages{}, false,
			`copy "public"."t" ("id", "a name") to stdout (format binary)`, `copy "here"."t" ("id", "a name") from stdin (format binary)`},
		{"text", "", relation(false, id, money), relation(false, id, money), pages{}, false,
			`copy "public"."t" ("id", "m") to stdout`, `copy "here"."t" ("id", "m") from stdin`},
		{"one side only", "", relation(false, id, name), relation(false, money, id), pages{}, false,
			`copy "public"."t" ("id") to stdout (format binary)`, `copy "here"."t" ("id") from stdin (format binary)`},
		{"condition", "id > 1 -- all", relation(false, id), relation(false, id), pages{}, false,
			"copy (select r.\"id\" from only \"public\".\"t\" r where (\nid > 1 -- all\n)) to stdout (format binary)", `copy "here"."t" ("id") from stdin (format binary)`},
		{"partitioned", "", relation(true, id), relation(true, id), pages{}, false,
			`copy (select r."id" from "public"."t" r) to stdout (format binary)`, `copy "here"."t" ("id") from stdin (format binary)`},
		{"generated there", "", relation(false, id, written), relation(false, id, twice), pages{}, false,
			`copy (select r."id", r."twice" from only "public"."t" r) to stdout (format binary)`, `copy "here"."t" ("id", "twice") from stdin (format binary)`},
		{"generated here", "", relation(false, id, twice), relation(false, id, twice), pages{}, false,
			`copy "public"."t" ("id") to stdout (format binary)`, `copy "here"."t" ("id") from stdin (format binary)`},
		{"frozen", "", relation(false, id), relation(false, id), pages{}, true,
			`copy "public"."t" ("id") to stdout (format binary)`, `copy "here"."t" ("id") from stdin (format binary, freeze)`},
		{"frozen text", "", relation(false, money), relation(false, money), pages{}, true,
			`copy "public"."t" ("m") to stdout`, `copy "here"."t" ("m") from stdin (freeze)`},
		{"first part", "", relation(false, id), relation(false, id), pages{0, 7}, false,
			`copy (select r."id" from only "public"."t" r where ctid >= '(0,0)' and ctid < '(7,0)') to stdout (format binary)`, `copy "here"."t" ("id") from stdin (format binary)`},
		{"last part", "true", relation(false, id), relation(false, id), pages{7, 0}, false,
			"copy (select r.\"id\" from only \"public\".\"t\" r where ctid >= '(7,0)' and (\ntrue\n)) to stdout (format binary)", `copy "here"."t" ("id") from stdin (format binary)`},
	} {
		got, err := newCommands(&replay.Table{Dest: sql.ParseName("here.t"), Where: c.where}, c.dest, c.source, sql.ParseName("public.t"))
		if err != nil {
			t.Errorf("%s: %v", c.label, err)
			continue
		}
		if diff := cmp.Diff([]string{c.out, c.in}, []string{got.out(c.part), got.in(c.freeze)}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.label, diff)
		}
	}
	if _, err := newCommands(&replay.Table{Dest: sql.ParseName("here.t")}, relation(false, id), relation(false, name), sql.ParseName("public.t")); err == nil {
		t.Error("tables without a common column are copied")
	}
}

func TestBinarySafe(t *testing.T) {
	for _, c := range []struct {
		there, here string
		safe        bool
	}{
		{"int4", "int4", true}, {"_int4", "_int4", true}, {"enum", "enum", true}, {"jsonb", "jsonb", true}, {"numrange", "numrange", true},
		{"int4", "int8", false}, {"text", "varchar", false}, {"money", "money", false}, {"xml", "xml", false},
		{"regclass", "regclass", false}, {"record", "record", false}, {"", "", false}, {"_", "_", false}, {"enum", "text", false}, {"_enum", "_enum", false},
	} {
		got := binarySafe([]replay.Filled{{Column: &replay.Column{Base: c.here}, Origin: &replay.Column{Base: c.there}}})
		if got != c.safe {
			t.Errorf("%q to %q: %v", c.there, c.here, got)
		}
	}
}
