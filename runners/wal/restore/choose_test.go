package restore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql"
)

// TestChoose: timeline 1 was left for 2 at 500, and 2 for 3 at 700. Timeline 4 left 1
// at 300, so that it knows nothing of what 2 and 3 did.
func TestChoose(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	id := func(timeline uint32, start sql.LSN, n int) backup.ID {
		return backup.ID(fmt.Sprintf("%s-%08X-%016X", day(n).Format("20060102T150405Z"), timeline, uint64(start)))
	}
	a, b, c, d, e := id(1, 100, 1), id(1, 400, 2), id(1, 490, 3), id(2, 600, 4), id(3, 800, 5)
	backups := []backup.ID{a, b, c, d, e}
	manifests := map[backup.ID]*backup.Manifest{}
	made := func(id backup.ID, timeline uint32, stop sql.LSN, n int) {
		manifests[id] = &backup.Manifest{
			Head: backup.Head{ID: id, Timeline: timeline, Began: day(n), Clock: day(n)},
			Tail: backup.Tail{Stop: stop, Ended: day(n).Add(time.Hour)},
		}
	}
	made(a, 1, 120, 1)
	made(b, 1, 420, 2)
	made(c, 1, 510, 3) // went beyond the end of 1
	made(d, 2, 620, 4)
	made(e, 3, 820, 5)
	var loaded []backup.ID
	load := func(id backup.ID) (*backup.Manifest, error) {
		loaded = append(loaded, id)
		if manifests[id] == nil {
			return nil, &backup.DamageError{Key: string(id), Err: errors.New("gone")}
		}
		return manifests[id], nil
	}
	timelines := restore.Timelines{2: {{1, 500}}, 3: {{1, 500}, {2, 700}}, 4: {{1, 300}}}
	for _, one := range []struct {
		name   string
		target restore.Target
		only   backup.ID
		want   backup.ID
		path   string
		why    string
	}{
		{name: "the latest is on the newest timeline", target: restore.Target{}, want: a, path: "1 4"},
		{name: "the latest of another branch", target: restore.Target{Timeline: 3}, want: e, path: "3"},
		{name: "a position before the newest backup", target: restore.Target{Timeline: 3, LSN: 819}, want: d, path: "2 3"},
		{name: "the very end of a backup", target: restore.Target{Timeline: 3, LSN: 820}, want: e, path: "3"},
		{name: "a position on an ancestor ends there", target: restore.Target{Timeline: 3, LSN: 450}, want: b, path: "1"},
		{name: "a backup that went beyond its timeline's end is none", target: restore.Target{Timeline: 3, LSN: 550}, want: b, path: "1 2"},
		{name: "before the oldest", target: restore.Target{Timeline: 3, LSN: 119}, why: "-0000000000000320 ended at 0/334, after the target"},
		{name: "what the branch does not know", target: restore.Target{Timeline: 4}, only: e, why: "which timeline 4 does not come from"},
		{name: "after the branch was left", target: restore.Target{Timeline: 4}, only: b, why: "after timeline 1 was left"},
		{name: "a time", target: restore.Target{Timeline: 3, Time: day(4).Add(59 * time.Minute)}, want: b, path: "1 2 3"},
		{name: "a time just after a backup", target: restore.Target{Timeline: 3, Time: day(4).Add(time.Hour + time.Second)}, want: d, path: "2 3"},
		{name: "a time before all of them", target: restore.Target{Timeline: 3, Time: day(1)}, why: "after the target"},
		{name: "a transaction", target: restore.Target{Timeline: 3, XID: "1"}, want: e, path: "3"},
		{name: "a restore point from a named backup", target: restore.Target{Timeline: 3, Name: "x"}, only: d, want: d, path: "2 3"},
		{name: "the end of the newest backup", target: restore.Target{Immediate: true}, want: e, path: "3"},
		{name: "the end of a named backup", target: restore.Target{Immediate: true}, only: b, want: b, path: "1"},
	} {
		t.Run(one.name, func(t *testing.T) {
			got, m, err := restore.Choose(backups, load, timelines, one.target, one.only)
			if one.why != "" {
				var none *restore.NoBackupError
				if !errors.As(err, &none) || !strings.Contains(err.Error(), one.why) {
					t.Errorf("got %+v, %v; want %s", got, err, one.why)
				}
				return
			}
			var path []string
			for _, f := range got.Path {
				path = append(path, string(rune('0'+f.Timeline)))
			}
			if err != nil || got.Backup != one.want || strings.Join(path, " ") != one.path || m != manifests[one.want] {
				t.Errorf("got %s by %v, %v; want %s by %s", got.Backup, path, err, one.want, one.path)
			}
		})
	}
	if _, _, err := restore.Choose(nil, load, nil, restore.Target{}, ""); err == nil {
		t.Error("a backup was found where there is none")
	}
	loaded = nil
	if _, _, err := restore.Choose(backups, load, timelines, restore.Target{Timeline: 3, LSN: 700}, ""); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]backup.ID{e, d}, loaded); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	delete(manifests, e)
	if got, _, err := restore.Choose(backups, load, timelines, restore.Target{Timeline: 3}, ""); err != nil || got.Backup != d {
		t.Errorf("with a damaged one: got %s, %v", got.Backup, err)
	}
	var damaged *backup.DamageError
	if _, _, err := restore.Choose(backups, load, timelines, restore.Target{Timeline: 3}, e); !errors.As(err, &damaged) {
		t.Errorf("the damaged one itself: got %v", err)
	}
}
