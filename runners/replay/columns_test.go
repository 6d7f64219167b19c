package replay

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// Elements are what PostgreSQL's array input reads as the value.
func TestElements(t *testing.T) {
	for _, c := range []struct {
		value   string
		isArray bool
		want    string
	}{
		{`null`, false, `{null}`},
		{`"null"`, false, `{"null"}`},
		{`""`, false, `{""}`},
		{`1.50`, false, `{1.50}`},
		{`true`, false, `{true}`},
		{`"a,b} {"`, false, `{"a,b} {"}`},
		{`"q\" b\\ s\/ n\n t\t \u00e9 \ud83d\ude42"`, false, "{\"q\\\" b\\\\ s/ n\n t\t é 🙂\"}"},
		{"\"not \xff UTF-8 \\n\"", false, "{\"not \xff UTF-8 \n\"}"},
		{`{"k": [1, "x"]}`, false, `{"{\"k\": [1, \"x\"]}"}`},
		{`[1, "x"]`, false, `{"[1, \"x\"]"}`},
		{`[1, null, "x,y", "q\"", [2, []]]`, true, `{"{1,null,\"x,y\",\"q\\\"\",{2,{}}}"}`},
		{`"{1,2}"`, true, `{"{1,2}"}`},
	} {
		rows := []*change{{shape: &shape{names: []string{"c"}}, values: [][]byte{[]byte(c.value)}}}
		p := parameter{column: "c", typ: "text"}
		if c.isArray {
			p.typ = "text[]"
		}
		got, err := newColumns(rows).array(p)
		if err != nil {
			t.Errorf("%s: %v", c.value, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.value, diff)
		}
	}
}

// Lines are what COPY reads as the values.
func TestLines(t *testing.T) {
	values := [][]string{
		{`1`, `"a"`, `null`}, {`"2"`, `"tab\there \\ back\r\n"`, `""`}, {`3`, "\"raw\ttab, \xff\"", `"null"`}, {`4.50`, `{"k":"a\\b"}`, `"\\N"`}, {`5`, `true`, `"\\."`},
	}
	var rows []*change
	for _, v := range values {
		rows = append(rows, &change{shape: &shape{names: []string{"a", "left out", "b", "c"}}, values: [][]byte{[]byte(v[0]), []byte(`"no"`), []byte(v[1]), []byte(v[2])}})
	}
	got, err := newColumns(rows).text(command{takes: []parameter{{column: "a"}, {column: "b"}, {column: "c"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := "1\ta\t\\N\n" + "2\ttab\\there \\\\ back\\r\\n\t\n" + "3\traw\\ttab, \xff\tnull\n" + "4.50\t{\"k\":\"a\\\\\\\\b\"}\t\\\\N\n" + "5\ttrue\t\\\\.\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := newColumns(rows).text(command{takes: []parameter{{column: "missing"}}}); err == nil {
		t.Error("a column that the event does not have")
	}
}

func TestEscapes(t *testing.T) {
	for _, bad := range []string{`"\x"`, `"\u12"`, `"\ud800"`, `"\ud800\n"`, `"\ud800\ud800"`, `"\udc00"`, `"\u12g4"`} {
		if text, err := unquoteJSON(nil, []byte(bad)); err == nil {
			t.Errorf("%s is read as %q", bad, text)
		}
	}
}

// Strings that both can read are read as encoding/json reads them.
func FuzzUnquote(f *testing.F) {
	for _, s := range []string{`""`, `"a\nb"`, `"\ud83d\ude42\u0041"`, `"\\\""`, `"\/"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		var want string
		if len(value) < 2 || value[0] != '"' || !utf8.ValidString(value) || json.Unmarshal([]byte(value), &want) != nil {
			return
		}
		if value[len(value)-1] != '"' { // white space after it, which a field does not have
			return
		}
		got, err := unquoteJSON(nil, []byte(value))
		if err != nil { // half a surrogate pair, which encoding/json replaces
			return
		}
		if string(got) != want {
			t.Errorf("%q is read as %q, and by encoding/json as %q", value, got, want)
		}
	})
}
