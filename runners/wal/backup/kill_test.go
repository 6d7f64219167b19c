package backup_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
)

// TestTakeKilled takes backups in a process of its own, which is killed at several
// points: none of them counts, and the next one goes on with what they have written.
func TestTakeKilled(t *testing.T) {
	if dsn := os.Getenv("TAKE_TEST_DSN"); dsn != "" {
		child(t, dsn)
		return
	}
	c := backuptest.Start(t)
	c.Fill("large", 10)
	c.Exec("checkpoint")
	dir := backuptest.Dir(t, "store")
	shelf := c.Shelf(dir)
	for _, at := range []int{1, 200, 500, 900} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTakeKilled$")
		cmd.Env = append(os.Environ(), "TAKE_TEST_DSN="+c.DSN("postgres"), "TAKE_TEST_STORE="+dir, "TAKE_TEST_WAL="+c.WAL, "TAKE_TEST_SYSTEM="+c.System, fmt.Sprint("TAKE_TEST_DIE=", at))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("it was not killed: %v\n%s", err, out)
		}
		list, err := shelf.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Complete {
				t.Fatalf("after a kill at frame %d there is a backup %s", at, e.ID)
			}
		}
	}
	m := c.Take(shelf, c.Options())
	if m.NewBytes == m.Bytes {
		t.Error("nothing of what was written is used")
	}
	whole(t, c, shelf, m, "large")
}

// child takes a backup until so many frames are done, and kills itself.
func child(t *testing.T, dsn string) {
	c := (&backuptest.Cluster{WAL: os.Getenv("TAKE_TEST_WAL"), System: os.Getenv("TAKE_TEST_SYSTEM")}).For(t)
	var die int64
	fmt.Sscan(os.Getenv("TAKE_TEST_DIE"), &die)
	var calls atomic.Int64
	_, err := backup.Take(t.Context(), c.Shelf(os.Getenv("TAKE_TEST_STORE")), backup.Options{
		DSN: dsn, App: "backup", WAL: backuptest.Archived{Dir: c.WAL, SegmentSize: 1 << 20}, Patience: time.Minute,
		Progress: func(int64, int64) {
			if calls.Add(1) == die {
				self, _ := os.FindProcess(os.Getpid())
				self.Kill()
				select {}
			}
		},
	})
	t.Errorf("it came to an end: %v", err)
}
