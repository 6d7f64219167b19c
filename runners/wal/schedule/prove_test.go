package schedule_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/archive/archivetest"
	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/drill"
	"github.com/skytools-go/skytools/runners/wal/schedule"
)

// TestProver drills once each time that is due, and says of a backup that it is not
// proven without trying it again.
func TestProver(t *testing.T) {
	c := backuptest.Start(t)
	c.Fill("orders", 1)
	a := archivetest.Open(t, c, nil, backuptest.Dir(t, "store"))
	query := "select count(*) > 0 from orders"
	stats := &schedule.ProveStats{}
	p := schedule.NewProver(schedule.ProveConfig{
		Archive: a, At: schedule.At{Set: true, Hour: 2}, Stats: stats,
		Options: func(context.Context) (drill.Options, error) {
			return drill.Options{Scratch: backuptest.Dir(t, "scratch"), Bins: c.Install.Bin, Command: "cp " + c.WAL + "/%f %p", Checks: []drill.Check{{Query: query}}}, nil
		},
	})
	now := time.Now().UTC()
	round := func(at time.Time, held, failed int64) {
		t.Helper()
		if err := p.RunOnce(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if stats.Drills.Load() != held || stats.Failed.Load() != failed {
			t.Fatalf("%d drills, %d failed; want %d and %d", stats.Drills.Load(), stats.Failed.Load(), held, failed)
		}
	}
	round(now, 0, 0) // there is nothing to drill
	o := c.Options()
	o.WAL = a
	if _, err := backup.Take(t.Context(), a.Shelf(), o); err != nil {
		t.Fatal(err)
	}
	round(now, 1, 0)
	if stats.Proven.Load() == 0 {
		t.Error("the backup is not proven")
	}
	round(now, 1, 0)
	query = "select false"
	tomorrow := now.AddDate(0, 0, 1)
	round(tomorrow, 2, 1)
	// Another process knows what stands beside the backup: not the one that failed.
	other := &schedule.ProveStats{}
	q := schedule.NewProver(schedule.ProveConfig{Archive: a, At: schedule.At{}, Stats: other})
	if err := q.RunOnce(t.Context(), now); err != nil || other.Proven.Load() != 0 {
		t.Errorf("proven %d, %v", other.Proven.Load(), err)
	}
	if stats.Changed.Load() != 0 {
		t.Error("the backup itself does not stand it, and the data is blamed")
	}
	c.Exec("drop table orders")
	c.Exec("select pg_switch_wal()")
	c.Archived()
	query = "select count(*) > 0 from orders"
	round(now.AddDate(0, 0, 2), 3, 1)
	if stats.Changed.Load() != 1 {
		t.Error("data that has changed since the backup is not told of")
	}

	wrong := errors.New("there is no room")
	p = schedule.NewProver(schedule.ProveConfig{
		Archive: a, At: schedule.At{Set: true, Hour: 2}, Options: func(context.Context) (drill.Options, error) { return drill.Options{}, wrong },
	})
	if err := p.RunOnce(t.Context(), now.AddDate(0, 0, 3)); !errors.Is(err, wrong) {
		t.Errorf("a drill that cannot be held: %v", err)
	}
}

// TestScrubber repairs one store from the other, once each time that is due, whoever
// does it.
func TestScrubber(t *testing.T) {
	c := backuptest.Start(t)
	c.Fill("orders", 1)
	one, two := backuptest.Dir(t, "one"), backuptest.Dir(t, "two")
	a := archivetest.Open(t, c, nil, one, two)
	o := c.Options()
	o.WAL = a
	m, err := backup.Take(t.Context(), a.Shelf(), o)
	if err != nil {
		t.Fatal(err)
	}
	pack := filepath.Join(one, a.Shelf().PackKey(backup.Pack{Backup: m.ID, N: 0}))
	lose := func() {
		t.Helper()
		if err := os.Remove(pack); err != nil {
			t.Fatal(err)
		}
	}
	lose()
	now := time.Now().UTC()
	round := func(repair bool, at time.Time, problems, repaired int64) {
		t.Helper()
		s := &schedule.ScrubStats{}
		scrubber := schedule.NewScrubber(schedule.ScrubConfig{Archive: a, At: schedule.At{Set: true, Hour: 2}, Repair: repair, Stats: s})
		if err := scrubber.RunOnce(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if s.Problems.Load() != problems || s.Repaired.Load() != repaired || s.Last.Load() == 0 {
			t.Fatalf("%d problems, %d repaired, last %d; want %d and %d", s.Problems.Load(), s.Repaired.Load(), s.Last.Load(), problems, repaired)
		}
	}
	round(true, now, 0, 1)
	lose()
	round(true, now, 0, 0) // it is not due
	round(false, now.AddDate(0, 0, 1), 1, 0)
	round(true, now, 1, 0) // not due again, and what is known is told
	round(true, now.AddDate(0, 0, 1), 0, 1)
	if _, err := os.Stat(pack); err != nil {
		t.Error(err)
	}
}
