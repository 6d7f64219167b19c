package standby

import (
	"strings"
	"testing"
)

// A value means the same however it is written, and nothing else is taken for it.
func TestWords(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		kind, unit, value, want string
	}{
		{"integer", "8kB", "16384", "128MB"},
		{"integer", "8kB", "128MB", "128MB"},
		{"integer", "8kB", "0.125GB", "128MB"},
		{"integer", "8kB", "131072kB", "128MB"},
		{"integer", "8kB", "131072 kB", "128MB"},
		{"integer", "kB", "-1", "-1"},
		{"integer", "kB", "4097", "4097kB"},
		{"integer", "ms", "90s", "90s"},
		{"integer", "ms", "60000", "1min"},
		{"integer", "min", "2d", "2d"},
		{"integer", "s", "0", "0"},
		{"integer", "B", "1MB", "1MB"},
		{"integer", "ms", "5MB", "5MB"},
		{"integer", "", "0x10", "16"},
		{"integer", "", "many", "many"},
		{"real", "ms", "2", "2ms"},
		{"real", "", "1.50", "1.5"},
		{"bool", "", "TRUE", "on"},
		{"bool", "", "0", "off"},
		{"bool", "", "o", "o"},
		{"enum", "", "Minimal", "minimal"},
		{"string", "", "As It Is ", "As It Is "},
	} {
		s := Setting{Type: c.kind}
		if c.unit != "" {
			s.Unit = text(c.unit)
		}
		if got := s.Words(c.value); got != c.want {
			t.Errorf("%s in %q: %q is %q; want %q", c.kind, c.unit, c.value, got, c.want)
		}
		if got := s.Words(c.want); got != c.want {
			t.Errorf("%s in %q: %q becomes %q", c.kind, c.unit, c.want, got)
		}
	}
}

// A conninfo is led to another place, and keeps what else it says.
func TestPlace(t *testing.T) {
	for _, c := range []struct{ conninfo, place string }{
		{"host=a port=6000 user=x", "host=a port=6000"},
		{"user=x host='/var/run/my server' dbname=y", "host=/var/run/my server port=5432"},
		{"hostaddr=10.0.0.1 user=x", ""},
		{"host=a,b", ""},
		{"postgresql://a:1/host=b", ""},
		{"service=hub", ""},
	} {
		got, ok := Place(c.conninfo)
		if got != c.place || ok != (c.place != "") {
			t.Errorf("%s leads to %q, %t; want %q", c.conninfo, got, ok, c.place)
		}
	}
	moved := Moved("user=x host='a' port=1 application_name=b passfile='/srv/b.pgpass'", "host=10.0.0.9 port=6000")
	if place, _ := Place(moved); place != "host=10.0.0.9 port=6000" || !strings.HasSuffix(moved, "user=x   application_name=b passfile='/srv/b.pgpass'") {
		t.Errorf("moved: %s", moved)
	}
}
