package retain

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/sql"
)

// A Segment is a stored file of WAL.
type Segment struct {
	Timeline uint32
	From, To sql.LSN
	Bytes    int64
	Key      string
}

// A WAL is the WAL of an archive, as far as retention depends on it. History files are
// never removed.
type WAL interface {
	Timelines(ctx context.Context) (restore.Timelines, error)
	Segments(ctx context.Context) iter.Seq2[Segment, error]
	Missed(ctx context.Context) ([]Segment, error) // records of WAL that is missing for good
	Remove(ctx context.Context, s Segment) error   // from every store
}

// A Mark is the tombstone of a backup.
type Mark struct {
	At  time.Time `json:"at"`
	Why string    `json:"why"`
}

// A Report is what Run did, or would do.
type Report struct {
	Verdicts []Verdict
	Expired  []backup.ID // got a tombstone now
	Vetoed   []Vetoed    // would have got one
	Revived  []backup.ID // lost it
	Swept    []backup.ID // lost the manifest
	Packs    int         // removed
	Segments int         // removed
	Missed   int         // records of missing WAL, removed
	Bytes    int64       // of removed packs and segments, per store
}

// Run applies a policy at a time. With dry it only says what it would do. It may be
// interrupted anywhere and run again.
func Run(ctx context.Context, shelf *backup.Shelf, wal WAL, p Policy, now time.Time, dry bool) (Report, error) {
	r := &run{shelf: shelf, wal: wal, p: p, now: now, dry: dry}
	if err := r.all(ctx); err != nil {
		return r.report, fmt.Errorf("apply the retention: %w", err)
	}
	return r.report, nil
}

type run struct {
	shelf  *backup.Shelf
	wal    WAL
	p      Policy
	now    time.Time
	dry    bool
	report Report

	entries   []backup.Entry
	manifests map[backup.ID]*backup.Manifest
	marks     map[backup.ID]Mark
	kept      map[backup.ID]bool
}

func (r *run) all(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	timelines, err := r.wal.Timelines(ctx)
	if err != nil {
		return err
	}
	d := Decide(r.backups(ctx), timelines, r.p, r.now)
	r.report.Verdicts = d.Verdicts
	for _, v := range d.Verdicts {
		r.kept[v.Backup.ID] = len(v.Keep) > 0
	}
	if err := r.mark(ctx); err != nil {
		return err
	}
	if err := r.sweep(ctx); err != nil {
		return err
	}
	for id, m := range r.manifests { // what is not swept yet can still be restored
		d.Also(Backup{ID: id, Timeline: m.Timeline, Start: m.Start, Stop: m.Stop})
	}
	return r.sweepWAL(ctx, d)
}

// look reads every manifest. One that cannot be read may refer to anything, so that
// nothing is removed.
func (r *run) look(ctx context.Context) (err error) {
	if r.entries, err = r.shelf.List(ctx); err != nil {
		return err
	}
	r.manifests, r.marks, r.kept = map[backup.ID]*backup.Manifest{}, map[backup.ID]Mark{}, map[backup.ID]bool{}
	for _, e := range r.entries {
		if e.Complete {
			m, err := r.shelf.Load(ctx, e.ID)
			if err != nil {
				return err
			}
			for i := range m.Files { // 44 bytes a frame, and only the packs are of interest
				m.Files[i].Frames = nil
			}
			r.manifests[e.ID] = m
		}
		if e.Notes[backup.Tombstone] {
			var mark Mark
			if err := r.shelf.Read(ctx, e.ID, backup.Tombstone, &mark); err != nil {
				return err
			}
			r.marks[e.ID] = mark
		}
	}
	return nil
}

func (r *run) backups(ctx context.Context) []Backup {
	var all []Backup
	for _, e := range r.entries {
		m := r.manifests[e.ID]
		if m == nil {
			continue
		}
		var drill struct {
			OK bool `json:"ok"`
		}
		if e.Notes[backup.Drill] {
			r.shelf.Read(ctx, e.ID, backup.Drill, &drill) // what cannot be read proves nothing
		}
		all = append(all, Backup{ID: e.ID, Timeline: m.Timeline, Start: m.Start, Stop: m.Stop, Ended: m.Ended, Full: m.Full(), Held: e.Notes[backup.Hold], Proven: drill.OK, Bad: len(m.BadPages) > 0})
	}
	return all
}

