package schedule_test

import (
	"context"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/archive/archivetest"
	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/runners/wal/schedule"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/sql"
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

// TestDueAfter: behind a hole a backup is due, until there is one.
func TestDueAfter(t *testing.T) {
	const size = segment.Size(1 << 20)
	hole := func(first, last sql.LSN, when time.Time) repo.Gap {
		return repo.Gap{First: size.At(1, first), Last: size.At(1, last), Missed: when}
	}
	done := func(starts ...sql.LSN) (all []*backup.Manifest) {
		for _, start := range starts {
			all = append(all, &backup.Manifest{Head: backup.Head{Start: start}})
		}
		return all
	}
	holes := []repo.Gap{hole(5<<20, 6<<20, at(5, 1, 0)), hole(9<<20, 9<<20, at(4, 1, 0))}
	for _, c := range []struct {
		name string
		done []*backup.Manifest
		want schedule.Due
		any  bool
	}{
		{name: "before all", done: done(1 << 20), want: schedule.Due{Since: at(4, 1, 0)}, any: true},
		{name: "in the first", done: done(1<<20, 6<<20), want: schedule.Due{Since: at(4, 1, 0)}, any: true},
		{name: "between them", done: done(7 << 20), want: schedule.Due{Since: at(4, 1, 0)}, any: true},
		{name: "behind both", done: done(1<<20, 10<<20)},
	} {
		if got, any := schedule.DueAfter(holes, size, c.done); got != c.want || any != c.any {
			t.Errorf("%s: %+v, %v", c.name, got, any)
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

	// WAL that a receiver came too late for calls for a backup behind it, once.
	c.Exec("create table later as select 1 as i")
	lost, err := segment.Parse(backuptest.One[string](c, "select pg_walfile_name(pg_switch_wal())"))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(t.Context(), lost.Timeline, a.Size.Start(lost), a.Size.End(lost)); err != nil {
		t.Fatal(err)
	}
	for f, err := range repo.Files(t.Context(), a.Repo.Stores[0], a.System) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Name == lost {
			if err := a.Repo.Stores[0].Delete(t.Context(), f.Key); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.Repo.Missed(t.Context(), a.System, repo.Gap{First: lost, Last: lost, Count: 1}, "a test", time.Now()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := k.RunOnce(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if list, err = a.Shelf().List(t.Context()); err != nil || len(list) != 3 {
		t.Fatalf("after the loss there are %+v, %v", list, err)
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
