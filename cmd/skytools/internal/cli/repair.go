package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/compare"
	"github.com/skytools-go/skytools/spec"
)

func (a *app) repair() *cobra.Command {
	var f compareFlags
	var apply, yes bool
	var most int
	cmd := &cobra.Command{
		Use: "repair TABLE...", Short: "Print the statements that put rows of a subscriber right, or run them",
		Long: `Compares tables as compare does, and prints a statement for each row that differs, in
an order that foreign keys can bear. Each changes one row, and only as it was found.

With --apply they run on the subscriber, after a yes, while the worker goes on: rows are
compared again in the transaction that changes them, so nothing newer is overwritten.
Triggers and queues stay quiet. What nodes below a repaired branch hold does not change:
compare those, too. Afterwards the rows are compared once more.`,
		RunE: func(cmd *cobra.Command, globs []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := needArgs(cmd, globs, "TABLE"); err != nil {
				return err
			}
			if most < 1 {
				return usage("repair: --max %d: at least 1", most)
			}
			set, all, err := a.compareAll(cmd.Context(), "repair", globs, &f, most+1)
			if err != nil {
				return err
			}
			if err := repairable(all, most); err != nil {
				return err
			}
			return a.repairAll(cmd.Context(), set, all, &f, apply, yes)
		},
	}
	f.add(a, cmd)
	fl := cmd.Flags()
	fl.BoolVar(&apply, "apply", false, "run the statements")
	fl.BoolVarP(&yes, "yes", "y", false, "do not ask")
	fl.IntVar(&most, "max", 1000, "refuse when more rows differ")
	return cmd
}

// repairable refuses tables that could not be compared, and too many rows.
func repairable(all []*compared, most int) error {
	n := 0
	for _, c := range all {
		if c.State == "error" {
			return &codeError{code: exitIncomplete, message: fmt.Sprintf("%s: not compared: %s", render.Clean(c.Address.String()), c.Error), hint: c.Hint}
		}
		n += len(c.Differences)
		if n > most {
			return &codeError{code: exitApproval, message: fmt.Sprintf("at least %d rows differ, and --max is %d; nothing was changed", n, most),
				hint: "is it the right provider? to copy the whole table again: skytools resync " + render.Clean(c.Address.String())}
		}
	}
	return nil
}

// A repairOf is the tables of one node.
type repairOf struct {
	Node       string              `json:"node"`
	Statements []compare.Statement `json:"statements"`
	Ran        []compare.Statement `json:"ran,omitempty"`
	results    []*compare.Result   // in the order of foreign keys
	configs    map[*compare.Result]compare.Config
}

func (a *app) repairAll(ctx context.Context, set *spec.Set, all []*compared, f *compareFlags, apply, yes bool) error {
	nodes := repairsOf(set, all, f.patience)
	n := 0
	for _, r := range nodes {
		n += len(r.Statements)
		if a.format == "text" {
			a.printRepair(r)
		}
	}
	if a.format == "json" && !apply {
		if err := a.encode(map[string]any{"nodes": nodes}); err != nil {
			return err
		}
	}
	if n == 0 || !apply {
		if n == 0 {
			a.talk("No row differs.")
		}
		if err := comparedCode(all); exitCode(err) == exitIncomplete {
			a.talk("Some rows changed during every look and could not be compared.")
			return err
		}
		return nil
	}
	if err := a.confirm(yes, fmt.Sprintf("Run %s?", counted(n, "statement"))); err != nil {
		return err
	}
	return a.runRepairs(ctx, nodes)
}

func repairsOf(set *spec.Set, all []*compared, patience time.Duration) []*repairOf {
	var nodes []*repairOf
	for _, c := range all {
		if len(c.Differences) == 0 {
			continue
		}
		at := slices.IndexFunc(nodes, func(r *repairOf) bool { return r.Node == c.Address.Database })
		if at < 0 {
			at = len(nodes)
			nodes = append(nodes, &repairOf{Node: c.Address.Database, configs: map[*compare.Result]compare.Config{}})
		}
		config := c.table.comparison(set)
		config.Patience = patience
		nodes[at].results = append(nodes[at].results, c.Result)
		nodes[at].configs[c.Result] = config
	}
	for _, r := range nodes {
		r.results = compare.Ordered(r.results)
		r.Statements = compare.Statements(r.results)
	}
	return nodes
}

// printRepair writes a script for psql.
func (a *app) printRepair(r *repairOf) {
	fmt.Fprintf(a.Out, "-- On %s: %s, for a session with session_replication_role = replica.\n", r.Node, counted(len(r.Statements), "statement"))
	for _, c := range r.results {
		fmt.Fprintf(a.Out, "-- %s differs from %s of %s in %s at tick %d.\n", render.Clean(c.Dest), render.Clean(c.Source), c.Provider, counted(len(c.Differences), "row"), c.Tick)
	}
	for _, s := range r.Statements {
		fmt.Fprintf(a.Out, "%s;\n", s.Text)
	}
}

// runRepairs changes the rows: those that go first, then those that come.
func (a *app) runRepairs(ctx context.Context, nodes []*repairOf) error {
	var failed error
	left := 0
	for _, r := range nodes {
		mend := func(c *compare.Result, kinds ...string) {
			if failed != nil {
				return
			}
			done, err := compare.Repair(ctx, r.configs[c], rowsOf(c), kinds...)
			if done != nil {
				r.Ran = append(r.Ran, done.Statements...)
			}
			failed = err
		}
		for _, c := range slices.Backward(r.results) {
			mend(c, compare.Extra)
		}
		for _, c := range r.results {
			mend(c, compare.Changed, compare.Missing)
		}
		for _, c := range r.results {
			if failed != nil {
				break
			}
			var again *compare.Result
			if again, failed = compare.Again(ctx, r.configs[c], rowsOf(c)); failed == nil {
				left += len(again.Differences) + len(again.Unsettled)
			}
		}
	}
	return a.repaired(nodes, left, failed)
}

func rowsOf(r *compare.Result) []compare.Key {
	var rows []compare.Key
	for _, d := range r.Differences {
		rows = append(rows, d.Row)
	}
	return rows
}

// repaired is the last word.
func (a *app) repaired(nodes []*repairOf, left int, failed error) error {
	ran := 0
	for _, r := range nodes {
		ran += len(r.Ran)
	}
	if a.format == "json" {
		if err := a.encode(map[string]any{"nodes": nodes, "left": left, "error": message(failed)}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.Out, "-- %s ran.\n", counted(ran, "statement"))
	}
	switch {
	case failed != nil && ran > 0 && exitCode(failed) != exitInterrupted:
		return hinted{&codeError{code: exitPart, message: fmt.Sprintf("%s ran, then: %v", counted(ran, "statement"), failed)}, "run the same command again: it compares anew"}
	case failed != nil:
		return failed
	case left > 0:
		return &codeError{code: exitIncomplete, message: counted(left, "row") + " could not be settled: changed meanwhile, or different again", hint: "compare again: skytools compare"}
	}
	a.talk("The repaired rows are equal now.")
	return nil
}
