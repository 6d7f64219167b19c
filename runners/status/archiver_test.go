package status_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
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
	r.Keep(t.Context(), []status.Kept{{Name: "wal", Of: "hub", Limit: 1 << 20, Missed: func(_ context.Context, system uint64) ([]repo.Gap, error) {
		n := segment.Name{Timeline: 1, Seg: 7}
		return []repo.Gap{{First: n, Last: n, Count: 1, Missed: time.Unix(1e9, 0), Why: "a test", Dropped: true}}, fmt.Errorf("of %d", system)
	}}}, time.Minute)
	if a := r.Archives[0]; a.Segments() != 1 || a.Missed[0].First != "000000010000000000000007" || !strings.HasPrefix(a.Error, "of 7") {
		t.Errorf("%+v", a)
	}
	if p := r.Problems; len(p) != 3 || !strings.Contains(p[1], "MB of WAL to archive, more than queue_alert, which is 1 MB") || !strings.Contains(p[2], "0007, which was left out at 2001-09-09T01:46:40Z: a test") {
		t.Errorf("%q", p)
	}
	do("alter system set archive_command = 'true'", "select pg_reload_conf()")
	r = until(func(r *status.Report) bool {
		a := r.Databases[0].Archiver
		return !a.Failing && a.Waiting.Files == 0
	})
	if a := r.Databases[0].Archiver; len(r.Problems) != 0 || !strings.Contains(a.Line(), "archived "+a.Last) {
		t.Errorf("%q, %s", r.Problems, a.Line())
	}
	do("revoke execute on function pg_control_system() from public")
	little := strings.Replace(s.DSN("postgres"), "user="+sandbox.User, "user=little", 1)
	r = collect(little)
	if a := r.Databases[0].Archiver; a == nil || a.Waiting != nil || a.Last == "" {
		t.Errorf("for a role without rights: %+v", a)
	}
	r.Keep(t.Context(), []status.Kept{{Name: "wal", Of: "hub", Limit: 1}, {Name: "other", Of: "lost"}}, time.Minute)
	if a := r.Archives; len(r.Problems) != 0 || !strings.Contains(a[0].Error, "grant execute") || !strings.Contains(a[1].Error, "does not answer") {
		t.Errorf("for a role without rights: %q, %+v", r.Problems, a)
	}
}
