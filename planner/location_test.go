package planner

import "testing"

func TestLeadsTo(t *testing.T) {
	for _, c := range []struct {
		known, place string
		want         bool
	}{
		{"host=a dbname=x user=u", "host=a port=5432 dbname=x", true},
		{"host='a' port=5433 dbname=x", "host=a port=5433 dbname=x", true},
		{"host=b dbname=x", "host=a port=5432 dbname=x", false},
		{"host=a port=5433 dbname=x", "host=a port=5432 dbname=x", false},
		{"", "host=a port=5432 dbname=x", false},
		{"service=shop", "host=a port=5432 dbname=x", false},
	} {
		if got := leadsTo(c.known, c.place); got != c.want {
			t.Errorf("%q leads to %q: %v", c.known, c.place, got)
		}
	}
}
