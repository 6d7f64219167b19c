package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
)

// gapEntry is a stretch of segments that a store does not have.
type gapEntry struct {
	Store string `json:"store"`
	First string `json:"first"`
	Last  string `json:"last"`
	Count int64  `json:"segments"`

	Missed       time.Time  `json:"missed,omitzero"` // when that was written down
	Because      string     `json:"because,omitempty"`
	Dropped      bool       `json:"dropped,omitempty"` // archive_command has left it out
	Acknowledged *repo.Loss `json:"acknowledged,omitempty"`
}

func (r *archived) gaps() *cobra.Command {
	a := r.app
	var system uint64
	cmd := &cobra.Command{
		Use: "gaps ARCHIVE", Short: "Say which segments are missing between others; exit code 10 when some are",
		Long: `Looks at each store and timeline, up to where the next timeline left it. What lies
before the first segment and after the last one is no gap, except what a receiver came
too late for or archive_command has left out, which the archive remembers. Those that "wal ack-gap" has acknowledged are
shown, and do not count for the exit code.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args, "ARCHIVE"); err != nil {
				return err
			}
			opened, epoch, err := r.cluster(cmd.Context(), args[0], system, true)
			if err != nil {
				return err
			}
			losses, err := opened.Losses(cmd.Context(), epoch.System)
			if err != nil {
				return err
			}
			all := []gapEntry{}
			for _, s := range opened.Stores {
				gaps, err := gapsOf(cmd.Context(), opened, epoch, s)
				if err != nil {
					return err
				}
				for _, g := range gaps {
					all = append(all, gapEntry{s.Name(), g.First.String(), g.Last.String(), g.Count, g.Missed, g.Why, g.Dropped, losses.Of(g)})
				}
			}
			return a.printGaps(all)
		},
	}
	cmd.Flags().Uint64Var(&system, "system", 0, "system identifier of the cluster, where the archive keeps several")
	return cmd
}

// gapsOf are the segments that none of some stores has. Histories come from whichever
// store has them.
func gapsOf(ctx context.Context, r *repo.Repo, epoch repo.Epoch, stores ...repo.Store) ([]repo.Gap, error) {
	there := map[segment.Name]bool{}
	for _, s := range stores {
		for f, err := range repo.Files(ctx, s, epoch.System) {
			if err != nil {
				return nil, err
			}
			there[f.Name] = true
		}
	}
	var histories []segment.Lineage
	for n := range there {
		if n.Kind != segment.History {
			continue
		}
		text, err := r.Text(ctx, epoch.System, n)
		if err != nil {
			return nil, err
		}
		history, err := segment.ParseHistory(n.Timeline, text)
		if err != nil {
			return nil, err
		}
		histories = append(histories, history)
	}
	missed, err := r.Misses(ctx, epoch.System)
	if err != nil {
		return nil, err
	}
	return repo.Gaps(epoch.Size, slices.Collect(maps.Keys(there)), histories, missed), nil
}

func (a *app) printGaps(all []gapEntry) error {
	open := slices.ContainsFunc(all, func(g gapEntry) bool { return g.Acknowledged == nil })
	if a.format == "json" {
		if err := a.encode(map[string]any{"gaps": all}); err != nil {
			return err
		}
	} else {
		for _, g := range all {
			known := ""
			switch at := g.Missed.UTC().Format(time.DateTime); {
			case g.Dropped:
				known = "; left out at " + at + ", because " + render.Clean(g.Because)
			case !g.Missed.IsZero():
				known = "; the server no longer had it at " + at
			}
			if g.Acknowledged != nil {
				known += "; acknowledged, because " + render.Clean(g.Acknowledged.Because)
			}
			fmt.Fprintf(a.Out, "%s: %d missing, %s to %s%s\n", g.Store, g.Count, g.First, g.Last, known)
		}
	}
	if open {
		return &codeError{code: exitDiffers}
	}
	return nil
}
