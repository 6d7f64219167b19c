package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/standby"
	"github.com/skytools-go/skytools/spec"
)

func (a *app) standbyStatus(f *standbyFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "status [STANDBY...]", Short: "Say how far standbys are, and what is wrong; reads only",
		Long: `Asks each standby and its primary: role, timeline, how far behind, whether replay is
paused or delayed, whom it streams from, and what the primary keeps for it.

Exit code 15 when a standby could not be reached.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			set, err := a.load(f.paths)
			if err != nil {
				return err
			}
			all, err := f.states(cmd.Context(), set, args)
			if err != nil {
				return err
			}
			if a.format == "json" {
				err = a.encode(all)
			} else {
				err = a.printStandbys(all)
			}
			for _, st := range all {
				if err == nil && st.Role == standby.Unreachable {
					err = &codeError{code: exitIncomplete}
				}
			}
			return err
		},
	}
	cmd.ValidArgsFunction = a.standbyNames(f)
	return cmd
}

// states asks all standbys, or those that are named.
func (f *standbyFlags) states(ctx context.Context, set *spec.Set, names []string) ([]standby.State, error) {
	if len(names) == 0 {
		names = set.Standbys.Names()
	}
	all := []standby.State{}
	for _, name := range names {
		d := set.Standbys.Get(name)
		if d == nil {
			return nil, hinted{fmt.Errorf("standby %q is not declared", name), "did you mean " + spec.Nearest(name, set.Standbys.Names()) + "?"}
		}
		s, err := standbyOf(ctx, set, d)
		if err != nil {
			return nil, err
		}
		limited, cancel := context.WithTimeout(ctx, f.app.timeout)
		all = append(all, s.State(limited))
		cancel()
	}
	return all, ctx.Err()
}

func (a *app) printStandbys(all []standby.State) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STANDBY\tROLE\tTIMELINE\tREPLAYED\tBEHIND\tREPLAY\tFROM\tKEPT FOR IT")
	for _, st := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", st.Name, st.Role, timelineOf(st), positionOf(st), behind(st), replayOf(st), streamOf(st), keptFor(st))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, st := range all {
		for _, p := range st.Problems {
			fmt.Fprintf(a.Out, "%s %s: %s\n", a.painted("drop", "!"), st.Name, p)
		}
	}
	return nil
}

func timelineOf(st standby.State) string {
	if st.Timeline == 0 {
		return "-"
	}
	return fmt.Sprint(st.Timeline)
}

func positionOf(st standby.State) string {
	if st.Replayed == nil {
		return "-"
	}
	return st.Replayed.String()
}

// behind is how much a standby has not replayed, in bytes and in time.
func behind(st standby.State) string {
	text := "-"
	if st.LagBytes != nil {
		text = megabytes(*st.LagBytes)
	}
	if st.LagSeconds != nil && *st.LagSeconds > 0 {
		text += ", " + ago(*st.LagSeconds)
	}
	return text
}

func replayOf(st standby.State) string {
	switch {
	case st.Role != standby.Following:
		return "-"
	case st.Paused && st.ReplayedAt != nil && st.LagBytes != nil && *st.LagBytes > 0:
		return "paused after " + st.ReplayedAt.UTC().Format("2006-01-02 15:04:05Z")
	case st.Paused:
		return "paused"
	case st.Delay > 0:
		return "delayed by " + time.Duration(st.Delay*float64(time.Second)).String()
	}
	return "on"
}

func streamOf(st standby.State) string {
	if st.Receiver == "" {
		return "-"
	}
	return st.From + " (" + st.Receiver + ")"
}

func keptFor(st standby.State) string {
	switch {
	case st.Slot == nil:
		return "-"
	case !st.Slot.Exists:
		return "no slot"
	}
	text := megabytes(st.Slot.Retained)
	if !st.Slot.Active {
		text += ", nobody reads"
	}
	if st.Synchronous {
		text += ", synchronous"
	}
	return text
}
