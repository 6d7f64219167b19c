package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/restore"
)

// across is the first hole that a restore would have to pass; nil: there is none that is
// known. Which transaction and which restore point lies where is not known, and neither is
// what was written when before a hole was noticed: those recoveries end with an error of
// the server if it is behind the hole.
func (o *opened) across(ctx context.Context, p restore.Preview) (*repo.Gap, error) {
	holes, err := o.Holes(ctx, p.Backup.Start)
	if err != nil {
		return nil, err
	}
	for _, g := range holes {
		t := p.Choice.Target
		onTheWay := slices.ContainsFunc(p.Choice.Path, func(f restore.Fork) bool {
			return f.Timeline == g.First.Timeline && (f.At == 0 || o.Size.Start(g.First) < f.At)
		})
		if !onTheWay {
			continue
		}
		within := slices.ContainsFunc(p.Missing, g.Has)
		switch {
		case !t.Time.IsZero():
			within = !t.Time.Before(g.Missed)
		case t.XID != "" || t.Name != "":
			within = false
		}
		if within {
			return &g, nil
		}
	}
	return nil, nil
}

// refused says why nothing is restored, and how far it could go.
func (o *opened) refused(p restore.Preview, g *repo.Gap) error {
	return hinted{fmt.Errorf("restore: between backup %s and %s the archive does not have %s", p.Backup.ID, p.Choice.Target, g),
		fmt.Sprintf("--lsn %s recovers up to there; only a backup that was taken later leads further: skytools backup list", o.Size.Start(g.First))}
}
