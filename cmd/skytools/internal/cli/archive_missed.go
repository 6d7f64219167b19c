package cli

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/runners/wal/archive"
	"github.com/skytools-go/skytools/runners/wal/push"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/spec"
)

// archivesOf are the declared archives, to report on.
func archivesOf(set *spec.Set) (all []status.Kept) {
	for i := range set.Archives {
		a := &set.Archives[i]
		if set.Database(a.Of).State == spec.Dead {
			continue
		}
		stores := &storesOf{a: a}
		all = append(all, status.Kept{Name: a.Name, Of: a.Of, Limit: int64(a.WAL.QueueAlert), Missed: func(ctx context.Context, system uint64) ([]repo.Gap, error) {
			here, unread := leftOut(a, system)
			known, err := stores.missed(ctx, system)
			for _, g := range here {
				if !slices.ContainsFunc(known, func(k repo.Gap) bool { return k.First == g.First }) {
					known = append(known, g)
				}
			}
			return known, errors.Join(err, unread)
		}})
	}
	return all
}

// storesOf are the stores of an archive, opened when they are first looked at, and then
// kept: a server of metrics looks again and again. After an error they are opened anew,
// since their keys may be others by then.
type storesOf struct {
	a    *spec.Archive
	mu   sync.Mutex
	repo *repo.Repo
}

func (s *storesOf) open(ctx context.Context) (r *repo.Repo, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repo == nil {
		s.repo, err = repoOf(ctx, s.a, false, hclog.NewNullLogger())
	}
	return s.repo, err
}

// missed are the gaps that the stores know and that nobody has acknowledged.
func (s *storesOf) missed(ctx context.Context, system uint64) ([]repo.Gap, error) {
	r, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	gaps, err := missedIn(ctx, r, system)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.repo = nil
	}
	return gaps, err
}

func missedIn(ctx context.Context, r *repo.Repo, system uint64) ([]repo.Gap, error) {
	opened, err := archive.Open(ctx, r, system)
	if err != nil {
		return nil, err
	}
	gaps, err := opened.Holes(ctx, 0)
	if err != nil || len(gaps) == 0 {
		return nil, err
	}
	losses, err := r.Losses(ctx, system)
	return slices.DeleteFunc(gaps, func(g repo.Gap) bool { return losses.Of(g) != nil }), err
}

// leftOut is what this host has left out and the stores do not know yet.
func leftOut(a *spec.Archive, system uint64) (gaps []repo.Gap, err error) {
	if a.WAL.OnOverflow != spec.OverflowDrops {
		return nil, nil
	}
	all, err := push.LedgerOf(a.WAL.State(), a.Name).All()
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil // it belongs to the user of PostgreSQL, who is told
	}
	for _, d := range all {
		if g, err := d.Gap(); err == nil && d.System == system {
			gaps = append(gaps, g)
		}
	}
	return gaps, err
}
