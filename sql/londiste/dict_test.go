package londiste_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql/londiste"
)

func TestDict(t *testing.T) {
	d := londiste.Dict{"a": nil, "b": new(""), "c": new("x y&=é")}
	if got, want := d.String(), "a&b=&c=x+y%26%3D%C3%A9"; got != want {
		t.Errorf("encoded %q, want %q", got, want)
	}
	for text, want := range map[string]londiste.Dict{
		"":                          {},
		"a&b=&c=x+y%26%3D%c3%a9":    d, // triggers write lower case
		"c=x%20y%26%3D%C3%A9&a&&b=": d, // and nobody promises the order
		"a=1&a=2":                   {"a": new("2")},
		"k%3Dk=v=w":                 {"k=k": new("v=w")},
	} {
		got, err := londiste.ParseDict(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{"a=%", "a=%zz", "%4=b"} {
		if d, err := londiste.ParseDict(text); err == nil {
			t.Errorf("%q: no error but %v", text, d)
		}
	}
	d.Set("b", "1")
	if d.Get("b") != "1" || d.Get("a") != "" || d.Get("none") != "" {
		t.Errorf("after Set: %v", d)
	}
}

func FuzzDict(f *testing.F) {
	for _, seed := range []string{"", "a&b=&c=x+y%26%3D%C3%A9", "=", "%00=\xff", "a=%ff%FE&&=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := londiste.ParseDict(text)
		if err != nil {
			return
		}
		again, err := londiste.ParseDict(d.String())
		if err != nil {
			t.Fatalf("%q became %q: %v", text, d.String(), err)
		}
		if diff := cmp.Diff(d, again); diff != "" {
			t.Errorf("%q became %q:\n%s", text, d.String(), diff)
		}
	})
}
