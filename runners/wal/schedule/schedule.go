// Package schedule does what is due in an archive: a [Keeper] takes backups and applies the
// retention after each, a [Prover] drills the newest backup, a [Scrubber] reads everything
// in the stores, a [CatchUp] brings to stores that are not required what they lack.
//
// Whether a backup is due is not remembered but seen: it is due when none that is fit
// began since the last time of its schedule. So a time that was missed, because nothing
// ran or because the backup failed, is made up for as soon as possible, once, and
// [Stats] tells how late it is. When a drill was held or the stores were read last stands
// in the archive, too. A backup is due at once where WAL is missing for good that a
// receiver came too late for, since no earlier one leads past that.
//
// It knows times and what lies in the archive. It does not know YAML.
package schedule

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/wal/archive"
	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/sql"
)

// At is a time of every day, or with Weekly of one day of the week, in UTC.
type At struct {
	Set          bool // otherwise never
	Weekly       bool
	Day          time.Weekday
	Hour, Minute int
}

// Last is the last time not after now. Zero when there is none.
func (a At) Last(now time.Time) time.Time {
	if !a.Set {
		return time.Time{}
	}
	now = now.UTC()
	t := time.Date(now.Year(), now.Month(), now.Day(), a.Hour, a.Minute, 0, 0, time.UTC)
	for t.After(now) || a.Weekly && t.Weekday() != a.Day {
		t = t.AddDate(0, 0, -1)
	}
	return t
}

// Next is the first time after now. Zero when there is none.
func (a At) Next(now time.Time) time.Time {
	last := a.Last(now)
	switch {
	case last.IsZero():
		return last
	case a.Weekly:
		return last.AddDate(0, 0, 7)
	}
	return last.AddDate(0, 0, 1)
}

// Due is a backup that should have begun.
type Due struct {
	Full  bool
	Since time.Time // zero: the first one of all
}

// DueAt says what is due. done are the complete backups; a full one makes up for an
// incremental one that is due at the same time.
func DueAt(full, incremental At, done []*backup.Manifest, now time.Time) (due Due, any bool) {
	if !full.Set && !incremental.Set {
		return Due{}, false
	}
	var lastFull, last time.Time
	for _, m := range done {
		if m.Began.After(last) {
			last = m.Began
		}
		if m.Full() && m.Began.After(lastFull) {
			lastFull = m.Began
		}
	}
	switch since := full.Last(now); {
	case last.IsZero():
		return Due{Full: true}, true
	case full.Set && lastFull.Before(since):
		return Due{Full: true, Since: since}, true
	}
	if since := incremental.Last(now); incremental.Set && last.Before(since) {
		return Due{Since: since}, true
	}
	return Due{}, false
}

// DueAfter says what is due because of a hole in the WAL: a backup behind it, if none of
// those that are done is.
func DueAfter(holes []repo.Gap, size segment.Size, done []*backup.Manifest) (due Due, any bool) {
	for _, g := range holes {
		end := size.End(g.Last)
		if slices.ContainsFunc(done, func(m *backup.Manifest) bool { return m.Start >= end }) {
			continue
		}
		if !any || g.Missed.Before(due.Since) {
			due, any = Due{Since: g.Missed}, true
		}
	}
	return due, any
}

// Stats tell how the loop fares. They are safe for concurrent use.
type Stats struct {
	Backups atomic.Int64
	Last    atomic.Int64 // when the last backup ended, in seconds since 1970; 0: not by this process
	Late    atomic.Int64 // seconds by which a due backup is late; 0: nothing is due
	Swept   atomic.Int64 // backups that retention has removed
}

// Config says what to do when.
type Config struct {
	Archive           *archive.Archive
	Options           func(context.Context) (backup.Options, error) // looks the DSN up each time
	Full, Incremental At
	Policy            *retain.Policy // nil: nothing is removed
	Every             time.Duration  // how often to look; 0: a minute
	Log               hclog.Logger
	Stats             *Stats
}

// A Keeper keeps an archive's backups as declared.
type Keeper struct{ Config }

// New returns a keeper.
func New(c Config) *Keeper {
	c.Log, c.Stats = cmp.Or(c.Log, hclog.NewNullLogger()), cmp.Or(c.Stats, &Stats{})
	return &Keeper{c}
}

// Run looks every so often until ctx ends, which gives a backup in hand up: the next one
// goes on with what it has written. It returns at the first error.
func (k *Keeper) Run(ctx context.Context) error { return watch(ctx, k.Every, k.RunOnce) }

