package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/wal/verify"
)

func (a *app) verify() *cobra.Command {
	var f archiveFlags
	var o verify.Options
	var only string
	cmd := &cobra.Command{
		Use: "verify [ARCHIVE]", Short: "Read everything in every store of an archive and check it",
		Long: `Compares all objects with their checksums, in every store, and names the gaps in the WAL
that the declared retention needs. Digests of what is stored need no identity; with
--deep every frame of a backup is decrypted and unpacked as well.

Exit code 0 when nothing is wrong any more, 10 otherwise. Gaps that "wal ack-gap" has
acknowledged are named and are not wrong, nor are backups whose pages were damaged on the
server already (on_bad_page: warn).`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			opened, err := f.whole(cmd.Context(), cmd, args, o.Deep)
			if err != nil {
				return err
			}
			if only != "" {
				if o.Backup, err = opened.find(cmd.Context(), only); err != nil {
					return err
				}
			}
			if policy := policyOf(opened.declared); policy != nil {
				o.Policy = *policy
			}
			bar := a.newBar("verify")
			o.Progress = func(done, total int) { bar.set(share(int64(done), int64(total))) }
			r, err := verify.Run(cmd.Context(), opened.Archive, o)
			bar.end()
			if err != nil {
				return err
			}
			return a.printVerify(r)
		},
	}
	f.add(a, cmd)
	fl := cmd.Flags()
	fl.StringVar(&only, "backup", "", "only this backup and what it refers to")
	fl.BoolVar(&o.Deep, "deep", false, "decrypt and unpack every frame")
	fl.BoolVar(&o.Repair, "repair", false, "copy what a store lacks or has damaged from one that has it whole")
	fl.IntVar(&o.Workers, "jobs", 2, "objects at a time")
	return cmd
}

func (a *app) printVerify(r verify.Report) error {
	if a.format == "json" {
		if err := a.encode(r); err != nil {
			return err
		}
	} else {
		for _, p := range r.Problems {
			repaired := ""
			if p.Repaired {
				repaired = ", repaired"
			}
			fmt.Fprintf(a.Out, "%s in %s: %s%s\n", p.Key, p.Store, p.What, repaired)
			if a.verbose || p.What == verify.Unreadable {
				fmt.Fprintf(a.Out, "  %s\n", render.Clean(p.Text))
			}
		}
		for _, g := range r.Gaps {
			fmt.Fprintf(a.Out, "no store has WAL %s\n", g)
		}
		for _, l := range r.Lost {
			fmt.Fprintf(a.Out, "no store has WAL %s\n", render.Clean(l))
		}
		for _, id := range slices.Sorted(maps.Keys(r.BadPages)) {
			fmt.Fprintf(a.Out, "%s has pages that were damaged on the server: %s\n", id, render.Clean(strings.Join(r.BadPages[id], "; ")))
		}
		fmt.Fprintf(a.Out, "%s, %s: %s, %s.\n", counted(r.Backups, "backup"), counted(r.Objects, "object"), counted(len(r.Problems), "problem"), counted(len(r.Gaps), "gap"))
	}
	if !r.OK() {
		return &codeError{code: exitDiffers}
	}
	return nil
}
