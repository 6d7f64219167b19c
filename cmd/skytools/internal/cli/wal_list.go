package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
)

// walEntry is a stretch of WAL without a gap in one store.
type walEntry struct {
	Store    string `json:"store"`
	Timeline uint32 `json:"timeline"`
	Kind     string `json:"kind"`
	First    string `json:"first"`
	Last     string `json:"last"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"` // as stored
}

func (r *archived) list() *cobra.Command {
	a := r.app
	var system uint64
	cmd := &cobra.Command{
		Use: "list ARCHIVE", Short: "List what WAL each store has; reads only",
		Long: `A line for each stretch of segments without a gap, and for each other kind of file.
Sizes are what the store keeps.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args, "ARCHIVE"); err != nil {
				return err
			}
			opened, epoch, err := r.cluster(cmd.Context(), args[0], system, false)
			if err != nil {
				return err
			}
			var all []walEntry
			for _, s := range opened.Stores {
				entries, err := stretches(cmd.Context(), s, epoch)
				if err != nil {
					return err
				}
				all = append(all, entries...)
			}
			if a.format == "json" {
				return a.encode(map[string]any{"system": fmt.Sprint(epoch.System), "wal": all})
			}
			return a.printWAL(all)
		},
	}
	cmd.Flags().Uint64Var(&system, "system", 0, "system identifier of the cluster, where the archive keeps several")
	return cmd
}

// stretches joins the files of a store.
func stretches(ctx context.Context, s repo.Store, epoch repo.Epoch) (all []walEntry, err error) {
	var next segment.Name
	for f, err := range repo.Files(ctx, s, epoch.System) {
		if err != nil {
			return nil, err
		}
		n := len(all) - 1
		if n >= 0 && all[n].Timeline == f.Name.Timeline && all[n].Kind == f.Name.Kind.String() && (f.Name.Kind != segment.Whole || f.Name == next) {
			all[n].Last, all[n].Files, all[n].Bytes = f.Name.String(), all[n].Files+1, all[n].Bytes+f.Size
		} else {
			all = append(all, walEntry{s.Name(), f.Name.Timeline, f.Name.Kind.String(), f.Name.String(), f.Name.String(), 1, f.Size})
		}
		if f.Name.Kind == segment.Whole {
			next = epoch.Size.Next(f.Name)
		}
	}
	return all, nil
}

func (a *app) printWAL(all []walEntry) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STORE\tTIMELINE\tKIND\tFIRST\tLAST\tFILES\tBYTES")
	for _, e := range all {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%d\t%d\n", e.Store, e.Timeline, e.Kind, e.First, e.Last, e.Files, e.Bytes)
	}
	return w.Flush()
}
