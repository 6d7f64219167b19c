package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
)

func (a *app) drift() *cobra.Command {
	var p planFlags
	var ignoreUnreachable bool
	cmd := &cobra.Command{
		Use: "drift [PATH...]", Short: "Say what changed behind the YAML's back; reads only",
		Long: `Compares what was last applied with what is live. YAML that was not applied yet is
no drift. Exit code 0 without drift, 10 with, 15 when something could not be
checked.`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			if err := a.needFormat("text", "json", "markdown", "github", "junit", "prometheus"); err != nil {
				return err
			}
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			live, err := a.observeSet(cmd.Context(), set, p.live, p.parallel)
			if err != nil {
				return err
			}
			o := a.planOptions(paths)
			o.Only, o.Nodes = p.only, p.nodes
			d, err := planner.FindDrift(set, live, o)
			if err != nil {
				return err
			}
			if err := a.printDrift(d, rootOf(paths)); err != nil {
				return err
			}
			switch {
			case len(d.Unchecked) > 0 && !ignoreUnreachable:
				return &codeError{code: exitIncomplete}
			case len(d.Drifted) > 0:
				return &codeError{code: exitDiffers}
			}
			return nil
		},
	}
	p.add(cmd)
	cmd.Flags().BoolVar(&ignoreUnreachable, "ignore-unreachable", false, "do not fail for what could not be checked")
	return cmd
}

func (a *app) printDrift(d *planner.Drift, root string) error {
	switch a.format {
	case "json":
		return render.JSON(a.Out, d)
	case "markdown":
		render.DriftMarkdown(a.Out, d, root)
	case "github":
		render.DriftGithub(a.Out, d)
	case "junit":
		return render.JUnitDrift(a.Out, d)
	case "prometheus":
		render.DriftPrometheus(a.Out, d)
	default:
		if a.quiet {
			fmt.Fprintln(a.Out, render.DriftSummary(d))
			return nil
		}
		render.DriftText(a.Out, d, root, a.paint())
	}
	return nil
}
