package drill_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/drill"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql"
)

// wal is an archive that has everything: the drill finds out when it has not.
type ctx = context.Context

type wal struct{}

func (wal) Timelines(ctx) (restore.Timelines, error) { return nil, nil }
func (wal) Missing(ctx, uint32, sql.LSN, sql.LSN) ([]string, int, error) {
	return nil, 0, nil
}

func TestDrill(t *testing.T) {
	c := backuptest.Start(t)
	c.Exec(fmt.Sprintf("create tablespace space location '%s'", backuptest.Dir(t, "space")))
	c.Fill("orders", 2)
	c.Exec("create table kept tablespace space as select i from generate_series(1, 1000) i")
	c.Exec("create index on orders (n)")
	ledger := c.Keep()
	store := backuptest.Dir(t, "store")
	shelf := c.Shelf(store)
	m := c.Take(shelf, c.Options())
	ledger.Stop()
	scratch := backuptest.Dir(t, "scratch")
	o := drill.Options{Scratch: scratch, Bins: c.Install.Bin, Command: "cp " + c.WAL + "/%f %p", Checks: []drill.Check{
		{Query: "select count(*) = 12400 from orders"}, {Database: "template1", Query: "select 1"},
	}}
	var stages []string
	o.Stage = func(s string) { stages = append(stages, s) }
	noted := func() (r drill.Result) {
		t.Helper()
		if err := shelf.Read(t.Context(), m.ID, backup.Drill, &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r, err := drill.Run(t.Context(), shelf, wal{}, o)
	if err != nil || !r.OK || !r.Checksums || r.Queries != 2 || r.Restored == 0 || r.Recovered == 0 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if got := strings.Join(stages, " "); got != "restore recover amcheck query checksums" {
		t.Errorf("stages: %s", got)
	}
	if got := noted(); got != r {
		t.Errorf("noted is %+v", got)
	}

	for name, query := range map[string]string{"no": "select count(*) = 1 from orders", "null": "select null", "no rows": "select 1 where false", "an error": "select 1/0", "a write": "drop table orders"} {
		o.Checks = []drill.Check{{Query: query}}
		var failed *drill.FailedError
		if name != "no" && testing.Short() {
			continue
		}
		if r, err := drill.Run(t.Context(), shelf, wal{}, o); !errors.As(err, &failed) || failed.Stage != "query" || r.OK || noted().Problem == "" {
			t.Errorf("a question whose answer is %s: %+v, %v", name, r, err)
		}
	}

	// What somebody has dropped since is no fault of the backup, and told.
	c.Exec("drop table orders; insert into kept select 0")
	c.Exec("select pg_switch_wal()")
	c.Archived()
	o.Checks = []drill.Check{{Query: "select count(*) = 1000 from kept"}, {Query: "select count(*) = 12400 from orders"}}
	stages = nil
	r, err = drill.Run(t.Context(), shelf, wal{}, o)
	if err != nil || !r.OK || !r.Checksums || r.Queries != 2 || !strings.HasPrefix(r.Since, "select count(*) = 1000 from kept: the answer is no") || noted() != r {
		t.Errorf("with data that has changed: %+v, %v", r, err)
	}
	if got := strings.Join(stages, " "); got != "restore recover amcheck query restore recover amcheck query checksums" {
		t.Errorf("stages: %s", got)
	}
	o.Target = restore.Target{LSN: m.Stop}
	if r, err := drill.Run(t.Context(), shelf, wal{}, o); err != nil || r.Since != "" {
		t.Errorf("at the end of the backup: %+v, %v", r, err)
	}
	o.Target = restore.Target{}

	// A drill that could not take place says nothing about the backup.
	before := noted()
	o.Scratch = filepath.Join(scratch, "missing")
	var failed *drill.FailedError
	if _, err := drill.Run(t.Context(), shelf, wal{}, o); err == nil || errors.As(err, &failed) || noted() != before {
		t.Errorf("without a scratch directory: %v", err)
	}
	o.Scratch = scratch

	// WAL that is missing is found, and so is damage in a pack.
	o.Checks = nil
	o.Command = "false"
	if _, err := drill.Run(t.Context(), shelf, wal{}, o); !errors.As(err, &failed) || failed.Stage != "recover" {
		t.Errorf("without WAL: %v", err)
	}
	o.Command = "cp " + c.WAL + "/%f %p"
	backuptest.Damage(t, filepath.Join(store, "e", c.System, "pack", string(m.ID), "00000"))
	if r, err := drill.Run(t.Context(), shelf, wal{}, o); !errors.As(err, &failed) || failed.Stage != "restore" || r.OK {
		t.Errorf("with a damaged pack: %+v, %v", r, err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}
