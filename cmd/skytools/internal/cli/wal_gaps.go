package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
)

// gapEntry is a stretch of segments that a store does not have.
type gapEntry struct {
	Store string `json:"store"`
	First string `json:"first"`
	Last  string `json:"last"`
	Count int64  `json:"segments"`
}

func (r *archived) gaps() *cobra.Command {
	a := r.app
	var system uint64
	cmd := &cobra.Command{
		Use: "gaps ARCHIVE", Short: "Say which segments are missing between others; exit code 10 when some are",
		Long: `Looks at each store and timeline, up to where the next timeline left it. What lies
before the first segment and after the last one is no gap.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args, "ARCHIVE"); err != nil {
				return err
			}
			opened, _, err := r.open(cmd.Context(), args[0], true)
			if err != nil {
				return err
			}
			epoch, err := systemOf(cmd.Context(), opened, system)
			if err != nil {
				return err
			}
			all := []gapEntry{}
			for _, s := range opened.Stores {
				gaps, err := gapsOf(cmd.Context(), opened, s, epoch)
				if err != nil {
					return err
				}
				for _, g := range gaps {
					all = append(all, gapEntry{s.Name(), g.First.String(), g.Last.String(), g.Count})
				}
			}
			return a.printGaps(all)
		},
	}
	cmd.Flags().Uint64Var(&system, "system", 0, "system identifier of the cluster, where the archive keeps several")
	return cmd
}

// gapsOf looks at one store. Histories come from whichever store has them.
func gapsOf(ctx context.Context, r *repo.Repo, s repo.Store, epoch repo.Epoch) ([]repo.Gap, error) {
	var files []segment.Name
	var histories []segment.Lineage
	for f, err := range repo.Files(ctx, s, epoch.System) {
		if err != nil {
			return nil, err
		}
		files = append(files, f.Name)
		if f.Name.Kind != segment.History {
			continue
		}
		text, err := r.Text(ctx, epoch.System, f.Name)
		if err != nil {
			return nil, err
		}
		history, err := segment.ParseHistory(f.Name.Timeline, text)
		if err != nil {
			return nil, err
		}
		histories = append(histories, history)
	}
	return repo.Gaps(epoch.Size, files, histories), nil
}

func (a *app) printGaps(all []gapEntry) error {
	if a.format == "json" {
		if err := a.encode(map[string]any{"gaps": all}); err != nil {
			return err
		}
	} else {
		for _, g := range all {
			fmt.Fprintf(a.Out, "%s: %d missing, %s to %s\n", g.Store, g.Count, g.First, g.Last)
		}
	}
	if len(all) > 0 {
		return &codeError{code: exitDiffers}
	}
	return nil
}
