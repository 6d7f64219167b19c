package restore

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/sql"
)

// A Target is the point to recover to. At most one of Time, LSN, XID, Name and
// Immediate is set; none is the latest there is.
type Target struct {
	Time      time.Time
	LSN       sql.LSN
	XID       string
	Name      string // of a restore point
	Immediate bool   // as soon as the backup is consistent
	Exclusive bool   // stop before the target and not after it
	Timeline  uint32 // 0: the newest, or the backup's with Immediate
}

// Latest reports whether it is the end of the WAL.
func (t Target) Latest() bool {
	return t.Time.IsZero() && t.LSN == 0 && t.XID == "" && t.Name == "" && !t.Immediate
}

func (t Target) String() string {
	switch {
	case !t.Time.IsZero():
		return "the time " + t.Time.Format(time.RFC3339Nano)
	case t.LSN != 0:
		return "the position " + t.LSN.String()
	case t.XID != "":
		return "transaction " + t.XID
	case t.Name != "":
		return "the restore point " + t.Name
	case t.Immediate:
		return "the end of the backup"
	}
	return "the latest"
}

// A Fork is where a timeline was left for the next one.
type Fork struct {
	Timeline uint32
	At       sql.LSN
}

// Timelines maps each timeline to its ancestors, the oldest first, as the history
// files have them. Timeline 1 has none.
type Timelines map[uint32][]Fork

// path is the way from the first timeline to one of them: each with where it ends.
func (t Timelines) path(to uint32) []Fork {
	return append(slices.Clone(t[to]), Fork{to, 1<<64 - 1})
}

// A Choice is the backup for a target, and the way from there.
type Choice struct {
	Backup backup.ID
	Target Target
	Path   []Fork // timelines to replay, the backup's first; the last one ends nowhere
}

// A NoBackupError says that a target cannot be reached from any backup.
type NoBackupError struct {
	Target Target
	Why    []string // of each backup, the newest first
}

func (e *NoBackupError) Error() string {
	text := fmt.Sprintf("no backup leads to %s", e.Target)
	for i, why := range e.Why {
		if i == 3 {
			return text + fmt.Sprintf("; and %d more", len(e.Why)-i)
		}
		text += "; " + why
	}
	return text
}

// Hint is what a person can try.
func (e *NoBackupError) Hint() string {
	return "skytools backup list shows what there is; --timeline chooses another branch of history"
}

// Choose finds the newest backup that ended before the target, on the target's
// timeline or on one that it comes from. It never falls back to another one. backups are
// the complete ones; only, if not empty, is the one to use.
//
// The newest is loaded first and those that do not lead to the target are let go: the
// manifest of a large cluster is large. A backup that cannot be read in any store is none,
// unless it is the one to use; verify says so.
//
// The time of a backup's end is by our clock, corrected by what the server's clock was
// off when it began. Where a transaction or a restore point lies nobody can tell: there
// the newest backup is taken, and only can name an older one.
//
// Source: design/wal.md, R38.
func Choose(backups []backup.ID, load func(backup.ID) (*backup.Manifest, error), timelines Timelines, target Target, only backup.ID) (Choice, *backup.Manifest, error) {
	to := target.Timeline
	if to == 0 {
		to = newest(backups, timelines)
	}
	refused := &NoBackupError{Target: target}
	for _, id := range slices.Backward(slices.Sorted(slices.Values(backups))) {
		if only != "" && id != only {
			continue
		}
		m, err := load(id)
		var damaged *backup.DamageError
		if errors.As(err, &damaged) && only == "" {
			refused.Why = append(refused.Why, fmt.Sprintf("%s cannot be read", id))
			continue
		}
		if err != nil {
			return Choice{}, nil, err
		}
		way := to
		if target.Immediate && target.Timeline == 0 {
			way = m.Timeline
		}
		path, why := reaches(m, timelines.path(way), target)
		if why == "" {
			return Choice{Backup: id, Target: target, Path: path}, m, nil
		}
		refused.Why = append(refused.Why, fmt.Sprintf("%s %s", id, why))
	}
	return Choice{}, nil, refused
}

func newest(backups []backup.ID, timelines Timelines) (to uint32) {
	for t := range timelines {
		to = max(to, t)
	}
	for _, id := range backups {
		to = max(to, id.Timeline())
	}
	return to
}

// reaches is the part of a path from a backup on, or why it does not lead to the target.
func reaches(m *backup.Manifest, path []Fork, target Target) ([]Fork, string) {
	at := slices.IndexFunc(path, func(f Fork) bool { return f.Timeline == m.Timeline })
	last := path[len(path)-1].Timeline
	switch {
	case at < 0:
		return nil, fmt.Sprintf("is on timeline %d, which timeline %d does not come from", m.Timeline, last)
	case m.Stop > path[at].At:
		return nil, fmt.Sprintf("ended at %s, after timeline %d was left at %s", m.Stop, m.Timeline, path[at].At)
	case target.LSN != 0 && m.Stop > target.LSN:
		return nil, fmt.Sprintf("ended at %s, after the target", m.Stop)
	case !target.Time.IsZero() && endedAt(m).After(target.Time):
		return nil, fmt.Sprintf("ended %s, after the target", endedAt(m).Format(time.RFC3339))
	}
	path = path[at:]
	if target.LSN != 0 { // beyond it nothing is replayed
		for i, f := range path {
			if target.LSN < f.At {
				return path[:i+1], ""
			}
		}
	}
	return path, ""
}

// endedAt is when a backup ended at the latest, by the server's clock: Ended and Began are
// rounded down to the second, so it is up to two seconds late and never early.
func endedAt(m *backup.Manifest) time.Time {
	return m.Ended.Add(time.Second + m.Clock.Sub(m.Began))
}
