package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
)

func (r *reach) show() *cobra.Command {
	a := r.app
	return &cobra.Command{
		Use: "show QUEUE", Short: "Show one queue in detail: settings, tables, ticks, consumers, captured tables; reads only",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args, "QUEUE"); err != nil {
				return err
			}
			q, err := r.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer q.conn.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
			defer cancel()
			entries, err := readEntries(ctx, &finding{place: q.place, conn: q.conn, user: q.user, queues: []pgq.QueueDetail{q.QueueDetail}})
			if err != nil {
				return fmt.Errorf("read queue %s: %w", q.address(), err)
			}
			captures, err := q.captures(ctx)
			if err != nil {
				return fmt.Errorf("read what feeds queue %s: %w", q.address(), q.permit(err, "pgq_reader"))
			}
			if a.format == "json" {
				return a.encode(struct {
					queueEntry
					Captures []pgq.Capture `json:"captures"`
				}{entries[0], captures})
			}
			a.printQueue(entries[0], captures)
			return nil
		},
	}
}

// captures are the triggers that feed the queue.
func (q *openQueue) captures(ctx context.Context) ([]pgq.Capture, error) {
	all := []pgq.Capture{}
	err := q.conn.Read(ctx, func(tx *pg.Tx) error {
		raw, err := tx.Catalog(ctx, pgq.Captures)
		if err != nil {
			return err
		}
		for _, r := range raw {
			var c pgq.Capture
			if err := json.Unmarshal(r, &c); err != nil {
				return err
			}
			if c.Queue == q.Name {
				all = append(all, c)
			}
		}
		return nil
	})
	return all, err
}

func (a *app) printQueue(q queueEntry, captures []pgq.Capture) {
	say := func(format string, args ...any) { fmt.Fprintf(a.Out, format+"\n", args...) }
	say("%s", a.painted("bold", render.Clean(q.Name+"@"+q.Database)))
	say("\nSettings")
	for _, s := range settings(q.Settings) {
		line := fmt.Sprintf("  %-20s %s", s.name, s.value)
		if s.value != s.preset {
			line = a.painted("update", fmt.Sprintf("%-32s default %s", line, s.preset))
		}
		say("%s", line)
	}
	say("\nTicks")
	switch {
	case q.Tick == nil:
		say("  none yet: is a ticker running?")
	default:
		say("  newest               %d, %s ago", *q.Tick, age(q.TickAge))
		if q.OldestTickTime != nil {
			say("  oldest               %d, from %s", *q.OldestTick, q.OldestTickTime.UTC().Format("2006-01-02 15:04:05Z"))
		}
		say("  new events           %s since the newest", number(q.NewEvents))
		say("  events per second    %s over the last ticks", rate(q.EventsPerSecond))
	}
	a.printTables(say, q)
	say("\nConsumers")
	if len(q.Consumers) == 0 {
		say("  none")
	}
	for _, line := range a.consumerLines(q.Consumers) {
		say("  %s", line)
	}
	say("\nCaptured tables")
	if len(captures) == 0 {
		say("  none")
	}
	for _, line := range captureLines(captures) {
		say("  %s", line)
	}
}

func (a *app) printTables(say func(string, ...any), q queueEntry) {
	say("\nTables")
	for i, t := range q.Tables {
		size := "is missing"
		if t.Bytes != nil {
			size = megabytes(*t.Bytes)
		}
		note := ""
		if i == q.CurrentTable {
			note = "  takes events since " + q.Switched.UTC().Format("2006-01-02 15:04:05Z")
		}
		say("  %-20s %10s%s", render.Clean(t.Name), size, a.painted("ok", note))
	}
	say("  %s", rotation(q))
}

// rotation says when the next one comes, or who holds it back.
func rotation(q queueEntry) string {
	for _, c := range q.Consumers {
		if c.HoldsBack > 0 {
			return fmt.Sprintf("The next rotation is due for %s and waits for consumer %s at tick %s.", ago(q.Due), render.Clean(c.Name), number(c.Tick))
		}
	}
	switch {
	case q.Switching:
		return "A rotation is half done; the upkeep of skytools run or pgqd ends it."
	case q.Due > 0:
		return fmt.Sprintf("The next rotation is due for %s: the upkeep of skytools run or pgqd makes it.", ago(q.Due))
	}
	return fmt.Sprintf("The next rotation is due in %s.", ago(-q.Due))
}

// consumerLines tell about each consumer, with members below their consumer.
func (a *app) consumerLines(all []consumerEntry) []string {
	g := &grid{right: map[int]bool{1: true, 2: true, 3: true, 4: true, 6: true}}
	g.add("dim", "NAME", "TICK", "LAG", "LAST SEEN", "PENDING", "BATCH", "TO RETRY", "NOTES")
	add := func(indent string, c consumerEntry) {
		batch, retries, note, style := "-", "", "", ""
		if c.Batch != nil {
			batch = fmt.Sprintf("%d: ticks %s to %s, about %s", *c.Batch, number(c.Tick), number(c.BatchEnd), counted(int(or(c.BatchEvents)), "event"))
		}
		switch {
		case c.MemberOf != nil:
		case c.Retries == nil:
			retries = "?"
		default:
			retries = number(c.Retries)
		}
		if c.HoldsBack > 0 {
			note, style = "holds back rotation", "update"
		}
		g.add(style, indent+render.Clean(c.Name), number(c.Tick), age(c.Lag), ago(c.LastSeen), number(c.Pending), batch, retries, note)
	}
	for _, c := range all {
		if c.MemberOf != nil {
			continue
		}
		add("", c)
		for _, m := range all {
			if m.MemberOf != nil && *m.MemberOf == c.Name {
				add("  ", m)
			}
		}
	}
	if len(g.rows) == 1 {
		return nil
	}
	lines := g.lines(a.painted, 0)
	for _, c := range all {
		if c.Retries == nil {
			return append(lines, "?: this role may not look at events to retry, pgq_admin may")
		}
	}
	return lines
}

func captureLines(all []pgq.Capture) []string {
	g := &grid{}
	for _, c := range all {
		if c.On != "row" {
			continue
		}
		note := ""
		switch {
		case c.Enabled == "disabled":
			note = "disabled"
		case !c.IsCurrent:
			note = "made for the table as it was before: skytools apply renews it"
		}
		how := c.Function
		if c.Generated {
			how = "generated"
		}
		g.add("", render.Clean(c.Table), "trigger "+render.Clean(c.Trigger), render.Clean(strings.Join(append([]string{how}, c.Args...), " ")), note)
	}
	return g.lines(plain, 0)
}
