package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/spec"
)

func (a *app) skipEvent() *cobra.Command {
	var paths []string
	var because string
	var yes bool
	cmd := &cobra.Command{
		Use: "skip-event TABLE EVENT --because TEXT", Short: "Leave out one event that a node cannot apply",
		Long: `The last resort when one event stops a node and can never be applied there: replay goes on
without it, and the table differs from its provider's afterwards. It is refused unless the
error that the node has stored is about that event. Who did it, when and why is recorded in
skytools.skipped_event on the node, with the event; status shows it, and run logs it.
TABLE is table/QUEUE/NAME@NODE. Where a row is only missing or in the way, skytools repair
is better.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args, "TABLE", "EVENT"); err != nil {
				return err
			}
			event, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || event <= 0 {
				return usage("skip-event: %q is not the id of an event", args[1])
			}
			if because == "" {
				return usage("skip-event: --because is missing: somebody will want to know why")
			}
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			tables, err := a.follow(cmd.Context(), set, "skip-event", args[:1], nil, "provider")
			if err != nil {
				return err
			}
			if len(tables) != 1 {
				return usage("skip-event: %s names %s; name one: %s", args[0], counted(len(tables), "table"), tables[0].address)
			}
			return a.leaveOut(cmd.Context(), set, tables[0], event, because, yes)
		},
	}
	cmd.ValidArgsFunction = a.addresses(&paths)
	f := cmd.Flags()
	f.StringArrayVarP(&paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	f.StringVar(&because, "because", "", "why, for those who look at it later")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// leaveOut asks, and records that the event is to be left out.
func (a *app) leaveOut(ctx context.Context, set *spec.Set, t followed, event int64, because string, yes bool) error {
	if t.problem != "" {
		return &codeError{code: exitIncomplete, message: fmt.Sprintf("%s: %s", render.Clean(t.address.String()), t.problem)}
	}
	if err := a.confirm(yes, fmt.Sprintf("Leave event %d of %s out, so that its table differs?", event, render.Clean(t.address.String()))); err != nil {
		return err
	}
	here, err := a.dialNode(ctx, set, t.address.Database)
	if err != nil {
		return err
	}
	defer here.Close()
	above, err := a.dialNode(ctx, set, t.above)
	if err != nil {
		return err
	}
	defer above.Close()
	stored, err := replay.Skip(ctx, here, above, replay.Skipping{Queue: t.queue, Table: t.name, Event: event, Because: because, By: a.by()})
	var refused *replay.SkipRefused
	if errors.As(err, &refused) {
		return &codeError{code: exitApproval, message: fmt.Sprintf("%s: %s; nothing was changed", render.Clean(t.address.String()), render.Clean(refused.Reason)), hint: refused.Hint()}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", render.Clean(t.address.String()), err)
	}
	if a.format == "json" {
		return a.encode(map[string]any{"table": t.address.String(), "event": event, "error": stored, "because": because})
	}
	a.talk("Event %d is left out at the worker's next attempt. Afterwards look with: skytools compare %s", event, render.Clean(t.address.String()))
	return nil
}
