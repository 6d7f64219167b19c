package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/repo"
)

func (r *archived) ackGap() *cobra.Command {
	a := r.app
	var system uint64
	var because string
	cmd := &cobra.Command{
		Use: "ack-gap ARCHIVE SEGMENT", Short: "Acknowledge the gap that begins with a segment: nobody can close it any more",
		Long: `For WAL that is gone for good: "wal gaps", "verify" and the scrub loop name the gap from
then on, and no longer count it as wrong. Recovery still cannot pass it, so take a backup
after it. Segments that are missing beside it are a new gap.

A gap that another store can close is refused: "verify --repair" copies what it needs.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs(cmd, args, "ARCHIVE", "SEGMENT"); err != nil {
				return err
			}
			if strings.TrimSpace(because) == "" {
				return usage("%s: say why with --because", cmd.CommandPath())
			}
			opened, epoch, err := r.cluster(cmd.Context(), args[0], system, true)
			if err != nil {
				return err
			}
			gaps, err := gapsOf(cmd.Context(), opened, epoch, opened.Stores...)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(gaps, func(g repo.Gap) bool { return g.First.String() == strings.ToUpper(args[1]) })
			if i < 0 {
				return hinted{fmt.Errorf("no gap begins with %s", args[1]), gapsHint(gaps)}
			}
			if err := opened.Lose(cmd.Context(), epoch.System, gaps[i], because, time.Now()); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "Acknowledged: no store has %s. Recovery cannot pass it: only a backup that was taken after it leads further.\n", gaps[i])
			return nil
		},
	}
	cmd.Flags().StringVar(&because, "because", "", "why nobody can close it")
	cmd.Flags().Uint64Var(&system, "system", 0, "system identifier of the cluster, where the archive keeps several")
	return cmd
}

// gapsHint names the gaps that there are.
func gapsHint(gaps []repo.Gap) string {
	if len(gaps) == 0 {
		return "there is no segment that every store lacks; skytools verify --repair copies what one store has to the others"
	}
	var names []string
	for _, g := range gaps {
		names = append(names, g.String())
	}
	return "what every store lacks: " + strings.Join(names, ", ")
}
