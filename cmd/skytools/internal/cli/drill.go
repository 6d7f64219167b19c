package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/wal/drill"
	"github.com/skytools-go/skytools/spec"
)

func (a *app) drill() *cobra.Command {
	var f archiveFlags
	var t targetFlags
	var o drill.Options
	cmd := &cobra.Command{
		Use: "drill [ARCHIVE]", Short: "Prove a backup: restore it to a scratch directory, recover, and ask it questions",
		Long: `Restores a backup to a scratch directory, starts a server there that nobody can reach,
lets it recover with the WAL of the archive, and runs pg_amcheck, the declared checks and
pg_checksums. The outcome is noted beside the backup, and everything else is removed.

A check that fails at the end of the WAL is asked once more at the end of the backup: where
it passes there, the backup is proven, and the data has changed since.

Exit code 0 when the backup is proven, 10 when it is not or the data has changed, 1 when the drill could not be held.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			var err error
			if o.Target, err = t.target(); err != nil {
				return err
			}
			opened, err := f.whole(cmd.Context(), cmd, args, true)
			if err != nil {
				return err
			}
			if t.backup != "" {
				if o.Backup, err = opened.find(cmd.Context(), t.backup); err != nil {
					return err
				}
			}
			declared, err := f.drillOf(opened.declared)
			if err != nil {
				return err
			}
			o.Command, o.Scratch, o.Checks = cmp.Or(o.Command, declared.Command), cmp.Or(o.Scratch, declared.Scratch), declared.Checks
			bar := a.newBar("drill")
			o.Progress = func(done, total int64) { bar.set(share(done, total)) }
			o.Stage = func(name string) {
				if a.verbose {
					a.talk("%s", name)
				}
			}
			r, err := drill.Run(cmd.Context(), opened.shelf, opened.Archive, o)
			bar.end()
			var failed *drill.FailedError
			if err != nil && !errors.As(err, &failed) {
				return err
			}
			return a.printDrill(r)
		},
	}
	f.add(a, cmd)
	t.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&o.Scratch, "scratch", "", "a directory with room for the cluster; default: as declared")
	fl.StringVar(&o.Bins, "bins", "", "the directory of postgres and pg_amcheck; default: what is installed")
	fl.StringVar(&o.Command, "restore-command", "", "how the server fetches WAL; default: this program")
	fl.DurationVar(&o.Patience, "patience", 24*time.Hour, "how long the recovery may take")
	return cmd
}

// drillOf is what is declared about drills of an archive.
func (f *archiveFlags) drillOf(a *spec.Archive) (o drill.Options, err error) {
	o.Scratch = a.Drill.Scratch
	for _, text := range a.Drill.Checks {
		o.Checks = append(o.Checks, checkOf(text))
	}
	o.Command, err = f.restoreCommand(a.Name)
	return o, err
}

// checkOf reads QUERY or DATABASE: QUERY.
func checkOf(text string) drill.Check {
	if database, query, found := strings.Cut(text, ": "); found && !strings.ContainsAny(database, " \t\n'\"(") {
		return drill.Check{Database: database, Query: query}
	}
	return drill.Check{Query: text}
}

func (a *app) printDrill(r drill.Result) error {
	if a.format == "json" {
		if err := a.encode(r); err != nil {
			return err
		}
	} else if r.OK {
		fmt.Fprintf(a.Out, "%s is proven: restored in %s, recovered in %s, %s.\n", r.Backup, r.Restored.Round(time.Millisecond), r.Recovered.Round(time.Millisecond), counted(r.Queries, "check"))
		if r.Since != "" {
			fmt.Fprintf(a.Out, "But at the end of the WAL a check fails, so the data has changed since the backup: %s\n", render.Clean(r.Since))
		}
		if !r.Amcheck {
			a.talk("pg_amcheck was not run: the extension amcheck is not installed here.")
		}
	} else {
		fmt.Fprintf(a.Out, "%s is not proven: %s\n", r.Backup, render.Clean(r.Problem))
	}
	if !r.OK || r.Since != "" {
		return &codeError{code: exitDiffers}
	}
	return nil
}
