package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

func (a *app) resync() *cobra.Command {
	var paths, nodes []string
	var yes, wait bool
	var limit time.Duration
	cmd := &cobra.Command{
		Use: "resync TABLE...", Short: "Copy tables of subscribers again",
		Long: `Puts tables back to where they wait for their copy; skytools run then empties them and
copies them again from their provider, while all other tables are replayed. TABLE is
table/QUEUE/NAME@NODE, NAME or a glob. For a few rows, skytools repair is gentler.`,
		RunE: func(cmd *cobra.Command, globs []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := needArgs(cmd, globs, "TABLE"); err != nil {
				return err
			}
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			tables, err := a.follow(cmd.Context(), set, "resync", globs, nodes, "provider")
			if err != nil {
				return err
			}
			if err := a.resyncTables(cmd.Context(), set, tables, yes); err != nil || !wait {
				return err
			}
			var addresses []string
			for _, t := range tables {
				addresses = append(addresses, t.address.String())
			}
			return a.waitTables(cmd.Context(), set, addresses, limit)
		},
	}
	cmd.ValidArgsFunction = a.addresses(&paths)
	f := cmd.Flags()
	f.StringArrayVarP(&paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	f.StringArrayVar(&nodes, "node", nil, "only tables on this node")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask; approves recopies-table")
	f.BoolVar(&wait, "wait", false, "afterwards wait until the tables are in sync (needs skytools run)")
	f.DurationVar(&limit, "limit", 0, "with --wait: give up after this long; 0: never")
	return cmd
}

// resyncTables asks, and resets the tables, those of a node in one transaction.
func (a *app) resyncTables(ctx context.Context, set *spec.Set, tables []followed, yes bool) error {
	byNode := map[string][]followed{}
	var nodes []string
	for _, t := range tables {
		if t.state == "unknown" {
			return &codeError{code: exitIncomplete, message: fmt.Sprintf("%s: %s", render.Clean(t.address.String()), t.problem)}
		}
		if len(byNode[t.address.Database]) == 0 {
			nodes = append(nodes, t.address.Database)
		}
		byNode[t.address.Database] = append(byNode[t.address.Database], t)
		if a.format == "text" {
			fmt.Fprintf(a.Out, "%s  %s, %s\n", render.Clean(t.address.String()), t.state,
				a.painted("recreate", "recopies-table: it is emptied and copied again; readers see it empty or partial meanwhile"))
		}
	}
	if err := a.confirm(yes, fmt.Sprintf("Copy %s again?", counted(len(tables), "table"))); err != nil {
		return err
	}
	for i, node := range nodes {
		err := a.resyncNode(ctx, set, node, byNode[node])
		if err != nil && i > 0 {
			return &codeError{code: exitPart, message: fmt.Sprintf("%s: %v; the tables of %s are to be copied again", node, err, strings.Join(nodes[:i], ", ")), hint: hintFor(err)}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
	}
	if a.format == "json" {
		var all []string
		for _, t := range tables {
			all = append(all, t.address.String())
		}
		return a.encode(map[string]any{"tables": all})
	}
	a.talk("%s to be copied again by skytools run; skytools wait shows how far it is.", counted(len(tables), "table"))
	return nil
}

func (a *app) resyncNode(ctx context.Context, set *spec.Set, node string, tables []followed) error {
	conn, err := a.dialNode(ctx, set, node)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Write(ctx, func(tx *pg.Tx) error {
		for _, t := range tables {
			if err := resyncTable(ctx, tx, t); err != nil {
				return fmt.Errorf("table %s: %w", render.Clean(t.name), err)
			}
		}
		return nil
	})
}

// resyncTable resets one table. One with several sources is refused: the copy of one
// empties it for all. Source: contract/londiste.md sections 2.8, 2.9.
func resyncTable(ctx context.Context, tx *pg.Tx, t followed) error {
	r, err := replay.Lookup(ctx, tx, t.queue, t.name)
	if err != nil {
		return err
	}
	if r == nil || !r.Local {
		return &codeError{code: exitStale, message: "it is not replicated there any more; nothing was changed"}
	}
	others, err := pg.Rows[string](ctx, tx, `
		select o.queue_name || '/' || o.table_name
		  from londiste.table_info o
		  join pgq_node.node_info n on n.queue_name = o.queue_name
		  join pgq_node.node_info me on me.queue_name = $1
		 where coalesce(o.dest_table, o.table_name) = $3 and (o.local or o.dropped_ddl is not null)
		   and ((o.queue_name, o.table_name) <> ($1, $2) or o.dropped_ddl is not null)
		   and o.queue_name is distinct from me.combined_queue and n.combined_queue is distinct from me.queue_name`, t.queue, t.name, r.Dest.String())
	if err != nil {
		return fmt.Errorf("look for other sources: %w", err)
	}
	into, err := pg.Rows[string](ctx, tx, `
		select c.queue_name
		  from pgq_node.node_info n
		  join pgq_node.node_info c on c.queue_name = n.combined_queue and c.node_type = 'branch'
		 where n.queue_name = $1`, t.queue)
	if err != nil {
		return fmt.Errorf("look what the queue is merged into: %w", err)
	}
	if len(into) > 0 {
		return &codeError{code: exitApproval, message: fmt.Sprintf("its rows come with queue %s, which it is merged into; nothing was changed", into[0]),
			hint: "skytools resync " + render.Clean(into[0]+"/"+t.name+"@"+t.address.Database)}
	}
	if len(others) > 0 {
		return &codeError{code: exitApproval, message: fmt.Sprintf("%s has several sources (%s), and a copy from one empties it for all; nothing was changed", r.Dest, strings.Join(others, ", ")),
			hint: "put single rows right with: skytools repair " + render.Clean(t.address.String())}
	}
	_, err = tx.Run(ctx, londiste.SetTableState(t.queue, t.name, "", ""))
	return err
}
