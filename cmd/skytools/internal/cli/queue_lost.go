package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/sql/pg"
)

func (r *reach) lost() *cobra.Command {
	a := r.app
	var out string
	cmd := &cobra.Command{
		Use: "lost QUEUE", Short: "Write the events of a root that was lost which no other node has; reads only",
		Long: `When a root is lost and another node takes its place, what the old root wrote last is
nowhere else. Once its server answers again, this finds the tick at which the cascade
went on without it, and writes the events after that tick as queue export does, without
those that nodes tell each other. QUEUE is NAME@DATABASE of the old root, whose database
may still be declared dead.

Save them before the node joins again: then its tables are copied from its provider.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json", "csv"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args, "QUEUE"); err != nil {
				return err
			}
			if r.dsn != "" {
				return usage("queue lost: the tick is on the root that took over, so the databases of the YAML are needed; with --dsn, use queue export --from TICK")
			}
			r.dead = true
			q, err := r.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer q.conn.Close()
			tick, err := r.gravestone(cmd.Context(), q)
			if err != nil {
				return fmt.Errorf("find the tick at which %s was lost: %w", q.address(), err)
			}
			e := exporter{app: a, queue: q, from: &tick, lost: true}
			return e.toFile(cmd.Context(), out)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write to this file instead of standard output")
	return cmd
}

// gravestone finds the tick that the node's successor has marked: the last one of the
// node that it has.
func (r *reach) gravestone(ctx context.Context, q *openQueue) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.app.timeout)
	defer cancel()
	node, err := pg.Rows[string](ctx, q.conn, "select node_name from pgq_node.node_info where queue_name = $1", q.Name)
	if err != nil {
		return 0, err
	}
	if len(node) == 0 {
		return 0, usage("queue %s is not a node of a cascade", q.address())
	}
	all, _, err := r.places()
	if err != nil {
		return 0, err
	}
	var silent []string
	for _, p := range all {
		if p.name == q.place.name {
			continue
		}
		conn, err := p.dial(ctx, pg.Options{})
		if err != nil {
			silent = append(silent, named(p, err).Error())
			continue
		}
		defer conn.Close()
		ticks, err := pg.Rows[int64](ctx, conn, `
			select s.sub_last_tick
			  from pgq.subscription s
			  join pgq.queue q on q.queue_id = s.sub_queue
			  join pgq.consumer c on c.co_id = s.sub_consumer
			 where q.queue_name = $1 and c.co_name = $2 and s.sub_last_tick is not null`, q.Name, node[0]+".gravestone")
		if err == nil && len(ticks) > 0 {
			return ticks[0], nil
		}
		if err != nil && !notInstalled(err) {
			silent = append(silent, named(p, err).Error())
		}
	}
	if len(silent) > 0 {
		return 0, hinted{fmt.Errorf("no node that answers has taken its place; %s", strings.Join(silent, "; ")), "once the new root answers, try again; queue export --from TICK writes what came after a tick that you know"}
	}
	return 0, usage("no other node has taken the place of %s: nothing is lost; queue export writes what it has", q.address())
}

// notInstalled reports that there is no pgq.
func notInstalled(err error) bool {
	switch pg.Code(err) {
	case "3F000", "42P01":
		return true
	}
	return false
}

// isOwn reports an event that nodes of a cascade tell each other.
// Source: contract/pgq.md section 6.5, contract/londiste.md section 0.5.
func isOwn(kind []byte) bool {
	return bytes.HasPrefix(kind, []byte("pgq.")) || bytes.HasPrefix(kind, []byte("londiste."))
}
