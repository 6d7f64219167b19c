package schedule_test

import (
	"context"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/archive/archivetest"
	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/runners/wal/schedule"
)

func at(day, hour, minute int) time.Time {
	return time.Date(2026, 11, day, hour, minute, 0, 0, time.UTC) // 1, 8, 15: Sundays
}

var (
	nightly = schedule.At{Set: true, Hour: 2}
	sunday  = schedule.At{Set: true, Weekly: true, Day: time.Sunday, Hour: 2}
)

func TestLastAndNext(t *testing.T) {
	for _, c := range []struct {
		at              schedule.At
		now, last, next time.Time
	}{
		{nightly, at(5, 1, 59), at(4, 2, 0), at(5, 2, 0)},
		{nightly, at(5, 2, 0), at(5, 2, 0), at(6, 2, 0)},
		{sunday, at(5, 12, 0), at(1, 2, 0), at(8, 2, 0)},
		{sunday, at(8, 1, 0), at(1, 2, 0), at(8, 2, 0)},
		{sunday, at(8, 2, 0), at(8, 2, 0), at(15, 2, 0)},
		{schedule.At{}, at(8, 2, 0), time.Time{}, time.Time{}},
	} {
		if got := c.at.Last(c.now); !got.Equal(c.last) {
			t.Errorf("%+v before %s: %s; want %s", c.at, c.now, got, c.last)
		}
		if got := c.at.Next(c.now); !got.Equal(c.next) {
			t.Errorf("%+v after %s: %s; want %s", c.at, c.now, got, c.next)
		}
	}
}

func TestDueAt(t *testing.T) {
	full := func(t time.Time) *backup.Manifest { return &backup.Manifest{Head: backup.Head{Began: t}} }
	incremental := func(t time.Time) *backup.Manifest {
		return &backup.Manifest{Head: backup.Head{Began: t, Parent: "x"}}
	}
	none := schedule.At{}
	for _, c := range []struct {
		name              string
		full, incremental schedule.At
		done              []*backup.Manifest
		now               time.Time
		want              schedule.Due
		any               bool
	}{
		{name: "no schedule", now: at(5, 3, 0)},
		{name: "the first is full", incremental: nightly, now: at(5, 1, 0), want: schedule.Due{Full: true}, any: true},
		{name: "all is done", full: sunday, incremental: nightly, done: []*backup.Manifest{full(at(1, 2, 0)), incremental(at(5, 2, 0))}, now: at(5, 3, 0)},
		{name: "tonight's", full: sunday, incremental: nightly, done: []*backup.Manifest{full(at(1, 2, 0)), incremental(at(4, 2, 0))}, now: at(5, 2, 0), want: schedule.Due{Since: at(5, 2, 0)}, any: true},
		{name: "a missed one is made up for once", full: none, incremental: nightly, done: []*backup.Manifest{full(at(1, 2, 0))}, now: at(5, 23, 0), want: schedule.Due{Since: at(5, 2, 0)}, any: true},
		{name: "the full one counts for both", full: sunday, incremental: nightly, done: []*backup.Manifest{full(at(1, 2, 0)), incremental(at(7, 2, 0))}, now: at(8, 2, 1), want: schedule.Due{Full: true, Since: at(8, 2, 0)}, any: true},
		{name: "and then neither is due", full: sunday, incremental: nightly, done: []*backup.Manifest{full(at(1, 2, 0)), full(at(8, 2, 1))}, now: at(8, 2, 30)},
		{name: "an incremental one is no full one", full: sunday, done: []*backup.Manifest{full(at(1, 2, 0)), incremental(at(9, 2, 0))}, now: at(9, 3, 0), want: schedule.Due{Full: true, Since: at(8, 2, 0)}, any: true},
	} {
		if got, any := schedule.DueAt(c.full, c.incremental, c.done, c.now); got != c.want || any != c.any {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, got, any, c.want, c.any)
		}
	}
}

// TestKeeper: the first backup is due at once and no other is before its time; the
// retention comes after each.
func TestKeeper(t *testing.T) {
	c := backuptest.Start(t)
	a := archivetest.Open(t, c, nil, backuptest.Dir(t, "store"))
	stats := &schedule.Stats{}
	k := schedule.New(schedule.Config{
		Archive: a, Full: sunday, Incremental: nightly, Policy: &retain.Policy{}, Stats: stats,
		Options: func(context.Context) (backup.Options, error) { return c.Options(), nil },
	})
	now := time.Now()
	tomorrow := nightly.Next(now).Add(2 * time.Hour)
	for _, when := range []time.Time{now, now, tomorrow} {
		if err := k.RunOnce(t.Context(), when); err != nil {
			t.Fatal(err)
		}
	}
	list, err := a.Shelf().List(t.Context())
	if err != nil || len(list) != 2 || stats.Backups.Load() != 2 || stats.Late.Load() != 0 || stats.Last.Load() < now.Unix() {
		t.Fatalf("there are %+v, %v", list, err)
	}
	second, err := a.Shelf().Load(t.Context(), list[1].ID)
	if full := tomorrow.Weekday() == time.Sunday; err != nil || second.Full() != full {
		t.Errorf("the second backup follows %q, %v", second.Parent, err)
	}
	c.Halt()
	if err := k.RunOnce(t.Context(), tomorrow.AddDate(0, 0, 8)); err == nil || stats.Late.Load() == 0 {
		t.Errorf("without a server: %v, and it is %d s late", err, stats.Late.Load())
	}
}
