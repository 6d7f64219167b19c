package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
)

type retryFlags struct {
	list, now, drop, batch, yes bool
	delay                       string
}

func (r *reach) retry() *cobra.Command {
	a := r.app
	var f retryFlags
	cmd := &cobra.Command{
		Use: "retry QUEUE CONSUMER [EVENT...]", Short: "Handle the events that wait to be delivered to a consumer again",
		Long: `One of:
  --list    the events that wait, or those given; this is what it does without a flag
  --now     make them due at once; the upkeep of skytools run or pgqd puts them back
  --drop    discard the ones given, after showing them: the consumer never gets them again
  --batch   put the events of the batch that the consumer has open aside, for --delay;
            the batch itself stays open until the consumer finishes it

All but --batch need pgq_admin.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := needArgs(cmd, args, "QUEUE", "CONSUMER"); err != nil {
				return err
			}
			ids, err := f.check(args[2:], cmd.Flags().Changed("delay"))
			if err != nil {
				return err
			}
			q, err := r.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer q.conn.Close()
			return a.retryEvents(cmd.Context(), q, args[1], ids, &f)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.list, "list", false, "list the events that wait")
	fl.BoolVar(&f.now, "now", false, "make events due at once")
	fl.BoolVar(&f.drop, "drop", false, "discard events")
	fl.BoolVar(&f.batch, "batch", false, "put the events of the open batch aside")
	fl.StringVar(&f.delay, "delay", "1m", "with --batch: deliver them again after so long, such as 30s")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do not ask before --drop")
	return cmd
}

// check requires flags and events that fit together.
func (f *retryFlags) check(events []string, delayed bool) (ids []int64, err error) {
	given := 0
	for _, b := range []bool{f.list, f.now, f.drop, f.batch} {
		if b {
			given++
		}
	}
	for _, text := range events {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, usage("queue retry: %q is not the id of an event", text)
		}
		ids = append(ids, id)
	}
	switch {
	case given > 1:
		return nil, usage("queue retry: give one of --list, --now, --drop and --batch")
	case f.drop && len(ids) == 0:
		return nil, usage("queue retry: --drop wants the ids of events; --list shows them")
	case f.batch && len(ids) > 0:
		return nil, usage("queue retry: --batch puts all events of the batch aside, and takes no ids")
	case delayed && !f.batch:
		return nil, usage("queue retry: --delay belongs to --batch")
	}
	return ids, nil
}

func (a *app) retryEvents(ctx context.Context, q *openQueue, consumer string, ids []int64, f *retryFlags) error {
	if f.batch {
		return a.retryBatch(ctx, q, consumer, f.delay)
	}
	var c *pgq.ConsumerDetail
	var found []pgq.RetryEvent
	err := q.conn.Read(ctx, func(tx *pg.Tx) (err error) {
		if c, _, err = q.consumer(ctx, tx, consumer); err != nil {
			return err
		}
		query := pgq.RetryEvents(q.ID, c.Owner, ids)
		found, err = pg.Structs[pgq.RetryEvent](ctx, tx, query.Text, query.Args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the retry queue of %s: %w", q.address(), q.permit(err, "pgq_admin"))
	}
	if gone := missingIDs(found, ids); len(gone) > 0 {
		return &codeError{code: exitUsage, message: fmt.Sprintf("no event %s waits for consumer %s", strings.Join(gone, ", "), render.Clean(consumer)), hint: "skytools queue retry --list shows those that wait"}
	}
	switch {
	case f.drop:
		return a.dropRetries(ctx, q, c, found, f.yes)
	case f.now:
		hurry := pgq.HurryRetries(q.ID, c.Owner, ids)
		n, err := q.conn.Exec(ctx, hurry.Text, hurry.Args...)
		if err != nil {
			return fmt.Errorf("make events due: %w", q.permit(err, "pgq_admin"))
		}
		return a.count(n, "due now")
	}
	return a.listRetries(found, render.Clean(consumer))
}

func missingIDs(found []pgq.RetryEvent, ids []int64) (gone []string) {
	for _, id := range ids {
		if !slices.ContainsFunc(found, func(e pgq.RetryEvent) bool { return e.ID == id }) {
			gone = append(gone, strconv.FormatInt(id, 10))
		}
	}
	return gone
}

// count says how many events something happened to.
func (a *app) count(n int64, what string) error {
	if a.format == "json" {
		return a.encode(map[string]int64{"events": n})
	}
	fmt.Fprintf(a.Out, "%s %s.\n", counted(int(n), "event"), what)
	return nil
}

func (a *app) listRetries(found []pgq.RetryEvent, consumer string) error {
	if a.format == "json" {
		if found == nil {
			found = []pgq.RetryEvent{}
		}
		return a.encode(map[string]any{"events": found})
	}
	if len(found) == 0 {
		fmt.Fprintf(a.Out, "No event waits for consumer %s.\n", consumer)
		return nil
	}
	a.printRetries(found)
	return nil
}

func (a *app) printRetries(found []pgq.RetryEvent) {
	g := &grid{right: map[int]bool{0: true, 1: true, 2: true}}
	g.add("dim", "EVENT", "DUE", "RETRY", "TYPE", "DATA")
	for _, e := range found {
		due := "waits for the upkeep"
		if e.Due > 0 {
			due = "in " + ago(e.Due)
		}
		kind, data := eventWords(pgq.Event{Type: e.Type, Data: e.Data, Extra1: e.Extra1, Extra2: e.Extra2, Extra3: e.Extra3, Extra4: e.Extra4})
		g.add("", strconv.FormatInt(e.ID, 10), due, strconv.Itoa(int(or(e.Retry))), kind, data)
	}
	for _, line := range g.lines(a.painted, a.Width()) {
		fmt.Fprintln(a.Out, line)
	}
}

// dropRetries shows the events, asks, and discards exactly those.
func (a *app) dropRetries(ctx context.Context, q *openQueue, c *pgq.ConsumerDetail, found []pgq.RetryEvent, yes bool) error {
	if a.format == "text" {
		a.printRetries(found)
	}
	if err := a.confirm(yes, fmt.Sprintf("Discard %s of consumer %s, for good?", counted(len(found), "event"), render.Clean(c.Name))); err != nil {
		return err
	}
	var ids []int64
	for _, e := range found {
		ids = append(ids, e.ID)
	}
	drop := pgq.DropRetries(q.ID, c.Owner, ids)
	n, err := q.conn.Exec(ctx, drop.Text, drop.Args...)
	if err != nil {
		return fmt.Errorf("discard events: %w", q.permit(err, "pgq_admin"))
	}
	return a.count(n, "discarded")
}

func (a *app) retryBatch(ctx context.Context, q *openQueue, consumer, delay string) error {
	wait, err := spec.ParseDuration(delay)
	if err != nil || wait < 0 || time.Duration(wait) > math.MaxInt32*time.Second {
		return usage("queue retry: --delay %s: expected a duration such as 30s or 2h", delay)
	}
	seconds := int32(math.Ceil(wait.Seconds()))
	var n int32
	err = q.conn.Write(ctx, func(tx *pg.Tx) error {
		c, all, err := q.consumer(ctx, tx, consumer)
		if err != nil {
			return err
		}
		if c.Batch == nil {
			return noBatch(c, all)
		}
		put := pgq.RetryBatch(*c.Batch, seconds)
		n, err = pg.One[int32](ctx, tx, put.Text, put.Args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("retry the batch of consumer %s: %w", render.Clean(consumer), q.permit(err, "pgq_reader"))
	}
	return a.count(int64(n), "put aside, to be delivered again in "+wait.String()+"; the batch is still open")
}

// noBatch says that there is no batch, or which members have one.
func noBatch(c *pgq.ConsumerDetail, all []pgq.ConsumerDetail) error {
	var members []string
	for _, m := range openMembers(c, all) {
		members = append(members, render.Clean(m.Name))
	}
	if len(members) > 0 {
		return usage("it has no batch open, but members have: name one of %s", strings.Join(members, ", "))
	}
	return &codeError{code: exitError, message: "it has no batch open"}
}

// openMembers are the members of a cooperative consumer that have a batch open.
func openMembers(c *pgq.ConsumerDetail, all []pgq.ConsumerDetail) (members []pgq.ConsumerDetail) {
	for _, m := range all {
		if m.MemberOf != nil && *m.MemberOf == c.Name && m.Batch != nil {
			members = append(members, m)
		}
	}
	return members
}
