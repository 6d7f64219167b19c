package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/repo"
)

func (r *archived) verify() *cobra.Command {
	a := r.app
	var system uint64
	cmd := &cobra.Command{
		Use: "verify ARCHIVE", Short: "Read all WAL of all stores and check it; exit code 10 when some is damaged",
		Long: `Compares every file with the digests that were taken when it was archived. Where files
are encrypted and no identity is at hand, only what is stored is compared.`,
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
			files, damaged := 0, []string{}
			for _, s := range opened.Stores {
				for f, err := range repo.Files(cmd.Context(), s, epoch.System) {
					if err != nil {
						return err
					}
					files++
					_, err = opened.Check(cmd.Context(), s, f.Key)
					switch damage := (*repo.DamageError)(nil); {
					case cmd.Context().Err() != nil:
						return cmd.Context().Err()
					case errors.As(err, &damage):
						damaged = append(damaged, damage.Error())
					case err != nil:
						return err
					}
				}
			}
			return a.printVerified(files, damaged)
		},
	}
	cmd.Flags().Uint64Var(&system, "system", 0, "system identifier of the cluster, where the archive keeps several")
	return cmd
}

func (a *app) printVerified(files int, damaged []string) error {
	if a.format == "json" {
		if err := a.encode(map[string]any{"files": files, "damaged": damaged}); err != nil {
			return err
		}
	} else {
		for _, d := range damaged {
			fmt.Fprintln(a.Out, d)
		}
		fmt.Fprintf(a.Out, "%d files, %d damaged\n", files, len(damaged))
	}
	if len(damaged) > 0 {
		return &codeError{code: exitDiffers}
	}
	return nil
}
