package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/applier"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
)

type applyFlags struct {
	planFlags
	digest, specPath, until string
	yes, failFast, events   bool
	wait                    bool
	lockTimeout, limit      time.Duration
}

func (a *app) apply() *cobra.Command {
	var f applyFlags
	cmd := &cobra.Command{
		Use: "apply [PLAN | PATH...]", Short: "Change the databases as planned",
		Long: `Carries out a saved plan, or plans from the YAML, shows the plan and asks.

A saved plan is carried out exactly: an object that is neither as it was planned
from nor as the plan leaves it stops the work there (exit 11). What is done already
is passed over, so applying twice, or again after an interruption, is safe.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if f.limit != 0 && !f.wait {
				return usage("apply: --limit is for --wait")
			}
			if f.until != "" && f.wait {
				return usage("apply: --until stops in the middle, where --wait may have no end")
			}
			if len(args) == 1 && isPlan(args[0]) {
				return a.applySaved(cmd.Context(), args[0], &f)
			}
			return a.applyYAML(cmd.Context(), args, &f)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.digest, "digest", "", "apply only the plan with this digest")
	fl.StringVar(&f.specPath, "spec", "", "with a saved plan: refuse when the YAML here is not what it was made from")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do not ask; approves no hazard")
	fl.BoolVar(&f.failFast, "fail-fast", false, "stop at the first failure")
	fl.BoolVar(&f.events, "events", false, "write what happens to stdout, one JSON object a line")
	fl.BoolVar(&f.wait, "wait", false, "afterwards wait as skytools wait does: until every table and standby is in sync (needs skytools run)")
	fl.DurationVar(&f.limit, "limit", 0, "with --wait: give up after this long; 0: never")
	fl.StringVar(&f.until, "until", "", "stop after this step, such as s3")
	fl.DurationVar(&f.lockTimeout, "lock-timeout", 30*time.Second, "how long to wait for another apply")
	return cmd
}

// isPlan tells a saved plan from YAML.
func isPlan(path string) bool {
	info, err := os.Stat(path)
	return strings.HasSuffix(path, ".json") || err == nil && !info.IsDir() && !strings.HasSuffix(path, ".yaml") && !strings.HasSuffix(path, ".yml")
}

// applySaved carries out a saved plan. It needs the YAML only to know how to reach
// the databases.
func (a *app) applySaved(ctx context.Context, file string, f *applyFlags) error {
	if len(f.only)+len(f.nodes) > 0 || f.live != "" {
		return usage("apply: a saved plan is carried out as it is; --only, --node and --live belong to plan")
	}
	plan, err := readPlan(file)
	if err != nil {
		return err
	}
	path := f.specPath
	if path == "" {
		path = plan.Spec.Root
	}
	set, err := a.load(strings.Fields(path))
	if err != nil {
		return hinted{err, "name the YAML that says how to reach the databases: --spec PATH"}
	}
	if f.specPath != "" && "sha256:"+set.Digest() != plan.Spec.Digest {
		return &codeError{code: exitStale, message: fmt.Sprintf("%s was made from other YAML than %s holds now", file, f.specPath), hint: "plan again"}
	}
	given, err := approvals(f.allow)
	if err != nil {
		return err
	}
	return a.carryOut(ctx, set, plan.Approve(set, given, a.planOptions(nil).Now), f)
}

// applyYAML plans, shows the plan, asks, and carries it out.
func (a *app) applyYAML(ctx context.Context, paths []string, f *applyFlags) error {
	if f.live != "" {
		return usage("apply: --live is for plan: only what is observed now can be changed")
	}
	set, plan, err := a.makePlan(ctx, paths, &f.planFlags)
	if err != nil {
		return err
	}
	if a.format == "text" && !f.events && (!a.quiet || !plan.Empty()) {
		if err := a.printPlan(plan, render.TextOptions{Root: rootOf(paths)}, 0); err != nil {
			return err
		}
	}
	if plan.Empty() {
		if err := planCode(plan, false); err != nil || !f.wait {
			return err
		}
		return a.waitDeclared(ctx, set, f.limit)
	}
	if plan.Applyable && !f.yes {
		if err := a.ask(plan); err != nil {
			return err
		}
	}
	return a.carryOut(ctx, set, plan, f)
}

// ask wants a yes from a person.
func (a *app) ask(plan *planner.Plan) error {
	if !a.InTTY {
		return &codeError{code: exitApproval, message: "nobody is there to ask, and --yes was not given", hint: "look at the plan, then: skytools apply --yes, or apply a saved plan"}
	}
	fmt.Fprintf(a.Err, "\nApply these %d steps? Only yes is a yes: ", len(plan.Steps))
	answer, _ := bufio.NewReader(a.In).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return &codeError{code: exitInterrupted, message: "not applied"}
	}
	return nil
}

func (a *app) carryOut(ctx context.Context, set *spec.Set, plan *planner.Plan, f *applyFlags) error {
	if f.digest != "" && !strings.HasPrefix(plan.Digest, "sha256:"+strings.TrimPrefix(f.digest, "sha256:")) {
		return &codeError{code: exitStale, message: fmt.Sprintf("the plan's digest is %s, not %s", plan.ShortDigest(), f.digest), hint: "look at the plan again: it is not the one that was approved"}
	}
	if f.until != "" && !slices.ContainsFunc(plan.Steps, func(s *planner.Step) bool { return s.ID == f.until }) {
		return usage("apply: --until %s: the plan has steps s1 to s%d", f.until, len(plan.Steps))
	}
	work := applier.Applier{
		DSN: dsn(set), Direct: direct(set), By: a.by(), LockTimeout: f.lockTimeout, FailFast: f.failFast, Until: f.until,
		Events: a.applyEvents(plan, f.events),
	}
	var at atomic.Pointer[applier.Event]
	tell := work.Events
	work.Events = func(e applier.Event) {
		if at.Store(&e); tell != nil {
			tell(e)
		}
	}
	quiet := a.poked(func() {
		if e := at.Load(); e != nil {
			fmt.Fprintf(a.Err, "at %s %s %s: %s, %s ago %s\n", e.Step, e.Address, e.Title, e.Type, time.Since(e.At).Round(time.Second), e.Note)
		}
	})
	outcome, err := work.Apply(ctx, plan)
	quiet()
	if a.format == "json" && !f.events {
		if err := json.NewEncoder(a.Out).Encode(map[string]any{"plan": plan.Digest, "outcome": outcome, "error": message(err)}); err != nil {
			return err
		}
	}
	if a.format == "text" && !f.events {
		a.applySummary(plan, outcome, err)
	}
	var part *applier.PartError
	if errors.As(err, &part) {
		return &codeError{code: exitPart} // told step by step
	}
	if err == nil && f.wait {
		return a.waitDeclared(ctx, set, f.limit)
	}
	return err
}

func message(err error) any {
	if err == nil {
		return nil
	}
	return err.Error()
}

// applyEvents returns what is called for each event: lines for people, or JSON.
func (a *app) applyEvents(plan *planner.Plan, asJSON bool) func(applier.Event) {
	if asJSON {
		enc := json.NewEncoder(a.Out)
		return func(e applier.Event) { enc.Encode(e) }
	}
	if a.format != "text" {
		return nil
	}
	line := func(e applier.Event, what, result string) {
		took := ""
		if e.Took > 0 {
			took = "  " + e.Took.Round(time.Millisecond).String()
		}
		fmt.Fprintf(a.Out, "  %-8s %-4s %-44s %-24s %s%s\n", e.Node, e.Step, e.Address.Short(), e.Title, a.painted(what, result), took)
	}
	return func(e applier.Event) {
		switch e.Type {
		case "plan":
			if !a.quiet {
				fmt.Fprintf(a.Out, "\nPlan %s: %s.\n", plan.ShortDigest(), counted(len(plan.Steps), "step"))
			}
		case "lock-wait":
			a.talk("waiting for the lock on %s, held by %s", e.Node, e.Note)
		case "step-progress":
			a.talk("  %-8s %-4s %-44s %s", e.Node, e.Step, e.Address.Short(), e.Note)
		case "step-done":
			if !a.quiet {
				line(e, "ok", string(e.Result))
			}
			for _, w := range e.Warnings {
				a.talk("           warning: %s", w)
			}
		case "step-skipped":
			line(e, "dim", "not started")
		case "step-failed":
			line(e, "drop", string(e.Result))
			fmt.Fprint(a.Err, indent(tell(e.Err)+askedBy(plan, e.Address)))
		}
	}
}

func askedBy(plan *planner.Plan, address planner.Address) string {
	if c := plan.Change(address); c != nil && c.Source.File != "" {
		return fmt.Sprintf("  asked by    %s:%d\n", c.Source.File, c.Source.Line)
	}
	return ""
}

func indent(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString("           " + line)
	}
	return out.String()
}

// applySummary is the last word: what is done, and how to go on.
func (a *app) applySummary(plan *planner.Plan, o *applier.Outcome, err error) {
	if o.Done+o.Already+o.Failed+o.Stale == 0 {
		return
	}
	parts := []string{fmt.Sprintf("%d done, %d already", o.Done, o.Already)}
	if o.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", o.Failed))
	}
	if o.Stale > 0 {
		parts = append(parts, fmt.Sprintf("%d stale", o.Stale))
	}
	if len(o.Skipped) > 0 {
		parts = append(parts, fmt.Sprintf("%d not started (%s)", len(o.Skipped), strings.Join(o.Skipped, ", ")))
	}
	fmt.Fprintf(a.Out, "\n%s.\n", strings.Join(parts, ", "))
	var part *applier.PartError
	if errors.As(err, &part) {
		fmt.Fprintln(a.Out, "Mend what failed, then run the same command again: it goes on where this ended.")
	}
}
