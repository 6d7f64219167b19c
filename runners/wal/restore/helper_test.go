package restore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// archive is the WAL of a test in its directory.
type archive struct{ backuptest.Archived }

func walOf(c *backuptest.Cluster) archive {
	return archive{backuptest.Archived{Dir: c.WAL, SegmentSize: 1 << 20}}
}

func (a archive) Timelines(context.Context) (restore.Timelines, error) {
	files, err := filepath.Glob(filepath.Join(a.Dir, "*.history"))
	all := restore.Timelines{}
	for _, file := range files {
		var timeline uint32
		fmt.Sscanf(filepath.Base(file), "%08X.history", &timeline)
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 1 {
				var fork restore.Fork
				fmt.Sscan(fields[0], &fork.Timeline)
				if fork.At, err = sql.ParseLSN(fields[1]); err != nil {
					return nil, err
				}
				all[timeline] = append(all[timeline], fork)
			}
		}
	}
	return all, err
}

func (a archive) Missing(_ context.Context, timeline uint32, from, to sql.LSN) (missing []string, found int, err error) {
	size := sql.LSN(a.SegmentSize)
	for at := from &^ (size - 1); to == 0 && found+len(missing) < 1000 || at < to; at += size {
		if _, err := os.Stat(filepath.Join(a.Dir, a.Name(timeline, at))); err == nil {
			found++
		} else if to == 0 {
			return missing, found, nil
		} else {
			missing = append(missing, a.Name(timeline, at))
		}
	}
	return missing, found, nil
}

// command is a restore_command over the test's archive.
func command(c *backuptest.Cluster) string { return "cp " + c.WAL + "/%f %p" }

// start starts a server on a restored directory.
func start(t *testing.T, dir string) *sandbox.Server {
	t.Helper()
	s, err := tryStart(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryStart(t *testing.T, dir string) (*sandbox.Server, error) {
	t.Helper()
	s, err := sandbox.Start(t.Context(), sandbox.Options{Data: dir})
	if err == nil {
		t.Cleanup(func() { s.Stop() })
	}
	return s, err
}

// restored restores a target into a new directory and starts a server there, which has
// recovered when it returns.
func restored(t *testing.T, c *backuptest.Cluster, shelf *backup.Shelf, target restore.Target) *backuptest.Cluster {
	t.Helper()
	to := filepath.Join(backuptest.Dir(t, "restored"), "data")
	into(t, c, shelf, target, restore.Options{To: to})
	r := c.At(start(t, to))
	r.Recovered()
	return r
}

// into looks and restores as a clone.
func into(t *testing.T, c *backuptest.Cluster, shelf *backup.Shelf, target restore.Target, o restore.Options) restore.Result {
	t.Helper()
	p, err := restore.Look(t.Context(), shelf, walOf(c), target, "")
	if err != nil {
		t.Fatal(err)
	}
	if o.As == "" {
		o.As = restore.Clone
	}
	o.Command = command(c)
	result, err := restore.Restore(t.Context(), shelf, p.Backup, p.Choice, o)
	if err != nil {
		t.Fatal(err)
	}
	return result
}
