package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/standby"
)

func (a *app) standbyDrop(f *standbyFlags) *cobra.Command {
	var d standby.Dropping
	var yes bool
	cmd := &cobra.Command{
		Use: "drop STANDBY", Short: "End a standby: drop its slot and, when told, remove its data",
		Long: `Drops the standby's slot on the primary, so that no WAL is kept for nobody. --stop stops its
server first, --remove-data removes its data directory. A server that is no standby any
more is refused, and one that commits wait for. It runs on the host of the standby.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.one(cmd, args)
			if err != nil {
				return err
			}
			question := fmt.Sprintf("Drop %s?", s.Name)
			if d.RemoveData {
				question = fmt.Sprintf("Drop %s, and remove %s?", s.Name, s.Data)
			}
			if err := a.confirm(yes, question); err != nil {
				return err
			}
			done, err := s.Drop(cmd.Context(), d)
			if err != nil {
				return err
			}
			return a.printDropped(s, done)
		},
	}
	cmd.ValidArgsFunction = a.standbyNames(f)
	f.onHost(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&d.Stop, "stop", false, "stop the server first, if it runs")
	fl.BoolVar(&d.RemoveData, "remove-data", false, "remove the data directory")
	fl.BoolVar(&d.Lost, "lost-primary", false, "the primary is gone for good, and its slot with it")
	fl.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) printDropped(s *standby.Standby, done standby.Dropped) error {
	if a.format == "json" {
		return a.encode(map[string]any{"standby": s.Name, "stopped": done.Stopped, "slot_dropped": done.Slot, "data_removed": done.Data})
	}
	var said []string
	for _, one := range []struct {
		is   bool
		text string
	}{{done.Stopped, "the server is stopped"}, {done.Slot, "its slot is dropped"}, {done.Data, s.Data + " is removed"}} {
		if one.is {
			said = append(said, one.text)
		}
	}
	if len(said) == 0 {
		said = []string{"there was nothing to do"}
	}
	fmt.Fprintf(a.Out, "%s: %s.\n", s.Name, strings.Join(said, ", "))
	if !done.Data {
		a.talk("Its data is left in %s.", s.Data)
	}
	return nil
}
