// Package archive puts the halves of an archive together: the WAL of one cluster, which
// package repo has, is what a backup, a restore and retention ask for.
//
// It knows both halves and adds nothing to them.
package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/sql"
)

// An Archive is what a repository holds of one cluster. It is safe for concurrent use.
type Archive struct {
	Repo   *repo.Repo
	System uint64
	Size   segment.Size
}

// Open looks the cluster up in the repository. system 0 is the only one there is.
func Open(ctx context.Context, r *repo.Repo, system uint64) (*Archive, error) {
	if system == 0 {
		all, err := r.Systems(ctx)
		if err != nil {
			return nil, err
		}
		if len(all) != 1 {
			return nil, fmt.Errorf("the archive has %d systems %v: say which one", len(all), all)
		}
		system = all[0]
	}
	epoch, err := r.Epoch(ctx, system)
	if err != nil {
		return nil, err
	}
	return &Archive{Repo: r, System: system, Size: epoch.Size}, nil
}

// Shelf is where its backups are.
func (a *Archive) Shelf() *backup.Shelf {
	s := &backup.Shelf{System: strconv.FormatUint(a.System, 10), Identities: a.Repo.Identities}
	for _, one := range a.Repo.Stores {
		s.Stores = append(s.Stores, backup.Store{Store: one.Store, Required: one.Required})
	}
	for _, r := range a.Repo.Recipients {
		s.Recipients = append(s.Recipients, fmt.Sprint(r))
	}
	return s
}

// Wait is [repo.Repo.Wait]. It makes an Archive a [backup.WAL].
func (a *Archive) Wait(ctx context.Context, timeline uint32, from, to sql.LSN) error {
	return a.Repo.Wait(ctx, a.System, timeline, from, to)
}

// files yields every WAL file once, whichever stores have it. A store that cannot be
// listed is an error, also a best-effort one: what is missing must not look absent.
func (a *Archive) files(ctx context.Context) iter.Seq2[repo.File, error] {
	return func(yield func(repo.File, error) bool) {
		seen := map[string]bool{}
		for _, s := range a.Repo.Stores {
			for f, err := range repo.Files(ctx, s, a.System) {
				if err != nil {
					yield(repo.File{}, err)
					return
				}
				if seen[f.Key] {
					continue
				}
				seen[f.Key] = true
				if !yield(f, nil) {
					return
				}
			}
		}
	}
}

// Lineages reads the history files.
func (a *Archive) Lineages(ctx context.Context) (all []segment.Lineage, err error) {
	for f, err := range a.files(ctx) {
		if err != nil {
			return nil, err
		}
		if f.Name.Kind != segment.History {
			continue
		}
		text, err := a.Repo.Text(ctx, a.System, f.Name)
		if errors.Is(err, repo.ErrNoIdentity) {
			err = &hiddenError{err}
		}
		if err != nil {
			return nil, err
		}
		l, err := segment.ParseHistory(f.Name.Timeline, text)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// A hiddenError says that a history is encrypted, as those of former versions are.
type hiddenError struct{ error }

func (e *hiddenError) Unwrap() error { return e.error }

// Hint is what a person can try.
func (e *hiddenError) Hint() string {
	return "this history was archived by a version that encrypted them: do this on a host with the identity"
}

// Timelines are the lineages as [restore.Choose] and [retain.Decide] want them.
func Timelines(lineages []segment.Lineage) restore.Timelines {
	all := restore.Timelines{}
	for _, l := range lineages {
		for _, from := range l.Ancestors {
			all[l.Timeline] = append(all[l.Timeline], restore.Fork{Timeline: from.Timeline, At: from.Left})
		}
	}
	return all
}

// Timelines reads the history files.
func (a *Archive) Timelines(ctx context.Context) (restore.Timelines, error) {
	lineages, err := a.Lineages(ctx)
	if err != nil {
		return nil, err
	}
	return Timelines(lineages), nil
}

// Missing names the segments that no store has. The last one may be partial.
func (a *Archive) Missing(ctx context.Context, timeline uint32, from, to sql.LSN) (missing []string, found int, err error) {
	whole, partial := map[segment.Name]bool{}, map[segment.Name]bool{}
	end := to
	for f, err := range a.files(ctx) {
		if err != nil {
			return nil, 0, err
		}
		if f.Name.Timeline != timeline {
			continue
		}
		switch f.Name.Kind {
		case segment.Whole:
			whole[f.Name] = true
			if to == 0 {
				end = max(end, a.Size.End(f.Name))
			}
		case segment.Partial:
			partial[f.Name.Of()] = true
		}
	}
	for n := a.Size.At(timeline, from); a.Size.Start(n) < end; n = a.Size.Next(n) {
		if whole[n] || partial[n] && a.Size.End(n) >= end {
			found++
		} else {
			missing = append(missing, n.String())
		}
	}
	return missing, found, nil
}

// Holes are the segments after a position that a receiver came too late for and that no
// store has. Nothing leads from a backup before them past them.
func (a *Archive) Holes(ctx context.Context, after sql.LSN) ([]repo.Gap, error) {
	missed, err := a.Repo.Misses(ctx, a.System)
	if missed = missed.After(a.Size, after); err != nil || len(missed) == 0 {
		return nil, err // most of the time; all WAL need not be listed then
	}
	var names []segment.Name
	for f, err := range a.files(ctx) {
		if err != nil {
			return nil, err
		}
		names = append(names, f.Name)
	}
	return missed.Open(a.Size, names), nil
}

// Segments yields what retention may remove: segments, partial ones and labels.
func (a *Archive) Segments(ctx context.Context) iter.Seq2[retain.Segment, error] {
	return func(yield func(retain.Segment, error) bool) {
		for f, err := range a.files(ctx) {
			if err != nil {
				yield(retain.Segment{}, err)
				return
			}
			if f.Name.Kind == segment.History {
				continue
			}
			n := f.Name.Of()
			if !yield(retain.Segment{Timeline: n.Timeline, From: a.Size.Start(n), To: a.Size.End(n), Bytes: f.Size, Key: f.Key}, nil) {
				return
			}
		}
	}
}

// Missed are the records of WAL that is missing for good. It makes an Archive a
// [retain.WAL].
func (a *Archive) Missed(ctx context.Context) (all []retain.Segment, err error) {
	missed, err := a.Repo.Misses(ctx, a.System)
	for _, m := range missed {
		first, last := m.Span()
		all = append(all, retain.Segment{Timeline: first.Timeline, From: a.Size.Start(first), To: a.Size.End(last), Key: m.Key(a.System)})
	}
	return all, err
}

// Remove deletes an object from every store.
func (a *Archive) Remove(ctx context.Context, s retain.Segment) error {
	var errs []error
	for _, from := range a.Repo.Stores {
		errs = append(errs, from.Delete(ctx, s.Key))
	}
	return errors.Join(errs...)
}
