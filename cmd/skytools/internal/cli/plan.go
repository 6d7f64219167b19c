package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/applier"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
)

// planFlags are those that limit and approve a plan.
type planFlags struct {
	only, nodes, allow []string
	live               string
	parallel           int
	all                bool
}

func (p *planFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&p.only, "only", nil, "limit to addresses that match this glob; repeatable")
	f.StringArrayVar(&p.nodes, "node", nil, "limit to this database; repeatable")
	f.StringArrayVar(&p.allow, "allow", nil, "approve a hazard: CODE:ADDRESS, the address may be a glob; repeatable")
	f.StringVar(&p.live, "live", "", "plan from this observation instead of live databases (skytools observe)")
	f.IntVar(&p.parallel, "parallel", 8, "databases read at a time")
	f.BoolVar(&p.all, "all", false, "list unchanged objects, too")
}

// approvals reads --allow.
func approvals(texts []string) ([]planner.Approval, error) {
	var all []planner.Approval
	for _, text := range texts {
		ap, err := planner.ParseApproval(text)
		if err != nil {
			return nil, usage("--allow: %v", err)
		}
		all = append(all, ap)
	}
	return all, nil
}

// makePlan observes and plans.
func (a *app) makePlan(ctx context.Context, paths []string, p *planFlags) (*spec.Set, *planner.Plan, error) {
	set, err := a.load(paths)
	if err != nil {
		return nil, nil, err
	}
	o := a.planOptions(paths)
	o.Only, o.Nodes, o.All = p.only, p.nodes, p.all
	if o.Allow, err = approvals(p.allow); err != nil {
		return nil, nil, err
	}
	for _, node := range p.nodes {
		if set.Database(node) == nil {
			err := usage("--node: database %q is not declared", node)
			if near := spec.Nearest(node, set.Databases.Names()); near != "" {
				err = usage("--node: database %q is not declared; did you mean %s?", node, near)
			}
			return nil, nil, err
		}
	}
	// A plan over thousands of tables makes much short-lived garbage; collecting it
	// twice as often costs little time and keeps the peak of memory down.
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	live, err := a.observeSet(ctx, set, p.live, p.parallel)
	if err != nil {
		return nil, nil, err
	}
	plan, err := planner.Build(set, live, o)
	return set, plan, err
}

func (a *app) plan() *cobra.Command {
	var p planFlags
	var out string
	var code, destructive bool
	var maxBytes int
	cmd := &cobra.Command{
		Use: "plan [PATH...]", Short: "Show what would change; reads only",
		Long: `Compares the YAML with the live databases and shows what would change. It reads
in READ ONLY transactions and needs a role that can only read.

Exit code 0 when the plan could be made, 10 with --exit-code when it is not empty,
15 when something could not be observed.`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			if err := a.needFormat(planFormats...); err != nil {
				return err
			}
			_, plan, err := a.makePlan(cmd.Context(), paths, &p)
			if err != nil {
				return err
			}
			if out != "" {
				if err := savePlan(out, plan); err != nil {
					return err
				}
			}
			if err := a.printPlan(plan, render.TextOptions{Root: rootOf(paths), Out: out, OnlyDestructive: destructive}, maxBytes); err != nil {
				return err
			}
			return planCode(plan, code)
		},
	}
	p.add(cmd)
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "save the plan to this file, for apply")
	f.BoolVar(&code, "exit-code", false, "exit 10 when the plan is not empty")
	f.BoolVar(&destructive, "only-destructive", false, "show only what drops, recreates or needs approval")
	f.IntVar(&maxBytes, "max-bytes", 0, "cut markdown to this size: summary and approvals come first")
	return cmd
}

// planCode is the exit code of a plan: 15 over 10.
func planCode(plan *planner.Plan, differs bool) error {
	switch {
	case plan.Errors() > 0:
		return &codeError{code: exitApproval}
	case plan.Summary.Unobserved > 0 || unreachable(plan):
		return &codeError{code: exitIncomplete}
	case differs && !plan.Empty():
		return &codeError{code: exitDiffers}
	}
	return nil
}

func unreachable(plan *planner.Plan) bool {
	for _, d := range plan.Diagnostics {
		if d.Code == "unreachable" || d.Code == "unreadable" {
			return true
		}
	}
	return false
}

// savePlan writes the plan to a file that only its owner can change.
func savePlan(file string, plan *planner.Plan) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err == nil {
		out := bufio.NewWriterSize(f, 1<<16)
		err = errors.Join(plan.Write(out), out.Flush(), f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("save the plan: %w", err)
	}
	return nil
}

var planFormats = []string{"text", "json", "markdown", "github", "junit", "sql"}

func (a *app) printPlan(plan *planner.Plan, o render.TextOptions, maxBytes int) error {
	o.Paint, o.Verbose = a.paint(), a.verbose
	switch a.format {
	case "json":
		return render.JSON(a.Out, plan)
	case "markdown":
		render.Markdown(a.Out, plan, maxBytes)
	case "github":
		render.Github(a.Out, plan)
		return a.githubOutput(plan)
	case "junit":
		return render.JUnitPlan(a.Out, plan)
	case "sql":
		render.SQL(a.Out, plan)
	default:
		if a.quiet {
			fmt.Fprintln(a.Out, render.Summary(plan, o.Root))
			return nil
		}
		render.Text(a.Out, plan, o)
	}
	return nil
}

// githubOutput hands the digest to later steps of a workflow.
func (a *app) githubOutput(plan *planner.Plan) error {
	file, ok := a.Env("GITHUB_OUTPUT")
	if !ok || file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	fmt.Fprintf(f, "digest=%s\nempty=%t\nsteps=%d\n", plan.Digest, plan.Empty(), len(plan.Steps))
	return f.Close()
}

func (a *app) show() *cobra.Command {
	var code, destructive, check bool
	var maxBytes int
	cmd := &cobra.Command{
		Use: "show PLAN", Short: "Print a saved plan, also a stale one; connects to nothing without --check", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat(planFormats...); err != nil {
				return err
			}
			plan, err := readPlan(args[0])
			if err != nil {
				return err
			}
			if err := a.printPlan(plan, render.TextOptions{Root: plan.Spec.Root, OnlyDestructive: destructive}, maxBytes); err != nil {
				return err
			}
			if check {
				if err := a.checkPlan(cmd.Context(), plan); err != nil {
					return err
				}
			}
			return planCode(plan, code)
		},
	}
	cmd.Flags().BoolVar(&code, "exit-code", false, "exit 10 when the plan is not empty")
	cmd.Flags().BoolVar(&destructive, "only-destructive", false, "show only what drops, recreates or needs approval")
	cmd.Flags().IntVar(&maxBytes, "max-bytes", 0, "cut markdown to this size")
	cmd.Flags().BoolVar(&check, "check", false, "look whether it could still be applied; exit 11 when it is stale")
	return cmd
}

// checkPlan looks at the objects of a saved plan, through the YAML that it was made
// from.
func (a *app) checkPlan(ctx context.Context, plan *planner.Plan) error {
	set, err := a.load(strings.Fields(plan.Spec.Root))
	if err != nil {
		return err
	}
	work := applier.Applier{DSN: dsn(set), By: a.by()}
	if err := work.Check(ctx, plan); err != nil {
		return err
	}
	a.talk("It could be applied now.")
	return nil
}

func readPlan(file string) (*planner.Plan, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	plan, err := planner.ReadPlan(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return plan, nil
}
