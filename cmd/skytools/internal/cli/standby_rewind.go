package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/wal/standby"
)

func (a *app) standbyRewind(f *standbyFlags) *cobra.Command {
	var r standby.Rewinding
	var yes, noStart bool
	cmd := &cobra.Command{
		Use: "rewind STANDBY", Short: "Let an old primary, or a standby that went another way, follow the primary",
		Long: `Takes the data directory back to where the primary's data comes from, and makes the server
there a standby: with pg_rewind, or where that cannot do it, with the newest backup of the
archive, of which only what differs is fetched. What only this server had is lost.

It runs on the host of the standby. After an interrupt, run it again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.one(cmd, args)
			if err != nil {
				return err
			}
			if err := f.stored(cmd, s); err != nil {
				return err
			}
			if err := a.confirm(yes, fmt.Sprintf("Rewind %s? What only it has is lost.", s.Data)); err != nil {
				return err
			}
			bar := a.newBar("rewind")
			r.Start, r.Stage, r.Progress = !noStart, a.stages, func(done, total int64) { bar.set(share(done, total)) }
			done, err := s.Rewind(cmd.Context(), r)
			bar.end()
			if err != nil {
				return err
			}
			return a.printRewound(s, done)
		},
	}
	cmd.ValidArgsFunction = a.standbyNames(f)
	f.onHost(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&r.Stop, "stop", false, "stop the server first, if it runs")
	fl.BoolVar(&noStart, "no-start", false, "do not start the server")
	fl.IntVar(&r.Workers, "jobs", 4, "packs of a backup at a time")
	fl.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) printRewound(s *standby.Standby, done standby.Rewound) error {
	if a.format == "json" {
		return a.encode(map[string]any{"standby": s.Name, "by": done.By, "because": done.Because, "follows": done.Follows})
	}
	by := "pg_rewind"
	if done.By == "restore" {
		by = "a backup"
		a.talk("pg_rewind did not do: %s", render.Clean(done.Because))
	}
	end := "Start the server, and it follows."
	if done.Follows {
		end = "It follows its primary."
	}
	fmt.Fprintf(a.Out, "%s was taken back by %s. %s\n", s.Name, by, end)
	return nil
}
