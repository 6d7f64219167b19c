package restore_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/restore"
)

// TestBackupFromAStandby: nothing happens on the primary, which only ends the segment in
// which the backup has ended.
func TestBackupFromAStandby(t *testing.T) {
	c := backuptest.Start(t)
	shelf := c.Shelf(backuptest.Dir(t, "store"))
	ledger := c.Keep()
	c.Take(shelf, c.Options())
	to := filepath.Join(backuptest.Dir(t, "restored"), "data")
	into(t, c, shelf, restore.Target{}, restore.Options{To: to, As: restore.Standby, Conninfo: c.DSN("postgres")})
	standby := c.At(start(t, to))
	last := ledger.Stop()
	o := c.Options()
	o.DSN, o.Primary = standby.DSN("postgres"), c.DSN("postgres")
	m := c.Take(shelf, o)
	if !m.Standby || m.Parent == "" || m.Stop < m.Start {
		t.Errorf("the backup is %+v", m.Head)
	}
	r := restored(t, c, shelf, restore.Target{})
	if got := backuptest.Check(t, r.DSN("postgres")); got != last {
		t.Errorf("the ledger ends at %d; want %d", got, last)
	}

	// A backup is named by the second and the position, which may stay.
	for before := m; ; before = m {
		if m = c.Take(shelf, o); m.Start == before.Start {
			break
		}
	}

	// Without a primary to ask, it waits for WAL that does not come.
	c.Exec("create table more as select 1")
	at := backuptest.One[string](c, "select pg_current_wal_insert_lsn()::text")
	for !backuptest.One[bool](standby, "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn", at) {
		time.Sleep(20 * time.Millisecond)
	}
	o.Primary, o.Patience = "", 300*time.Millisecond
	var missing *backup.ArchiveError
	if _, err := backup.Take(t.Context(), shelf, o); !errors.As(err, &missing) || missing.Hint() == "" {
		t.Errorf("an idle primary that nobody asks: %v", err)
	}
}
