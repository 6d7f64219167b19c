package replay

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// decoded is an event's row as a map; nil is null.
func decoded(t testing.TB, typ, data string) (map[string]any, []string, error) {
	k, err := parseKind([]byte(typ))
	if err != nil {
		return nil, nil, err
	}
	fields, keys, err := k.decode([]byte(data), nil)
	if err != nil {
		return nil, nil, err
	}
	row := joinObject(fields)
	var m map[string]any
	if err := json.Unmarshal(row, &m); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", row, err)
	}
	if len(m) != len(fields) && !strings.Contains(data, `"`) {
		t.Errorf("%s: %d fields, %d members", data, len(fields), len(m))
	}
	return m, keys, nil
}

// The events are those of contract/pgq.md section 7.2.
func TestDecode(t *testing.T) {
	for _, c := range []struct {
		typ, data string
		row       map[string]any
		keys      []string
	}{
		{"I:id", "id=7&name=A%26B+c&amt=1.50&ok=t", map[string]any{"id": "7", "name": "A&B c", "amt": "1.50", "ok": "t"}, []string{"id"}},
		{"U:id,b%20c", "id=8&name&amt=&ok=f", map[string]any{"id": "8", "name": nil, "amt": "", "ok": "f"}, []string{"id", "b c"}},
		{"I:", "id=8", map[string]any{"id": "8"}, nil},
		{`{"op":"INSERT","table":["public","acct"],"pkey":["id"]}`, `{"id":7,"name":"A&B c","amt":"1.50","ok":true}`,
			map[string]any{"id": 7.0, "name": "A&B c", "amt": "1.50", "ok": true}, []string{"id"}},
		{`{"op":"DELETE","table":["public","acct"],"pkey":["id","x\"y"]}`, `{ "id" : 7 , "x\"y" : {"a":["]}",1]} }`,
			map[string]any{"id": 7.0, `x"y`: map[string]any{"a": []any{"]}", 1.0}}}, []string{"id", `x"y`}},
		{"I", "(id,name,amt,ok) values ('7','A&B c','1.50','t')", map[string]any{"id": "7", "name": "A&B c", "amt": "1.50", "ok": "t"}, nil},
		{"I", `(id,"we ""ird") values ('8',null)`, map[string]any{"id": "8", `we "ird`: nil}, nil},
		{"U", "name=NULL where id='7'", map[string]any{"id": "7", "name": nil}, []string{"id"}},
		{"U", "id='7' where id='7'", map[string]any{"id": "7"}, []string{"id"}},
		{"U", `a=E'x\\y''z where b=''1''' where a1='1' and c='3'`, map[string]any{"a": `x\y'z where b='1'`, "a1": "1", "c": "3"}, []string{"a1", "c"}},
		{"D", "a='1' and c='3'", map[string]any{"a": "1", "c": "3"}, []string{"a", "c"}},
	} {
		row, keys, err := decoded(t, c.typ, c.data)
		if err != nil {
			t.Errorf("%s %s: %v", c.typ, c.data, err)
			continue
		}
		if diff := cmp.Diff(c.row, row); diff != "" {
			t.Errorf("%s %s:\n%s", c.typ, c.data, diff)
		}
		if diff := cmp.Diff(c.keys, keys); diff != "" {
			t.Errorf("%s %s: keys:\n%s", c.typ, c.data, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range [][2]string{
		{"I:id", "id=%zz"}, {"I:id", "id=%4"}, {"I", "(a) values ('x'"}, {"I", "(a,b) values ('x')"}, {"I", "(a) values ('x') x"},
		{"U", "a='1'"}, {"U", " where "}, {"D", ""}, {"D", "a=1"}, {"U", `a=E'\x' where a='1'`}, {`{"op":"NEW"}`, "{}"},
		{`{"op":"INSERT"}`, `[]`}, {`{"op":"INSERT"}`, `{"a":}`}, {`{"op":"INSERT"}`, `{"a":1`}, {`{"op":"INSERT"}`, `{"a":1}}`}, {`{"op":`, `{}`},
	} {
		if row, _, err := decoded(t, c[0], c[1]); err == nil {
			t.Errorf("%s %s: %v, want an error", c[0], c[1], row)
		}
	}
}

// Values that were encoded are decoded to what they were, whatever they hold.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"", "a", `\`, `\\'`, "é%&=+\t\n\x01\x7f", `"},{"a":"`, "' where id='1", "null", "\u2028"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		if strings.ToValidUTF8(name, "") != name || strings.ToValidUTF8(value, "") != value ||
			strings.Contains(name+value, "\x00") || name == "" || name == "id" {
			return // no column and no text of PostgreSQL
		}
		want := map[string]any{"id": "1", name: value}
		asJSON, _ := json.Marshal(want)
		quoted := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		literal := "'" + strings.ReplaceAll(value, "'", "''") + "'"
		if strings.Contains(value, `\`) {
			literal = "E'" + strings.ReplaceAll(strings.ReplaceAll(value, `\`, `\\`), "'", "''") + "'"
		}
		for _, event := range [][2]string{
			{`{"op":"UPDATE","pkey":["id"]}`, string(asJSON)},
			{"U:id", "id=1&" + url.QueryEscape(name) + "=" + url.QueryEscape(value)},
			{"I", "(id," + quoted + ") values ('1'," + literal + ")"},
			{"U", quoted + "=" + literal + " where id='1'"},
			{"D", "id='1' and " + quoted + "=" + literal},
		} {
			got, _, err := decoded(t, event[0], event[1])
			if err != nil {
				t.Fatalf("%s %q: %v", event[0], event[1], err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s %q:\n%s", event[0], event[1], diff)
			}
		}
	})
}

// Whatever an event holds, decoding it ends with a row that is JSON, or an error.
func FuzzDecodeAnything(f *testing.F) {
	f.Add("U", "a='1' where id='1'")
	f.Add("I:id", "a=%41&b")
	f.Add(`{"op":"UPDATE","pkey":["id"]}`, `{"a":{"b":[1,"}"]}}`)
	f.Fuzz(func(t *testing.T, typ, data string) {
		if typ == "" || !(&Event{Type: []byte(typ)}).IsData() {
			return
		}
		k, err := parseKind([]byte(typ))
		if err != nil || k.format == formatJSON || k.format == formatEmpty { // the server checks JSON
			return
		}
		if fields, _, err := k.decode([]byte(data), nil); err == nil && !json.Valid(joinObject(fields)) {
			t.Fatalf("%s %q: %q", typ, data, joinObject(fields))
		}
	})
}

func TestCanon(t *testing.T) {
	for _, c := range []struct{ typ, a, b string }{
		{"numeric", "1.0", "1.000"}, {"numeric", "-0.0", "0"}, {"numeric", "100", "100.0"}, {"bool", "t", "true"}, {"bpchar", "a", "a  "},
		{"timestamp", "2020-01-01T10:00:00.5", "2020-01-01 10:00:00.5"},
		{"timestamptz", "2020-01-01T12:00:00+02:00", "2020-01-01 10:00:00+00"}, {"timestamptz", "2020-01-01 15:30:00.25+05:30", "2020-01-01T10:00:00.25Z"},
	} {
		a, okA := canon(c.typ, c.a)
		b, okB := canon(c.typ, c.b)
		if !okA || !okB || a != b {
			t.Errorf("%s: %q and %q are %q and %q (%v, %v)", c.typ, c.a, c.b, a, b, okA, okB)
		}
	}
	for _, c := range [][2]string{{"float8", "1"}, {"", "x"}, {"bytea", `\000`}, {"date", "01/02/2020"}, {"timestamptz", "infinity"}, {"timestamp", "01/02/2020 10:00"}, {"bool", "yes"}, {"interval", "1 day"}} {
		if got, ok := canon(c[0], c[1]); ok {
			t.Errorf("%s %q is %q: it cannot be told", c[0], c[1], got)
		}
	}
}

// TestFold writes histories of one key as letters: I, U and D in capitals; what is
// left as d, u, i. A dash: the order of events has to be kept.
func TestFold(t *testing.T) {
	for history, want := range map[string]string{
		"I": "i", "U": "u", "D": "d", "IU": "i", "ID": "", "IUD": "", "UD": "d", "UU": "u", "DI": "di", "DIU": "di", "UDI": "di",
		"IDI": "i", "DID": "d", "DIDI": "di", "UDID": "d", "II": "-", "UI": "-", "DU": "-", "DD": "-", "IDU": "-",
	} {
		s := &shape{names: []string{"id"}}
		var changes []change
		for i, op := range history {
			changes = append(changes, change{event: int64(i), op: byte(op), shape: s, key: "1"})
		}
		got := "-"
		if n := fold(changes, ""); n != nil {
			got = strings.Repeat("d", len(n.removes)) + strings.Repeat("u", len(n.updates)) + strings.Repeat("i", len(n.inserts))
			last := changes[len(changes)-1].event
			for _, c := range append(n.updates, n.inserts...) {
				if c.event != last {
					t.Errorf("%s: the row of event %d is kept, not of the last", history, c.event)
				}
			}
		}
		if got != want {
			t.Errorf("%s folds to %q, want %q", history, got, want)
		}
	}
	a, b := &shape{names: []string{"id", "x"}}, &shape{names: []string{"id", "y"}}
	if fold([]change{{op: opUpdate, shape: a, key: "1"}, {op: opUpdate, shape: b, key: "1"}}, "") != nil {
		t.Error("updates of different columns were folded")
	}
}

func TestSnapshot(t *testing.T) {
	s, err := ParseSnapshot("10:20:12,15")
	if err != nil {
		t.Fatal(err)
	}
	for txid, want := range map[int64]bool{9: true, 10: true, 12: false, 13: true, 15: false, 19: true, 20: false, 21: false} {
		if s.Visible(txid) != want {
			t.Errorf("%d is visible: %v", txid, !want)
		}
	}
	for _, bad := range []string{"", "1:2", "a:b:c", "1:2:x"} {
		if _, err := ParseSnapshot(bad); err == nil {
			t.Errorf("%q is read as a snapshot", bad)
		}
	}
}
