package forward_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqext"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestOriginal copies from the original extension and to it, which has no bulk insert,
// into the same database and another one. CI must have it; elsewhere the test says that
// it needs it.
func TestOriginal(t *testing.T) {
	for _, i := range sandbox.Installs() {
		if _, err := os.Stat("/usr/share/postgresql/15/extension/pgq.control"); err != nil || i.Major() != 15 {
			continue
		}
		s := sandboxtest.Private(t, sandbox.Options{Install: i})
		original := func(t *testing.T) *place {
			db := sandboxtest.DatabaseOn(t, s, "template1")
			db.Script(t, "create extension pgq")
			return newPlace(t, db)
		}
		ours := func(t *testing.T) *place {
			db := sandboxtest.DatabaseOn(t, s, "template1")
			db.Install(t, pgq.Schema)
			return newPlace(t, db)
		}
		for name, c := range map[string]struct{ source, target func(*testing.T) *place }{
			"original to itself":  {original, nil},
			"original to ours":    {original, ours},
			"ours to original":    {ours, original},
			"original to another": {original, original},
		} {
			t.Run(name, func(t *testing.T) {
				source := c.source(t)
				target := source
				if c.target != nil {
					target = c.target(t)
					target.db.Install(t, pgqext.Schema)
				}
				source.queue("q")
				target.queue("p")
				source.exec("select pgq.register_consumer('q', 'f')")
				text := func(s string) *string { return &s }
				want := []event{
					{text("a"), text("d"), text("1"), text("2"), text("3"), text("4")},
					{text("b"), text(""), nil, nil, nil, text("")},
					{text("c"), nil, nil, text("x"), nil, nil},
				}
				for _, e := range want {
					source.exec("select pgq.insert_event('q', $1, $2, $3, $4, $5, $6)", e.Type, e.Data, e.Extra1, e.Extra2, e.Extra3, e.Extra4)
				}
				source.tick("q")
				f := config(source, target)
				f.Fetch = 2
				drain(t, start(t, f))
				if diff := cmp.Diff(want, target.events("p")); diff != "" {
					t.Errorf("(-written +copied):\n%s", diff)
				}
				if one[bool](t, target.conn, "select to_regprocedure('pgq.insert_events(text, text[], text[], text[], text[], text[], text[])') is null") != (name != "original to ours") {
					t.Error("this test does not test what it says")
				}
			})
		}
		return
	}
	const advice = "no server here has the extension pgq (Debian: postgresql-15-pgq3)"
	if os.Getenv("CI") == "true" {
		t.Fatal(advice)
	}
	t.Log("nothing was tested: " + advice)
}
