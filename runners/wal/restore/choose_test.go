package restore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql"
)

// TestChoose: timeline 1 was left for 2 at 500, and 2 for 3 at 700. Timeline 4 left 1
// at 300, so that it knows nothing of what 2 and 3 did.
func TestChoose(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	made := func(id backup.ID, timeline uint32, start, stop sql.LSN, n int) *backup.Manifest {
		return &backup.Manifest{
			Head: backup.Head{ID: id, Timeline: timeline, Start: start, Began: day(n), Clock: day(n)},
			Tail: backup.Tail{Stop: stop, Ended: day(n).Add(time.Hour)},
		}
	}
	backups := []*backup.Manifest{
		made("a", 1, 100, 120, 1), made("b", 1, 400, 420, 2), made("c", 1, 490, 510, 3), // c went beyond the end of 1
		made("d", 2, 600, 620, 4), made("e", 3, 800, 820, 5),
	}
	timelines := restore.Timelines{2: {{1, 500}}, 3: {{1, 500}, {2, 700}}, 4: {{1, 300}}}
	for _, c := range []struct {
		name   string
		target restore.Target
		only   backup.ID
		want   backup.ID
		path   string
		why    string
	}{
		{name: "the latest is on the newest timeline", target: restore.Target{}, want: "a", path: "1 4"},
		{name: "the latest of another branch", target: restore.Target{Timeline: 3}, want: "e", path: "3"},
		{name: "a position before the newest backup", target: restore.Target{Timeline: 3, LSN: 819}, want: "d", path: "2 3"},
		{name: "the very end of a backup", target: restore.Target{Timeline: 3, LSN: 820}, want: "e", path: "3"},
		{name: "a position on an ancestor ends there", target: restore.Target{Timeline: 3, LSN: 450}, want: "b", path: "1"},
		{name: "a backup that went beyond its timeline's end is none", target: restore.Target{Timeline: 3, LSN: 550}, want: "b", path: "1 2"},
		{name: "before the oldest", target: restore.Target{Timeline: 3, LSN: 119}, why: "e ended at 0/334, after the target"},
		{name: "what the branch does not know", target: restore.Target{Timeline: 4}, only: "e", why: "which timeline 4 does not come from"},
		{name: "after the branch was left", target: restore.Target{Timeline: 4}, only: "b", why: "after timeline 1 was left"},
		{name: "a time", target: restore.Target{Timeline: 3, Time: day(4).Add(59 * time.Minute)}, want: "b", path: "1 2 3"},
		{name: "a time just after a backup", target: restore.Target{Timeline: 3, Time: day(4).Add(time.Hour + time.Second)}, want: "d", path: "2 3"},
		{name: "a time before all of them", target: restore.Target{Timeline: 3, Time: day(1)}, why: "after the target"},
		{name: "a transaction", target: restore.Target{Timeline: 3, XID: "1"}, want: "e", path: "3"},
		{name: "a restore point from a named backup", target: restore.Target{Timeline: 3, Name: "x"}, only: "d", want: "d", path: "2 3"},
		{name: "the end of the newest backup", target: restore.Target{Immediate: true}, want: "e", path: "3"},
		{name: "the end of a named backup", target: restore.Target{Immediate: true}, only: "b", want: "b", path: "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := restore.Choose(backups, timelines, c.target, c.only)
			if c.why != "" {
				var none *restore.NoBackupError
				if !errors.As(err, &none) || !strings.Contains(err.Error(), c.why) {
					t.Errorf("got %+v, %v; want %s", got, err, c.why)
				}
				return
			}
			var path []string
			for _, f := range got.Path {
				path = append(path, string(rune('0'+f.Timeline)))
			}
			if err != nil || got.Backup != c.want || strings.Join(path, " ") != c.path {
				t.Errorf("got %s by %v, %v; want %s by %s", got.Backup, path, err, c.want, c.path)
			}
		})
	}
	if _, err := restore.Choose(nil, nil, restore.Target{}, ""); err == nil {
		t.Error("a backup was found where there is none")
	}
}
