package restore_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/restore"
)

// TestBackupFromAStandby: the primary only has to go on archiving. Where nothing
// happens there, the backup waits for the segment in which it ended.
func TestBackupFromAStandby(t *testing.T) {
	c := backuptest.Start(t)
	shelf := c.Shelf(backuptest.Dir(t, "store"))
	ledger := c.Keep()
	c.Take(shelf, c.Options())
	to := filepath.Join(backuptest.Dir(t, "restored"), "data")
	into(t, c, shelf, restore.Target{}, restore.Options{To: to, As: restore.Standby, Conninfo: c.DSN("postgres")})
	standby := c.At(start(t, to))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 20 {
			c.Exec("select pg_switch_wal()")
			time.Sleep(200 * time.Millisecond)
		}
	}()
	o := c.Options()
	o.DSN = standby.DSN("postgres")
	m := c.Take(shelf, o)
	<-ended
	if !m.Standby || m.Parent == "" || m.Stop < m.Start {
		t.Errorf("the backup is %+v", m.Head)
	}
	last := ledger.Stop()
	c.Exec("select pg_switch_wal()")
	c.Archived()
	r := restored(t, c, shelf, restore.Target{})
	if got := backuptest.Check(t, r.DSN("postgres")); got != last {
		t.Errorf("the ledger ends at %d; want %d", got, last)
	}
}
