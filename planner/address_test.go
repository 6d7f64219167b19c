package planner_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/planner"
)

func TestAddressMatch(t *testing.T) {
	for _, c := range []struct {
		address, glob string
		want          bool
	}{
		{"queue/orders@hub", "queue/orders@hub", true},
		{"queue/orders@hub", "queue/orders", true},
		{"queue/orders@hub", "queue/orders@edge", false},
		{"queue/orders@hub", "queue/order", false},
		{"queue/orders@hub", "queue/*", true},
		{"queue/orders@hub", "*", true},
		{"queue/orders@hub", "*@hub", true},
		{"queue/orders@hub", "*@edge*", false},
		{"queue/orders@hub", "queue/order?@hub", true},
		{"queue/orders@hub", "queue/orders?", false},
		{"queue/orders@hub", "", false},
		{"consumer/orders/mailer@hub", "consumer/*", true},
		{"consumer/orders/mailer@hub", "consumer/orders/*", true},
		{"consumer/orders/mailer@hub", "*/mailer", true},
		{"consumer/orders/mailer@hub", "consumer/*@h*b", true},
		{"table/shop/public.[x]@hub", "table/shop/public.[x]@hub", true},
		{"table/shop/public.x@hub", "table/shop/public.[x]@hub", false},
		{`table/shop/public.a\b@hub`, `table/shop/public.a\b@hub`, true},
		{"queue/a@b@hub", "queue/a@b@hub", true},
		{"queue/a@b@hub", "queue/*@hub", true},
		{"queue/größe@hub", "queue/gr??e@hub", true},
		{"queue/a\nb@hub", "queue/a*b@hub", true},
	} {
		a, err := planner.ParseAddress(c.address)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.Match(c.glob); got != c.want {
			t.Errorf("%s against %s: %t", c.address, c.glob, got)
		}
	}
	long := planner.Address{Kind: "queue", Name: strings.Repeat("a", 2000), Database: "hub"}
	start := time.Now()
	long.Match(strings.Repeat("*a", 500) + "b")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("a glob of many stars took %v", took)
	}
}

func TestAddressErrors(t *testing.T) {
	for _, text := range []string{"", "queue", "queue/", "queue/orders", "queue/@hub", "/orders@hub", "queue/orders@", "@", "/@"} {
		if a, err := planner.ParseAddress(text); err == nil {
			t.Errorf("%q is read as %+v", text, a)
		} else if !strings.Contains(err.Error(), "write kind/name@database") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, text := range []string{"queue/orders@hub", "consumer/a/b/c@hub", "table/s/public.x@y@hub", "queue//@hub", "a/b@c@d", "/", "@", "q/\x00@h", "queue/*@hub", `q/\@h`, "q/[@h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := planner.ParseAddress(text)
		if err != nil {
			return
		}
		if a.String() != text {
			t.Fatalf("%q is read as %+v and written as %q", text, a, a)
		}
		if strings.ContainsRune(text, 0) || strings.ToValidUTF8(text, "") != text {
			return // no name holds such
		}
		var back planner.Address
		asJSON, err := json.Marshal(a)
		if err != nil || json.Unmarshal(asJSON, &back) != nil || back != a {
			t.Fatalf("%q comes back from JSON as %q", text, back)
		}
		if !a.Match(text) {
			t.Fatalf("%q does not match itself", text)
		}
	})
}
