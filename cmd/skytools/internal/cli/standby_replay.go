package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/standby"
	"github.com/skytools-go/skytools/spec"
)

func (a *app) standbyPause(f *standbyFlags) *cobra.Command {
	return a.standbyReplay(f, "pause STANDBY", "Stop replay on a standby; WAL goes on arriving there",
		`Returns when replay has stopped. To have time before a change on the primary is replayed,
or to look at data that does not move. A restart of the server ends it.`, "replay is paused", (*standby.Standby).Pause)
}

func (a *app) standbyResume(f *standbyFlags) *cobra.Command {
	return a.standbyReplay(f, "resume STANDBY", "Let replay on a standby go on", "Returns when replay goes on.", "replay goes on", (*standby.Standby).Resume)
}

// standbyReplay is a command that changes replay and nothing else.
func (a *app) standbyReplay(f *standbyFlags, use, short, long, done string, do func(*standby.Standby, context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.one(cmd, args)
			if err != nil {
				return err
			}
			if err := do(s, cmd.Context()); err != nil {
				return err
			}
			return a.printReplay(cmd.Context(), s, done)
		},
	}
	cmd.ValidArgsFunction = a.standbyNames(f)
	f.waits(cmd)
	return cmd
}

func (a *app) printReplay(ctx context.Context, s *standby.Standby, done string) error {
	st := s.State(ctx)
	if a.format == "json" {
		return a.encode(st)
	}
	fmt.Fprintf(a.Out, "%s: %s, at %s, %s behind its primary.\n", s.Name, done, positionOf(st), behind(st))
	return nil
}

func (a *app) standbyDelay(f *standbyFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "delay STANDBY DURATION", Short: "Change how long a standby waits before it replays a commit",
		Long: `DURATION is like 30m, 2h or 0s. It stands until the next change, also when the YAML says
something else: then status and plan say so.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs(cmd, args, "STANDBY", "DURATION"); err != nil {
				return err
			}
			delay, err := spec.ParseDuration(args[1])
			if err != nil {
				return usage("%s: %v", cmd.CommandPath(), err)
			}
			s, err := f.one(cmd, args[:1])
			if err != nil {
				return err
			}
			if err := s.SetDelay(cmd.Context(), time.Duration(delay)); err != nil {
				return err
			}
			s.Delay = time.Duration(delay)
			return a.printReplay(cmd.Context(), s, "replay waits "+delay.String())
		},
	}
	cmd.ValidArgsFunction = a.standbyNames(f)
	f.waits(cmd)
	return cmd
}
