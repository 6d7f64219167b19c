package schedule_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal/archive"
	"github.com/skytools-go/skytools/runners/wal/archive/archivetest"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/schedule"
	"github.com/skytools-go/skytools/runners/wal/segment"
)

// keys are the WAL, packs and manifests in a store.
func keys(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		key := strings.TrimPrefix(path, dir)
		if err == nil && !d.IsDir() && (strings.Contains(key, "/wal/") || strings.Contains(key, "/pack/") || strings.HasSuffix(key, "/manifest")) && !strings.HasSuffix(key, ".index") {
			all = append(all, key)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestCatchUp: a store that is not required gets, some objects at a time, what was put
// elsewhere while it was away, and the required one gets nothing from it.
func TestCatchUp(t *testing.T) {
	c := backuptest.Start(t)
	one, two := backuptest.Dir(t, "one"), backuptest.Dir(t, "two")
	first := archivetest.Open(t, c, nil, one) // which never writes to the other one
	config := repo.Config{Stores: slices.Clone(first.Repo.Stores)}
	config.Stores = append(config.Stores, repo.Store{Store: c.Shelf(two).Stores[0].Store})
	both, err := repo.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := both.Init(t.Context(), segment.Cluster{System: first.System, Major: c.Install.Major(), Size: first.Size}, time.Now()); err != nil {
		t.Fatal(err)
	}
	a := &archive.Archive{Repo: both, System: first.System, Size: first.Size}
	stats := &schedule.CatchUpStats{}
	u := schedule.NewCatchUp(schedule.CatchUpConfig{Archive: a, Limit: 3, Stats: stats})
	now := time.Now()
	run := func() {
		t.Helper()
		now = now.Add(time.Minute)
		if err := u.RunOnce(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if stats.Down.Load() != 0 || stats.Missing.Load() != 0 {
		t.Errorf("%d down, %d missing in an archive without backups", stats.Down.Load(), stats.Missing.Load())
	}

	if err := errors.Join(os.Rename(two, two+".away"), os.Mkdir(two, 0o700)); err != nil {
		t.Fatal(err)
	}
	o := c.Options()
	o.WAL = first
	c.Take(first.Shelf(), o)
	run()
	if stats.Down.Load() != 1 || stats.Copied.Load() != 0 {
		t.Errorf("%d down, %d copied", stats.Down.Load(), stats.Copied.Load())
	}
	if left, err := os.ReadDir(two); err != nil || len(left) != 0 {
		t.Errorf("written where the store is not: %v, %v", left, err)
	}
	if err := errors.Join(os.Remove(two), os.Rename(two+".away", two)); err != nil {
		t.Fatal(err)
	}
	run()
	if stats.Down.Load() != 0 || stats.Copied.Load() != 3 || stats.Missing.Load() == 0 {
		t.Errorf("in one round: %d down, %d copied, %d missing", stats.Down.Load(), stats.Copied.Load(), stats.Missing.Load())
	}
	for range 100 {
		if run(); stats.Missing.Load() == 0 {
			break
		}
	}
	if diff := cmp.Diff(keys(t, one), keys(t, two)); diff != "" {
		t.Error(diff)
	}

	// What expired in the required store stays away, and what nobody saw missing is found
	// within ten minutes.
	gone := keys(t, one)
	if err := errors.Join(os.Remove(one+gone[len(gone)-1]), os.Remove(two+gone[len(gone)-2])); err != nil {
		t.Fatal(err)
	}
	for range 11 {
		run()
	}
	if got := keys(t, one); len(got) != len(gone)-1 {
		t.Errorf("the required store got something back: %v", got)
	}
	if got := keys(t, two); len(got) != len(gone) {
		t.Errorf("after ten minutes the other one has %v", got)
	}
}
