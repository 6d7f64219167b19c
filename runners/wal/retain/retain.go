// Package retain decides which backups and which WAL an archive keeps, and removes the
// rest in two steps:
//
//	complete ──▶ expired: a tombstone is written ──▶ swept: after the grace the manifest
//	    ◀── the policy keeps it again                goes, then packs that nothing refers
//	                                                 to, then the tombstone
//
// What has a tombstone is no parent of new backups, but can be restored until it is
// swept. The grace is longer than a backup may take, so that a backup that began before
// the tombstone has either written its manifest, which then counts, or never will:
// nothing that is needed is removed, whoever runs at the same time.
//
// It knows backups, timelines and time. It does not know where WAL lies, only what it
// covers.
//
// Source: design/wal.md, R34 and R44 to R47.
package retain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql"
)

// A Policy says what is kept. What any line of it wants is kept.
type Policy struct {
	Window  time.Duration // every moment from this long ago on can be restored
	MinFull int           // so many of the newest full backups; at least one
	Weekly  int           // the last backup of each of so many weeks that have one
	Monthly int           // of each of so many months that have one
	Veto    Veto          // asked before a backup expires; nil: nobody is
	Grace   time.Duration // between expiry and removal; 0: a week; never less than backup.Longest
}

func (p Policy) grace() time.Duration {
	if p.Grace == 0 {
		return 7 * 24 * time.Hour
	}
	return max(p.Grace, backup.Longest)
}

// A Backup is what the decision depends on.
type Backup struct {
	ID          backup.ID
	Timeline    uint32
	Start, Stop sql.LSN
	Ended       time.Time
	Full        bool
	Held        bool // somebody wants it kept for good
	Proven      bool // a drill has restored it
	Bad         bool // it has pages that were damaged on the server
}

// A Verdict says why a backup is kept. Without a reason it expires.
type Verdict struct {
	Backup Backup
	Keep   []string
}

// A Range is WAL of one timeline. To 0 is all that comes after From.
type Range struct {
	Timeline uint32
	From, To sql.LSN
}

// A Decision is what is kept.
type Decision struct {
	Verdicts []Verdict // the oldest first
	WAL      []Range
	known    restore.Timelines
	any      bool
}

// Decide says what is kept of complete backups. It depends on its arguments alone.
func Decide(backups []Backup, timelines restore.Timelines, p Policy, now time.Time) Decision {
	sorted := slices.SortedFunc(slices.Values(backups), func(a, b Backup) int {
		return cmp.Compare(a.ID, b.ID)
	})
	d := Decision{known: timelines, any: len(sorted) > 0}
	for _, b := range sorted {
		d.Verdicts = append(d.Verdicts, Verdict{Backup: b})
	}
	d.keepAlways(p)
	bases := d.keepWindow(p, now)
	d.keepLast("the last of its week", p.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, "-", w) })
	d.keepLast("the last of its month", p.Monthly, func(t time.Time) string { return t.Format("2006-01") })
	d.wal(bases)
	return d
}

// keepAlways keeps what no policy gives up.
func (d *Decision) keepAlways(p Policy) {
	full, proven, clean := 0, false, false
	for i := len(d.Verdicts) - 1; i >= 0; i-- {
		v := &d.Verdicts[i]
		if i == len(d.Verdicts)-1 {
			v.keep("the newest")
		}
		if v.Backup.Held {
			v.keep("held")
		}
		if v.Backup.Proven && !proven {
			v.keep("the last that a drill has proven")
			proven = true
		}
		if !v.Backup.Bad && !clean {
			if clean = true; i < len(d.Verdicts)-1 { // all that came after it are damaged
				v.keep("the last without bad pages")
			}
		}
		if v.Backup.Full && full < max(1, p.MinFull) {
			v.keep("one of the newest full ones")
			full++
		}
	}
}

func (v *Verdict) keep(why string) { v.Keep = append(v.Keep, why) }

// A base is where the replay of a timeline's WAL may have to begin.
type base struct {
	backup Backup
	path   []restore.Fork // timelines from the backup's on, each with where it is left
}

// keepWindow keeps what leads to any moment of the window on the newest timeline, and on
// others for as long as a backup of theirs is in the window.
func (d *Decision) keepWindow(p Policy, now time.Time) (bases []base) {
	from := now.Add(-p.Window)
	live := map[uint32]bool{d.newest(): true}
	for i := range d.Verdicts {
		if v := &d.Verdicts[i]; v.Backup.Ended.After(from) {
			v.keep("in the window")
			live[v.Backup.Timeline] = true
		}
	}
	for _, timeline := range slices.Sorted(maps.Keys(live)) {
		if b, found := d.base(timeline, from); found {
			bases = append(bases, b)
		}
	}
	if last := len(d.Verdicts) - 1; last >= 0 && len(bases) == 0 {
		b := d.Verdicts[last].Backup
		bases = append(bases, base{b, []restore.Fork{{Timeline: b.Timeline}}})
	}
	return bases
}

func (d *Decision) newest() (newest uint32) {
	for t := range d.known {
		newest = max(newest, t)
	}
	for _, v := range d.Verdicts {
		newest = max(newest, v.Backup.Timeline)
	}
	return newest
}

// base keeps the last backup before a moment on the way to a timeline's end, or the first one
// after it if there is none.
func (d *Decision) base(timeline uint32, from time.Time) (found base, any bool) {
	path := append(slices.Clone(d.known[timeline]), restore.Fork{Timeline: timeline})
	chosen := -1
	for i, v := range d.Verdicts {
		at := slices.IndexFunc(path, func(f restore.Fork) bool {
			return f.Timeline == v.Backup.Timeline && (f.At == 0 || v.Backup.Stop <= f.At)
		})
		if at < 0 || v.Backup.Ended.After(from) && chosen >= 0 {
			continue
		}
		chosen, found = i, base{v.Backup, path[at:]}
	}
	if chosen < 0 {
		return base{}, false
	}
	if v := &d.Verdicts[chosen]; !v.Backup.Ended.After(from) {
		v.keep("the window begins with it")
	}
	return found, true
}

// keepLast keeps the last backup of each of n periods.
func (d *Decision) keepLast(why string, n int, period func(time.Time) string) {
	seen := map[string]bool{}
	for i := len(d.Verdicts) - 1; i >= 0 && len(seen) < n; i-- {
		v := &d.Verdicts[i]
		if name := period(v.Backup.Ended.UTC()); !seen[name] {
			seen[name] = true
			v.keep(why)
		}
	}
}

// wal lists the WAL that is needed: between start and stop of every backup that is
// kept, and all that follows on the bases of the window.
func (d *Decision) wal(bases []base) {
	for _, v := range d.Verdicts {
		if len(v.Keep) > 0 {
			d.Also(v.Backup)
		}
	}
	for _, b := range bases {
		from := b.backup.Start
		for _, f := range b.path {
			d.WAL = append(d.WAL, Range{f.Timeline, from, f.At})
			from = 0
		}
	}
}

// Also keeps the WAL that makes a backup consistent.
func (d *Decision) Also(b Backup) {
	d.WAL = append(d.WAL, Range{b.Timeline, b.Start, b.Stop})
}

// Needs reports whether WAL of a timeline between two positions is needed. Without
// backups all is, and so is that of a timeline whose history is not known.
func (d *Decision) Needs(timeline uint32, from, to sql.LSN) bool {
	if _, known := d.known[timeline]; !d.any || !known && timeline > 1 {
		return true
	}
	return slices.ContainsFunc(d.WAL, func(r Range) bool {
		return r.Timeline == timeline && to > r.From && (r.To == 0 || from < r.To)
	})
}
