package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/standby"
)

func (a *app) standbyPromote(f *standbyFlags) *cobra.Command {
	var p standby.Promoting
	var yes bool
	cmd := &cobra.Command{
		Use: "promote STANDBY", Short: "Make a standby a primary",
		Long: `The standby replays all that it has received, and begins a timeline of its own. There is no
way back but rewind. A standby that lacks what a living primary has written is refused: stop
the primary first, which sends the rest as it stops.

Afterwards let the dsn of the database lead to the new primary, and run rewind for the old
primary and for the other standbys.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.one(cmd, args)
			if err != nil {
				return err
			}
			if err := a.confirm(yes, fmt.Sprintf("Promote %s? It ends being a standby.", s.Name)); err != nil {
				return err
			}
			done, err := s.Promote(cmd.Context(), p)
			if err != nil {
				return err
			}
			if done.PrimaryLives {
				a.talk("The old primary runs, and takes writes that %s never sees: stop it now.", s.Name)
			}
			if a.format == "json" {
				return a.encode(map[string]any{"standby": s.Name, "from_timeline": done.From, "timeline": done.To, "at": done.At, "primary_lives": done.PrimaryLives})
			}
			fmt.Fprintf(a.Out, "%s is a primary, on timeline %d after %d, at %s.\n", s.Name, done.To, done.From, done.At)
			return nil
		},
	}
	cmd.ValidArgsFunction = a.standbyNames(f)
	f.waits(cmd)
	cmd.Flags().BoolVar(&p.Behind, "behind", false, "also when the primary can be reached and has written more, which is lost then")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
