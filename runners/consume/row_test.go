package consume_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
)

func text(s string) *string { return &s }

// The formats are those of contract/pgq.md section 7.2.
func TestRow(t *testing.T) {
	values := map[string]*string{"id": text("7"), "name": text("A&B c"), "amt": text("1.50"), "none": nil, "empty": text("")}
	for _, c := range []struct {
		event consume.Event
		want  consume.Row
	}{
		{consume.Event{Type: "I:id", Data: "id=7&name=A%26B+c&amt=1.50&none&empty=", Extra1: "public.acct"},
			consume.Row{Op: "INSERT", Schema: "public", Table: "acct", Key: []string{"id"}, Values: values}},
		{consume.Event{Type: "U:id,b%20c", Data: "id=7&name=A%26B+c&amt=1.50&none&empty=", Extra1: "acct"},
			consume.Row{Op: "UPDATE", Schema: "public", Table: "acct", Key: []string{"id", "b c"}, Values: values}},
		{consume.Event{Type: `{"op":"DELETE","table":["s.x","we\"ird"],"pkey":["id"]}`, Extra1: "s.x.other",
			Data: `{"id":7,"name":"A\u0026B c","amt":"1.50","none":null,"empty":""}`},
			consume.Row{Op: "DELETE", Schema: "s.x", Table: `we"ird`, Key: []string{"id"}, Values: values}},
		{consume.Event{Type: `{"op":"INSERT","table":["s","t"],"pkey":[]}`, Data: `{"ok":true,"n":-1,"x\"y":"ö\n"}`},
			consume.Row{Op: "INSERT", Schema: "s", Table: "t", Key: []string{}, Values: map[string]*string{"ok": text("true"), "n": text("-1"), `x"y`: text("ö\n")}}},
		{consume.Event{Type: `{"op":"TRUNCATE","table":["s","t"],"pkey":["id"]}`, Data: `{}`},
			consume.Row{Op: "TRUNCATE", Schema: "s", Table: "t", Key: []string{"id"}, Values: map[string]*string{}}},
		{consume.Event{Type: "R", Extra1: "s.t"}, consume.Row{Op: "TRUNCATE", Schema: "s", Table: "t", Values: map[string]*string{}}},
		{consume.Event{Type: "I:", Data: "id=8", Extra1: "s.t"}, consume.Row{Op: "INSERT", Schema: "s", Table: "t", Values: map[string]*string{"id": text("8")}}},
		{consume.Event{Type: "U", Data: "name=NULL where id='7'", Extra1: "s.t"},
			consume.Row{Op: "UPDATE", Schema: "s", Table: "t", Key: []string{"id"}, Values: map[string]*string{"id": text("7"), "name": nil}}},
	} {
		got, err := c.event.Row()
		if err != nil {
			t.Errorf("%s %s: %v", c.event.Type, c.event.Data, err)
			continue
		}
		if diff := cmp.Diff(&c.want, got); diff != "" {
			t.Errorf("%s %s:\n%s", c.event.Type, c.event.Data, diff)
		}
	}
}

func TestMalformedEventsAreErrors(t *testing.T) {
	for _, c := range []struct {
		event consume.Event
		want  string
	}{
		{consume.Event{Type: "note", Data: "x"}, `"note" is not one that a trigger writes`},
		{consume.Event{Null: consume.Type}, "is not one that a trigger writes"},
		{consume.Event{Type: "I:id", Data: "id=%4", Extra1: "t"}, "percent sign"},
		{consume.Event{Type: "I:%zz", Data: "id=4", Extra1: "t"}, "key column"},
		{consume.Event{Type: "I:id", Data: "id=1&id=2", Extra1: "t"}, `"id" stands there twice`},
		{consume.Event{Type: "I:id", Extra1: "t"}, "there is none"},
		{consume.Event{Type: "I:id", Data: "id=1"}, "names a table"},
		{consume.Event{Type: `{"op":"MERGE"}`, Data: "{}", Extra1: "t"}, `unknown operation "MERGE"`},
		{consume.Event{Type: `{"op":`, Data: "{}", Extra1: "t"}, "unexpected end"},
		{consume.Event{Type: `{"op":"INSERT"}`, Data: `{"a":1`, Extra1: "t"}, "not a JSON object"},
		{consume.Event{Type: `{"op":"INSERT"}`, Data: `{"a":tru}`, Extra1: "t"}, "not a JSON object"},
		{consume.Event{Type: `{"op":"INSERT"}`, Data: `[1]`, Extra1: "t"}, "not a JSON object"},
		{consume.Event{Type: `{"op":"INSERT"}`, Data: `{"a":1,"a":2}`, Extra1: "t"}, "twice"},
		{consume.Event{Type: "I", Data: "nonsense", Extra1: "t"}, "nonsense"},
	} {
		c.event.ID = 77
		if _, err := c.event.Row(); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "event 77: ") {
			t.Errorf("%s %s: %v; want %q", c.event.Type, c.event.Data, err, c.want)
		}
	}
	var order struct{ ID int64 }
	e := consume.Event{ID: 77, Data: `{"id":"x"}`}
	if err := e.Into(&order); err == nil || !strings.HasPrefix(err.Error(), "event 77: ") {
		t.Errorf("Into: %v", err)
	}
}

// What the triggers of a server write is read back, whatever the names.
func TestRowsOfTriggers(t *testing.T) {
	w := newWorld(t, false)
	w.queue.Script(t, `create table "we""ird.t" (id int primary key, "a&b=c" text, ok bool, big numeric);
		create trigger j after insert or update or delete on "we""ird.t" for each row execute function pgq.jsontriga('q');
		create trigger u after insert or update or delete on "we""ird.t" for each row execute function pgq.logutriga('q');
		insert into "we""ird.t" values (1, 'ö & "x"=%+', true, 1.50);
		update "we""ird.t" set "a&b=c" = null;
		delete from "we""ird.t"`)
	w.tick()
	type line struct {
		ID  int
		ABC *string `json:"a&b=c"`
		OK  bool
		Big string
	}
	var got []string
	var first line
	c := w.consumer(w.config(), consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
		r, err := e.Row()
		if err != nil {
			return err
		}
		if r.Schema != "public" || r.Table != `we"ird.t` || strings.Join(r.Key, ",") != "id" || len(r.Values) != 4 {
			t.Errorf("row: %+v", r)
		}
		value := "NULL"
		if v := r.Values["a&b=c"]; v != nil {
			value = *v
		}
		got = append(got, r.Op+" "+*r.Values["ok"]+" "+*r.Values["big"]+" "+value)
		if strings.HasPrefix(e.Type, "{") && first.ID == 0 {
			return e.Into(&first)
		}
		return nil
	}))
	drain(t, c)
	want := []string{`INSERT true 1.50 ö & "x"=%+`, `INSERT t 1.50 ö & "x"=%+`, "UPDATE true 1.50 NULL", "UPDATE t 1.50 NULL", "DELETE true 1.50 NULL", "DELETE t 1.50 NULL"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(line{1, text(`ö & "x"=%+`), true, "1.50"}, first); diff != "" {
		t.Error(diff)
	}
}