// watch calls once with the time every so often, by default every minute, until ctx ends
// or it fails. What fails because ctx has ended is no error.
func watch(ctx context.Context, every time.Duration, once func(context.Context, time.Time) error) error {
	for {
		if err := once(ctx, time.Now()); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if !runners.Sleep(ctx, cmp.Or(every, time.Minute)) {
			return nil
		}
	}
}

// RunOnce takes the backup that is due at a time, if there is one, and then applies the
// retention.
func (k *Keeper) RunOnce(ctx context.Context, now time.Time) error {
	done, err := k.done(ctx)
	if err != nil {
		return err
	}
	due, any := DueAt(k.Full, k.Incremental, done, now)
	if !any && len(done) > 0 {
		if due, any, err = k.dueAfter(ctx, done); err != nil {
			return err
		}
	}
	if !any {
		k.Stats.Late.Store(0)
		return nil
	}
	if !due.Since.IsZero() {
		late := now.Sub(due.Since)
		k.Stats.Late.Store(int64(late / time.Second))
		if late > time.Hour {
			k.Log.Warn("a backup is late", "due", due.Since, "full", due.Full)
		}
	}
	if err := k.take(ctx, due.Full); err != nil {
		return err
	}
	k.Stats.Late.Store(0)
	return k.keep(ctx)
}

// dueAfter says what is due because of WAL that is gone.
func (k *Keeper) dueAfter(ctx context.Context, done []*backup.Manifest) (due Due, any bool, err error) {
	if !k.Full.Set && !k.Incremental.Set {
		return Due{}, false, nil
	}
	newest := sql.LSN(0)
	for _, m := range done {
		newest = max(newest, m.Start)
	}
	holes, err := k.Archive.Holes(ctx, newest)
	if err != nil {
		return Due{}, false, err
	}
	if due, any = DueAfter(holes, k.Archive.Size, done); any {
		k.Log.Warn("WAL is missing that no earlier backup leads past: a backup is due at once", "segments", fmt.Sprint(holes))
	}
	return due, any, nil
}

// done reads the heads of the complete backups that are going to stay.
func (k *Keeper) done(ctx context.Context) (done []*backup.Manifest, err error) {
	shelf := k.Archive.Shelf()
	entries, err := shelf.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.Complete || e.Notes[backup.Tombstone] {
			continue
		}
		head, err := shelf.LoadHead(ctx, e.ID)
		if err != nil {
			k.Log.Warn("a backup cannot be read, and does not count", "backup", string(e.ID), "error", err)
			continue
		}
		done = append(done, &backup.Manifest{Head: head})
	}
	return done, nil
}

func (k *Keeper) take(ctx context.Context, full bool) error {
	o, err := k.Options(ctx)
	if err != nil {
		return err
	}
	o.Full, o.WAL = full, k.Archive
	k.Log.Info("taking a backup", "full", full)
	m, err := backup.Take(ctx, k.Archive.Shelf(), o)
	if err != nil {
		return err
	}
	k.Stats.Backups.Add(1)
	k.Stats.Last.Store(m.Ended.Unix())
	if len(m.BadPages) > 0 {
		k.Log.Error("pages are damaged on the server, and so they are in the backup", "backup", string(m.ID), "pages", strings.Join(m.BadPages, "; "))
	}
	k.Log.Info("a backup is complete", "backup", string(m.ID), "bytes", m.Bytes, "new", m.NewBytes, "stored", m.Stored)
	return nil
}

func (k *Keeper) keep(ctx context.Context) error {
	if k.Policy == nil {
		return nil
	}
	r, err := retain.Run(ctx, k.Archive.Shelf(), k.Archive, *k.Policy, time.Now(), false)
	if err != nil {
		return err
	}
	for _, v := range r.Vetoed {
		k.Log.Warn("a backup that would have expired stays: pre_expire did not let it go", "backup", string(v.ID), "why", v.Why)
	}
	k.Stats.Swept.Add(int64(len(r.Swept)))
	if len(r.Expired)+len(r.Swept)+r.Segments+r.Missed > 0 {
		k.Log.Info("applied the retention", "expired", fmt.Sprint(r.Expired), "removed", fmt.Sprint(r.Swept), "packs", r.Packs, "segments", r.Segments, "missed", r.Missed)
	}
	return nil
}
