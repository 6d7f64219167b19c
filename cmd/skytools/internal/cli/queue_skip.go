package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

func (r *reach) skip() *cobra.Command {
	a := r.app
	var to string
	var yes bool
	cmd := &cobra.Command{
		Use: "skip QUEUE CONSUMER --to TICK|now|TIME", Short: "Move a consumer to another tick: forwards to skip events, or back to read them again",
		Long: `Moves a consumer as far as there are ticks, shows how many events it skips or reads
again, and asks. --to is the id of a tick; now, the newest one; or a time in UTC such as
"2026-08-23 09:00" or 2026-08-23T09:00:00Z: the newest tick that is not after it. A batch
that the consumer has open is dropped.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args, "QUEUE", "CONSUMER"); err != nil {
				return err
			}
			goal, err := parseGoal(to)
			if err != nil {
				return err
			}
			q, err := r.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer q.conn.Close()
			return a.skipTo(cmd.Context(), q, args[1], goal, yes)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "where to move it: a tick, now, or a time")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// A goal is what --to means: a tick, a time, or the newest tick.
type goal struct {
	text string
	tick *int64
	time *string
}

func parseGoal(text string) (goal, error) {
	g := goal{text: text}
	if text == "now" {
		return g, nil
	}
	if id, err := strconv.ParseInt(text, 10, 64); err == nil {
		g.tick = &id
		return g, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if at, err := time.Parse(layout, text); err == nil {
			utc := at.UTC().Format(time.RFC3339Nano)
			g.time = &utc
			return g, nil
		}
	}
	if text == "" {
		return g, usage(`queue skip: --to is missing: a tick, now, or a time such as "2026-08-23 09:00"`)
	}
	return g, usage(`queue skip: --to %q: expected a tick, now, or a time such as "2026-08-23 09:00"`, text)
}

// A move is what skip would do.
type move struct {
	Queue    string `json:"queue"`
	Consumer string `json:"consumer"`
	From     int64  `json:"from_tick"`
	To       int64  `json:"to_tick"`
	Skipped  int64  `json:"skipped_events"`
	Again    int64  `json:"events_again"` // that it has read already
	Dropped  *int64 `json:"dropped_batch"`
	Done     bool   `json:"done"`

	members []pgq.ConsumerDetail // with a batch open
}

func (a *app) skipTo(ctx context.Context, q *openQueue, consumer string, g goal, yes bool) error {
	m, err := a.planMove(ctx, q, consumer, g)
	if err != nil {
		return fmt.Errorf("move consumer %s: %w", render.Clean(consumer), q.permit(err, "pgq_reader"))
	}
	if m.From == m.To && m.Dropped == nil {
		if a.format == "json" {
			return a.encode(m)
		}
		fmt.Fprintf(a.Out, "Consumer %s is at tick %d already.\n", render.Clean(consumer), m.To)
		return nil
	}
	if a.format == "text" {
		m.tell(a)
	}
	if err := a.confirm(yes, fmt.Sprintf("Move consumer %s?", render.Clean(consumer))); err != nil {
		return err
	}
	if err := m.carryOut(ctx, q); err != nil {
		return fmt.Errorf("move consumer %s: %w", render.Clean(consumer), q.permit(moved(err, "its position"), "pgq_reader"))
	}
	m.Done = true
	if a.format == "json" {
		return a.encode(m)
	}
	fmt.Fprintf(a.Out, "Consumer %s is at tick %d.\n", render.Clean(consumer), m.To)
	return nil
}

// planMove looks where the consumer is, whether it may be moved, and what lies between.
func (a *app) planMove(ctx context.Context, q *openQueue, consumer string, g goal) (*move, error) {
	m := &move{Queue: q.Name, Consumer: consumer}
	err := readEvents(ctx, q, q.conn.Read, func(tx *pg.Tx, b pgq.TailBounds) error {
		c, all, err := q.consumer(ctx, tx, consumer)
		if err != nil {
			return err
		}
		if err := q.movable(ctx, tx, c); err != nil {
			return err
		}
		if m.To, err = g.find(ctx, tx, q, b); err != nil {
			return err
		}
		m.From, m.Dropped, m.members = *c.Tick, c.Batch, openMembers(c, all)
		if m.To < m.From && len(m.members) > 0 {
			return refuseBack(m.members)
		}
		between := pgq.Between(q.ID, new(min(m.From, m.To)), new(max(m.From, m.To)))
		w, err := pg.Struct[pgq.Window](ctx, tx, between.Text, between.Args...)
		if err != nil {
			return fmt.Errorf("look at the ticks between: %w", err)
		}
		count := pgq.CountIn(q.Prefix, &w)
		n, err := pg.One[int64](ctx, tx, count.Text, count.Args...)
		if m.To < m.From {
			m.Again = n
		} else {
			m.Skipped = n
		}
		return err
	})
	return m, err
}

// movable refuses consumers whose position is not theirs to choose.
func (q *openQueue) movable(ctx context.Context, tx *pg.Tx, c *pgq.ConsumerDetail) error {
	refused := func(why, hint string) error {
		return &codeError{code: exitApproval, message: why, hint: hint}
	}
	if strings.HasPrefix(c.Name, ".") {
		return refused("it is a watermark of a cascade, which says what no node needs any more; moved by hand it would lose events of subscribers", "look at the cascade with: skytools status")
	}
	if c.MemberOf != nil {
		return refused(fmt.Sprintf("it is a member of consumer %s and has no position of its own", render.Clean(*c.MemberOf)), "move "+render.Clean(*c.MemberOf))
	}
	var readers []string
	readersOf := pgqnode.Readers(q.Name)
	err := tx.Attempt(ctx, func() (err error) {
		readers, err = pg.Rows[string](ctx, tx, readersOf.Text, readersOf.Args...)
		return err
	})
	switch code := pg.Code(err); {
	case code == "3F000" || code == "42P01": // no cascade here
	case err != nil:
		return fmt.Errorf("look whether it belongs to a cascade: %w", err)
	case slices.Contains(readers, c.Name):
		return refused("it replays a cascade: its node keeps the position that it has reached, and would put it back or lose rows", "to copy tables again, change the cascade with: skytools plan")
	}
	if c.Tick == nil {
		return refused("it has no position", "")
	}
	return nil
}

func refuseBack(members []pgq.ConsumerDetail) error {
	var open []string
	for _, m := range members {
		open = append(open, fmt.Sprintf("%s (ticks %s to %s)", render.Clean(m.Name), number(m.Tick), number(m.BatchEnd)))
	}
	return &codeError{code: exitApproval, message: "members have batches open, whose events would come twice: " + strings.Join(open, ", "), hint: "stop the members, or let them finish, then run the same command again"}
}

// find is the tick that the goal means.
func (g goal) find(ctx context.Context, tx *pg.Tx, q *openQueue, b pgq.TailBounds) (int64, error) {
	if b.Newest == nil {
		return 0, &codeError{code: exitError, message: "the queue has no ticks", hint: "is a ticker running?"}
	}
	if g.tick == nil && g.time == nil {
		return *b.Newest, nil
	}
	look := pgq.TickNear(q.ID, g.tick, g.time)
	near, err := pg.Struct[pgq.NearTicks](ctx, tx, look.Text, look.Args...)
	switch {
	case err != nil:
		return 0, err
	case near.Here != nil:
		return *near.Here, nil
	case g.time != nil:
		return 0, usage("--to %s: the oldest tick, %d, is younger than that: events from before it are gone, or cannot be told apart", g.text, *b.Oldest)
	case near.Before != nil && near.After != nil:
		return 0, usage("--to %s: there is no such tick; the nearest are %d and %d", g.text, *near.Before, *near.After)
	}
	return 0, usage("--to %s: there is no such tick; there are %d to %d", g.text, *b.Oldest, *b.Newest)
}

// tell says what would happen.
func (m *move) tell(a *app) {
	way := "forwards"
	if m.To < m.From {
		way = "back"
	}
	if m.To == m.From {
		fmt.Fprintf(a.Out, "Consumer %s stays at tick %d.\n", render.Clean(m.Consumer), m.From)
	} else {
		fmt.Fprintf(a.Out, "Consumer %s moves %s from tick %d to tick %d.\n", render.Clean(m.Consumer), way, m.From, m.To)
		if m.To > m.From {
			fmt.Fprintf(a.Out, "  %s\n", a.painted("drop", "skips       "+counted(int(m.Skipped), "event")+": it never gets them"))
		} else {
			fmt.Fprintf(a.Out, "  %s\n", a.painted("update", "reads again "+counted(int(m.Again), "event")))
		}
	}
	if m.Dropped != nil {
		fmt.Fprintf(a.Out, "  %s\n", a.painted("update", fmt.Sprintf("drops       batch %d, which it has open; finishing that has no effect then", *m.Dropped)))
	}
	for _, member := range m.members {
		fmt.Fprintf(a.Out, "  member %s goes on with its batch %d and finishes it\n", render.Clean(member.Name), *member.Batch)
	}
}

// carryOut moves the consumer, unless it has moved since it was looked at: both happen
// in one snapshot, and the server refuses to change what is newer.
func (m *move) carryOut(ctx context.Context, q *openQueue) error {
	return q.conn.Write(ctx, func(tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, "set transaction isolation level repeatable read"); err != nil {
			return err
		}
		c, all, err := q.consumer(ctx, tx, m.Consumer)
		if err != nil {
			return err
		}
		again := openMembers(c, all)
		if or(c.Tick) != m.From || or(c.Batch) != or(m.Dropped) || m.To < m.From && len(again) > 0 {
			return &codeError{code: exitStale, message: "it has moved meanwhile; nothing was changed", hint: "look again with the same command"}
		}
		_, err = tx.Run(ctx, pgq.MoveConsumer(q.Name, m.Consumer, m.To))
		return err
	})
}
