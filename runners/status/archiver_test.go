package status_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// TestArchiver sees a server that cannot archive, and that it can again. Who may not
// look into pg_wal is told the rest.
func TestArchiver(t *testing.T) {
	t.Parallel()
	s, err := sandbox.Start(t.Context(), sandbox.Options{Settings: map[string]string{"archive_mode": "on", "archive_command": "false"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	conn, err := pg.Dial(t.Context(), s.DSN("postgres"), pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	do := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			if _, err := conn.Exec(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
	}
	collect := func(dsn string) *status.Report {
		return status.Collect(t.Context(), []status.Source{{Name: "hub", DSN: func(context.Context) (string, error) { return dsn, nil }}}, 30*time.Second)
	}
	until := func(right func(*status.Report) bool) *status.Report {
		t.Helper()
		for range 600 {
			if r := collect(s.DSN("postgres")); right(r) {
				return r
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("it is %+v", collect(s.DSN("postgres")).Databases[0].Archiver)
		return nil
	}
	do("create role little login", "create table t (n int)", "select pg_switch_wal()")
	r := until(func(r *status.Report) bool { return r.Databases[0].Archiver.Failing })
	if a := r.Databases[0].Archiver; len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "cannot archive "+a.Failed) || a.Waiting == nil || a.Waiting.Files == 0 || a.Waiting.Bytes == 0 {
		t.Errorf("%q, %+v", r.Problems, a)
	}
	do("alter system set archive_command = 'true'", "select pg_reload_conf()")
	r = until(func(r *status.Report) bool {
		a := r.Databases[0].Archiver
		return !a.Failing && a.Waiting.Files == 0
	})
	if a := r.Databases[0].Archiver; len(r.Problems) != 0 || !strings.Contains(a.Line(), "archived "+a.Last) {
		t.Errorf("%q, %s", r.Problems, a.Line())
	}
	little := strings.Replace(s.DSN("postgres"), "user="+sandbox.User, "user=little", 1)
	if a := collect(little).Databases[0].Archiver; a == nil || a.Waiting != nil || a.Last == "" {
		t.Errorf("for a role without rights: %+v", a)
	}
}
