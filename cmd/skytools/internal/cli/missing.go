package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

func (a *app) missing() *cobra.Command {
	var paths []string
	cmd := &cobra.Command{
		Use: "missing [ADDRESS...]", Short: "List tables and sequences that a node lacks or that no queue replicates; reads only",
		Long: `Lists what a queue replicates and a node below the root does not hold, and the tables
and sequences of a root that none of its queues replicates. ADDRESS is a glob, such as
table/shop/*@edge or sequence/*. Exit code 15 when a database could not be read; what
the others lack is shown.`,
		RunE: func(cmd *cobra.Command, globs []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			all, unread := a.findMissing(cmd.Context(), set)
			if len(globs) > 0 {
				all = slices.DeleteFunc(all, func(l lacking) bool { return !slices.ContainsFunc(globs, l.Address.Match) })
			}
			if err := a.printMissing(all, unread); err != nil {
				return err
			}
			if cmd.Context().Err() == nil && len(unread) > 0 {
				return &codeError{code: exitIncomplete}
			}
			return cmd.Context().Err()
		},
	}
	cmd.ValidArgsFunction = a.addresses(&paths)
	cmd.Flags().StringArrayVarP(&paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	return cmd
}

// lacking is something that is not replicated.
type lacking struct {
	Address planner.Address `json:"address"`
	Why     string          `json:"why"`
}

// findMissing asks all databases at once. Unread says, by database, what went wrong.
func (a *app) findMissing(ctx context.Context, set *spec.Set) (all []lacking, unread map[string]string) {
	declared := map[planner.Address]bool{}
	for _, address := range planner.Addresses(set) {
		declared[address] = true
	}
	unread = map[string]string{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, s := range sources(set) {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, a.timeout)
			defer cancel()
			found, err := missingIn(ctx, set, s.Name, a, declared)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				unread[s.Name] = err.Error()
			}
			all = append(all, found...)
		})
	}
	asked.Wait()
	slices.SortFunc(all, func(x, y lacking) int { return strings.Compare(x.Address.String(), y.Address.String()) })
	return all, unread
}

func missingIn(ctx context.Context, set *spec.Set, database string, a *app, declared map[planner.Address]bool) (all []lacking, err error) {
	conn, err := a.dialNode(ctx, set, database)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	err = conn.Read(ctx, func(tx *pg.Tx) error {
		installed, err := pg.One[bool](ctx, tx, "select to_regclass('londiste.table_info') is not null and to_regclass('pgq_node.node_info') is not null")
		if err != nil || !installed {
			return err
		}
		rows, err := pg.Structs[londiste.Absent](ctx, tx, londiste.Missing)
		if err != nil {
			return err
		}
		for _, r := range rows {
			l := lacking{planner.Address{Kind: r.Kind, Name: r.Queue + "/" + r.Name, Database: database}, "no queue of this root replicates it"}
			switch {
			case !r.Root && declared[l.Address]:
				l.Why = "declared here, and not held: skytools plan"
			case !r.Root:
				l.Why = "the queue replicates it, and this node does not hold it"
			}
			all = append(all, l)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list what is missing: %w", err)
	}
	return all, nil
}

func (a *app) printMissing(all []lacking, unread map[string]string) error {
	if a.format == "json" {
		if all == nil {
			all = []lacking{}
		}
		return a.encode(map[string]any{"missing": all, "unread": unread})
	}
	var g grid
	for _, l := range all {
		g.add("", render.Clean(l.Address.String()), l.Why)
	}
	for _, line := range g.lines(a.painted, a.Width()) {
		fmt.Fprintln(a.Out, line)
	}
	for _, name := range slices.Sorted(maps.Keys(unread)) {
		fmt.Fprintf(a.Out, "%s  %s\n", name, a.painted("drop", render.Clean(unread[name])))
	}
	if len(all) == 0 && len(unread) == 0 {
		fmt.Fprintln(a.Out, "Nothing is missing.")
	}
	return nil
}
