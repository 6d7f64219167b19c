package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
)

// queueEntry is a queue and who reads it.
type queueEntry struct {
	Database string `json:"database"`
	pgq.QueueDetail
	Bytes     int64           `json:"bytes"`
	Consumers []consumerEntry `json:"consumers"`
	changed   []string        // settings that are not the default
}

// consumerEntry is a consumer or member. Retries is nil where the role may not look.
type consumerEntry struct {
	pgq.ConsumerDetail
	Retries *int64 `json:"retry_events"`
}

// databaseEntry is what one database answered.
type databaseEntry struct {
	Name   string       `json:"name"`
	Error  string       `json:"error,omitempty"`
	Server string       `json:"server,omitempty"`
	Queues []queueEntry `json:"queues"`
}

func (r *reach) list() *cobra.Command {
	a := r.app
	cmd := &cobra.Command{
		Use: "list", Short: "List the queues of all databases and who reads them; reads only",
		Long: `A line for each queue and, below it, each consumer: the tick where it is, how long ago
that was, and how many events come after. Settings are shown where they are not the
default. Exit code 15 when a database could not be read; the rest is shown.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args); err != nil {
				return err
			}
			all, _, err := r.places()
			if err != nil {
				return err
			}
			entries, err := r.survey(cmd.Context(), all)
			if cmd.Context().Err() != nil {
				return cmd.Context().Err()
			}
			if a.format == "json" {
				if err := a.encode(map[string]any{"databases": entries}); err != nil {
					return err
				}
			} else {
				a.printQueues(entries)
			}
			return err
		},
	}
	return cmd
}

// survey reads all databases. The error is that one of them could not be read.
func (r *reach) survey(ctx context.Context, all []place) (entries []databaseEntry, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.app.timeout)
	defer cancel()
	for _, f := range search(ctx, all) {
		e := databaseEntry{Name: f.place.name, Queues: []queueEntry{}}
		if f.err == nil {
			e.Server = f.conn.ServerVersion()
			e.Queues, f.err = readEntries(ctx, &f)
		}
		if f.conn != nil {
			f.conn.Close()
		}
		if f.err != nil {
			if e.Name == "" {
				dsn, _ := f.place.dsn(ctx)
				e.Name = pg.Place(dsn)
			}
			e.Error = f.err.Error()
			err = &codeError{code: exitIncomplete}
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(x, y databaseEntry) int { return strings.Compare(x.Name, y.Name) })
	return entries, err
}

// readEntries reads who reads the queues of a finding, and joins the two.
func readEntries(ctx context.Context, f *finding) ([]queueEntry, error) {
	var readers []pgq.ConsumerDetail
	var retries []pgq.RetryDetail
	mayLook := true
	err := f.conn.Read(ctx, func(tx *pg.Tx) (err error) {
		if readers, err = details[pgq.ConsumerDetail](ctx, tx, pgq.ConsumerDetails); err != nil {
			return err
		}
		if retries, err = details[pgq.RetryDetail](ctx, tx, pgq.RetryDetails); pg.Code(err) == "42501" {
			mayLook, err = false, nil
		}
		return err
	})
	if err != nil {
		return nil, permitted(err, "pgq_reader", f.user)
	}
	entries := []queueEntry{}
	for _, d := range f.queues {
		e := queueEntry{Database: f.place.name, QueueDetail: d, Consumers: []consumerEntry{}, changed: changed(d.Settings)}
		for _, t := range d.Tables {
			e.Bytes += or(t.Bytes)
		}
		for _, c := range readers {
			if c.Queue == d.Name {
				e.Consumers = append(e.Consumers, consumerEntry{c, waiting(retries, c, mayLook)})
			}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// waiting is how many events wait to be delivered to a consumer again.
func waiting(all []pgq.RetryDetail, c pgq.ConsumerDetail, mayLook bool) *int64 {
	if !mayLook {
		return nil
	}
	n := int64(0)
	for _, r := range all {
		if r.Queue == c.Queue && r.Owner == c.Owner && c.MemberOf == nil {
			n = r.Events
		}
	}
	return &n
}

func or[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// setting is one setting of a queue, for people.
type setting struct{ name, value, preset string }

func settings(s pgq.QueueSettings) []setting {
	preset := spec.QueueDefaults()
	limit := "no limit"
	if s.PerTxLimit != nil {
		limit = strconv.Itoa(*s.PerTxLimit)
	}
	yes := func(v bool) string { return strconv.FormatBool(v) }
	return []setting{
		{"ticker_max_lag", period(s.TickerMaxLag), preset.TickerMaxLag.String()},
		{"ticker_max_count", strconv.Itoa(s.TickerMaxCount), strconv.Itoa(preset.TickerMaxCount)},
		{"ticker_idle_period", period(s.TickerIdlePeriod), preset.TickerIdlePeriod.String()},
		{"rotation_period", period(s.RotationPeriod), preset.RotationPeriod.String()},
		{"ticker_paused", yes(s.TickerPaused), "false"},
		{"external_ticker", yes(s.ExternalTicker), "false"},
		{"disable_insert", yes(s.DisableInsert), "false"},
		{"per_tx_limit", limit, "no limit"},
	}
}

// changed are the settings that are not the default; a flag that is set is its name.
func changed(s pgq.QueueSettings) (all []string) {
	for _, s := range settings(s) {
		switch {
		case s.value == s.preset:
		case s.value == "true":
			all = append(all, s.name)
		default:
			all = append(all, s.name+" "+s.value)
		}
	}
	return all
}

// period writes seconds as the YAML does.
func period(seconds float64) string { return spec.Duration(seconds * 1e9).String() }

// age is ago, or a dash where there is nothing to measure.
func age(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return ago(max(0, *seconds))
}

func number(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

// rate is events per second, to three digits or so.
func rate(perSecond *float64) string {
	switch {
	case perSecond == nil:
		return "-"
	case *perSecond < 10:
		return fmt.Sprintf("%.1f", max(0, *perSecond))
	}
	return fmt.Sprintf("%.0f", *perSecond)
}

func (a *app) printQueues(entries []databaseEntry) {
	g := &grid{right: map[int]bool{1: true, 2: true, 3: true, 5: true, 6: true}}
	g.add("dim", "QUEUE", "TICK", "AGE", "EVENTS", "", "PER S", "SIZE", "NOTES")
	queues, behind := 0, 0
	for _, d := range entries {
		slices.SortStableFunc(d.Queues, func(x, y queueEntry) int { return cmp.Compare(x.Name, y.Name) })
		for _, q := range d.Queues {
			queues++
			g.add("bold", render.Clean(q.Name+"@"+d.Name), number(q.Tick), age(q.TickAge), number(q.NewEvents), "new", rate(q.EventsPerSecond),
				megabytes(q.Bytes), strings.Join(q.changed, ", "))
			for _, c := range q.Consumers {
				if strings.HasPrefix(c.Name, ".") && !a.verbose {
					continue // watermarks of a cascade
				}
				style, note := "", notes(c)
				if c.HoldsBack > 0 {
					style = "update"
					behind++
				}
				g.add(style, "  "+render.Clean(c.Name), number(c.Tick), age(c.Lag), number(c.Pending), "pending", "", "", strings.Join(note, ", "))
			}
		}
	}
	if queues > 0 {
		for _, line := range g.lines(a.painted, a.Width()) {
			fmt.Fprintln(a.Out, line)
		}
	}
	for _, d := range entries {
		if d.Error != "" {
			fmt.Fprintf(a.Out, "%s\n", a.painted("drop", render.Clean(d.Name)+"  "+strings.TrimSpace(d.Error)))
		}
	}
	if queues == 0 && !slices.ContainsFunc(entries, func(d databaseEntry) bool { return d.Error != "" }) {
		fmt.Fprintf(a.Out, "There are no queues on %s.\n", counted(len(entries), "database"))
	}
}

// notes are what is worth a word about a consumer.
func notes(c consumerEntry) (all []string) {
	if c.Batch != nil {
		all = append(all, fmt.Sprintf("batch %d open %s", *c.Batch, ago(c.LastSeen)))
	}
	if c.HoldsBack > 0 {
		all = append(all, "holds back rotation for "+ago(c.HoldsBack))
	}
	if n := or(c.Retries); n > 0 {
		all = append(all, strconv.FormatInt(n, 10)+" to retry")
	}
	return all
}
