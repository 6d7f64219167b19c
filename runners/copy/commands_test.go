package tablecopy

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

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

func TestLimit(t *testing.T) {
	l, now := NewLimit(1000), time.Now()
	l.take(100, now) // what was not used for a while
	for i, want := range []time.Duration{500, 1000, 1500} {
		if got := l.take(500, now); got != want*time.Millisecond {
			t.Errorf("take %d waits %s", i, got)
		}
	}
	if got := l.take(500, now.Add(time.Hour)); got > 500*time.Millisecond {
		t.Errorf("after a long time it waits %s", got)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		bytes, piece int64
		want         []pages
	}{
		{-1, 8192, []pages{{0, 0}}}, {0, 8192, []pages{{0, 0}}}, {8192, 8192, []pages{{0, 0}}},
		{3 * 8192, 8192, []pages{{0, 1}, {1, 2}, {2, 0}}}, {5 * 8192, 2*8192 + 1, []pages{{0, 2}, {2, 4}, {4, 0}}}, {2 * 8192, 1, []pages{{0, 1}, {1, 0}}},
	} {
		if diff := cmp.Diff(c.want, cut(c.bytes, c.piece, 8192)); diff != "" {
			t.Errorf("%d by %d (-want +got):\n%s", c.bytes, c.piece, diff)
		}
	}
	if n := len(cut(1<<40, 128<<20, 8192)); n > piecesAtMost+1 {
		t.Errorf("%d pieces", n)
	}
}

func TestDropped(t *testing.T) {
	a := index{"a", "drop a", "create a", "do\n$x$ -- indexes [] $x$"}
	d := newDropped(&dropped{Indexes: []index{a, {Name: "b"}}}, 7, []index{{Name: "b", Create: "b again"}})
	text, err := d.text()
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseDropped(text + "-- piece 0: 3 rows\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]index{a, {Name: "b", Create: "b again"}}, got.Indexes); diff != "" {
		t.Errorf("indexes (-want +got):\n%s", diff)
	}
	if got, err := parseDropped("create index x on y (z)"); got != nil || err != nil {
		t.Errorf("of another program: %v, %v", got, err)
	}
}

func TestPipe(t *testing.T) {
	p := newPipe()
	row := bytes.Repeat([]byte("x"), 1000)
	go func() {
		for range 5000 {
			if _, err := p.Write(row); err != nil {
				t.Error(err)
			}
		}
		p.Write(bytes.Repeat([]byte("y"), 3*chunkBytes)) // a row larger than a chunk
		p.finish(nil)
	}()
	all, err := io.ReadAll(p)
	if err != nil || len(all) != 5000*1000+3*chunkBytes {
		t.Errorf("%d bytes, %v", len(all), err)
	}
	p = newPipe()
	go p.finish(errors.New("lost"))
	if _, err := io.ReadAll(p); err == nil || err.Error() != "lost" {
		t.Errorf("an error of the sender is %v", err)
	}
	p = newPipe()
	p.stop()
	for range 20 * chunkBytes / len(row) {
		if _, err = p.Write(row); err != nil {
			break
		}
	}
	if !errors.Is(err, errReceiver) {
		t.Errorf("without a receiver: %v", err)
	}
}
