package applier_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/applier"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

const archiving = `
archives:
  wal:
    of: hub
    stores: [{url: "file:///srv/wal"}]
    wal: {client: "/opt/sky tools/skytools-wal", spec: "/etc/100%"}
queues: {q: {on: hub}}
`

// A server that archives nothing is made to, without a restart of it; drift sees when
// somebody changes that, and a server that archives elsewhere is left alone.
func TestArchiveSettings(t *testing.T) {
	s := sandboxtest.Private(t, sandbox.Options{Settings: map[string]string{"wal_level": "minimal", "max_wal_senders": "0"}})
	w := &world{T: t, dbs: map[string]*sandboxtest.DB{"hub": sandboxtest.DatabaseOn(t, s, "template1")}}
	p := w.plan(archiving)
	at := slices.IndexFunc(p.Changes, func(c *planner.Change) bool { return c.Kind == "archive" })
	if at < 0 || !strings.Contains(strings.Join(p.Changes[at].Notes, "\n"), "archive_mode and wal_level will change with the next restart") {
		t.Fatalf("changes: %+v", p.Changes)
	}
	if o := w.apply(p); o.Done != len(p.Steps) || o.Already != 0 {
		t.Errorf("%+v", o)
	}
	w.empty(archiving)
	if o := w.apply(p); o.Already != len(p.Steps) {
		t.Errorf("applied again: %+v", o)
	}
	conn := w.dbs["hub"].Conn(t)
	const auto = "select pg_read_file('postgresql.auto.conf')"
	if got := sandboxtest.One[string](t, w.dbs["hub"], auto); !strings.Contains(got, `archive_command = '''/opt/sky tools/skytools-wal'' push wal %p -- --spec /etc/100%%'`) {
		t.Errorf("the server's file: %s", got)
	}

	if _, err := conn.Exec(t.Context(), "alter system set archive_mode = off"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "select pg_reload_conf(), pg_sleep(1)"); err != nil {
		t.Fatal(err)
	}
	p = w.plan(archiving)
	if len(p.Changes) != 1 || p.Changes[0].Action != planner.Update || len(p.Changes[0].Fields) != 1 || p.Changes[0].Fields[0].Path != "archive_mode" {
		t.Fatalf("changes after drift: %+v", p.Changes)
	}
	w.apply(p)
	w.empty(archiving)

	for _, text := range []string{"alter system set archive_command = 'other-tool push %p'", "select pg_reload_conf(), pg_sleep(1)"} {
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	p = w.plan(archiving)
	if p.Errors() != 1 || p.Diagnostics[0].Code != "archives-elsewhere" || !strings.Contains(p.Diagnostics[0].Message, "archive_command = 'other-tool push %p'") {
		t.Errorf("diagnostics: %+v", p.Diagnostics)
	}
	var refused *applier.RefusedError
	if _, err := w.applier().Apply(t.Context(), p); !errors.As(err, &refused) {
		t.Errorf("apply: %v", err)
	}
	w.empty(strings.Replace(archiving, "spec:", "settings: by_hand, spec:", 1))
}