// mark writes and takes back tombstones. A backup without a manifest may still be
// running until it is older than a backup can be.
func (r *run) mark(ctx context.Context) error {
	for _, e := range r.entries {
		_, marked := r.marks[e.ID]
		keep := r.kept[e.ID]
		why := "the policy does not keep it"
		if !e.Complete {
			keep = e.ID.Time().Add(backup.Longest).After(r.now) || e.Touched.Add(backup.Longest).After(r.now)
			why = "it was never completed"
		}
		switch {
		case keep && marked:
			r.report.Revived = append(r.report.Revived, e.ID)
			delete(r.marks, e.ID)
			if !r.dry {
				if err := r.shelf.Erase(ctx, e.ID, backup.Tombstone); err != nil {
					return err
				}
			}
		case !keep && !marked:
			if vetoed, err := r.vetoed(ctx, e); err != nil || vetoed {
				if err != nil {
					return err
				}
				continue
			}
			r.report.Expired = append(r.report.Expired, e.ID)
			if !r.dry {
				if err := r.shelf.Write(ctx, e.ID, backup.Tombstone, Mark{r.now, why}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// vetoed asks whether a backup may go. Nobody is asked about what was never completed.
func (r *run) vetoed(ctx context.Context, e backup.Entry) (bool, error) {
	if r.p.Veto == nil || r.dry || !e.Complete {
		return false, nil
	}
	err := r.p.Veto(ctx, e.ID)
	if err == nil || ctx.Err() != nil {
		return false, ctx.Err()
	}
	r.report.Vetoed = append(r.report.Vetoed, Vetoed{e.ID, err.Error()})
	return true, nil
}

// sweep removes what has had its tombstone for long enough: manifests first, so that
// what is interrupted is no backup any more.
func (r *run) sweep(ctx context.Context) error {
	var due []backup.Entry
	for _, e := range r.entries {
		mark, marked := r.marks[e.ID]
		if !marked || mark.At.Add(r.p.grace()).After(r.now) {
			continue
		}
		due = append(due, e)
		if !e.Complete {
			continue
		}
		r.report.Swept = append(r.report.Swept, e.ID)
		delete(r.manifests, e.ID)
		if !r.dry {
			if err := r.shelf.RemoveManifest(ctx, e.ID); err != nil {
				return err
			}
		}
	}
	used := map[backup.ID]map[int]bool{}
	for _, m := range r.manifests {
		for _, p := range m.Packs {
			if used[p.Backup] == nil {
				used[p.Backup] = map[int]bool{}
			}
			used[p.Backup][p.N] = true
		}
	}
	for _, e := range due {
		n, bytes, err := r.shelf.RemovePacks(ctx, e.ID, used[e.ID], r.dry)
		r.report.Packs += n
		r.report.Bytes += bytes
		if err != nil {
			return err
		}
		if !r.dry && len(used[e.ID]) == 0 {
			for _, note := range []backup.Note{backup.Drill, backup.Hold, backup.Tombstone} {
				if err := r.shelf.Erase(ctx, e.ID, note); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// sweepWAL removes the segments that nothing needs.
func (r *run) sweepWAL(ctx context.Context, d Decision) error {
	for s, err := range r.wal.Segments(ctx) {
		if err != nil {
			return err
		}
		if d.Needs(s.Timeline, s.From, s.To) {
			continue
		}
		r.report.Segments++
		r.report.Bytes += s.Bytes
		if !r.dry {
			if err := r.wal.Remove(ctx, s); err != nil {
				return err
			}
		}
	}
	return r.sweepMissed(ctx, d)
}

// sweepMissed removes records of WAL that is missing where nothing leads there any more.
func (r *run) sweepMissed(ctx context.Context, d Decision) error {
	missed, err := r.wal.Missed(ctx)
	if err != nil {
		return err
	}
	for _, s := range missed {
		if d.Needs(s.Timeline, s.From, s.To) {
			continue
		}
		r.report.Missed++
		if !r.dry {
			if err := r.wal.Remove(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// A HoldNote says who keeps a backup for good.
type HoldNote struct {
	At      time.Time `json:"at"`
	Because string    `json:"because"`
}

// Keep holds a backup, or lets it go with because empty.
func Keep(ctx context.Context, shelf *backup.Shelf, id backup.ID, because string, now time.Time) error {
	if because == "" {
		return shelf.Erase(ctx, id, backup.Hold)
	}
	if _, err := shelf.Load(ctx, id); err != nil {
		var damage *backup.DamageError
		if errors.As(err, &damage) && errors.Is(err, store.ErrNotExist) {
			return fmt.Errorf("hold %s: there is no such backup", id)
		}
		return err
	}
	return shelf.Write(ctx, id, backup.Hold, HoldNote{now, strings.TrimSpace(because)})
}
