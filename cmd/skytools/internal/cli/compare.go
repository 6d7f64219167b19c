package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/compare"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/pg"
)

// compareFlags are those of compare and repair.
type compareFlags struct {
	paths, nodes []string
	from         string
	jobs, limit  int
	patience     time.Duration
}

func (f *compareFlags) add(a *app, cmd *cobra.Command) {
	cmd.ValidArgsFunction = a.addresses(&f.paths)
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	fl.StringArrayVar(&f.nodes, "node", nil, "only tables on this node")
	fl.StringVar(&f.from, "from", "provider", "what to compare with: provider or root")
	fl.IntVar(&f.jobs, "jobs", 2, "tables at a time")
	fl.DurationVar(&f.patience, "patience", time.Minute, "how long to wait until a subscriber has caught up with what is changing meanwhile")
}

func (a *app) compare() *cobra.Command {
	var f compareFlags
	cmd := &cobra.Command{
		Use: "compare [TABLE...]", Short: "Compare the rows of subscribers with their provider's; changes nothing",
		Long: `Compares replicated tables row by row, at one point on both sides, while everything is
in use: no writer waits and nothing is paused. The servers sum up ranges of the key, so
equal rows do not travel. TABLE is table/QUEUE/NAME@NODE, NAME or a glob; none: all.

Shown is what would put a row right: + it is missing, - it is extra, ~ it has other
values (what is there -> what should be). Exit code 0 when all rows are equal, 10 when
some differ, 15 when something could not be looked at.`,
		RunE: func(cmd *cobra.Command, globs []string) error {
			if err := a.needFormat("text", "json", "junit"); err != nil {
				return err
			}
			set, all, err := a.compareAll(cmd.Context(), "compare", globs, &f, 0)
			if err != nil {
				return err
			}
			if err := a.printCompared(set, all, f.limit); err != nil {
				return err
			}
			return comparedCode(all)
		},
	}
	f.add(a, cmd)
	cmd.Flags().IntVar(&f.limit, "limit", 10, "rows shown of each table; 0: all that were looked for")
	return cmd
}

// compared is what became of one table.
type compared struct {
	Address planner.Address `json:"address"`
	State   string          `json:"state"` // equal, differs, unsettled, error
	Error   string          `json:"error,omitempty"`
	Hint    string          `json:"hint,omitempty"`
	*compare.Result
	table       followed
	done, total atomic.Int64
}

// compareAll compares the tables that match, several at a time. With most it looks for so
// many differing rows of each.
func (a *app) compareAll(ctx context.Context, verb string, globs []string, f *compareFlags, most int) (*spec.Set, []*compared, error) {
	if f.jobs < 1 {
		return nil, nil, usage("%s: --jobs %d: at least 1", verb, f.jobs)
	}
	set, err := a.load(f.paths)
	if err != nil {
		return nil, nil, err
	}
	tables, err := a.follow(ctx, set, verb, globs, f.nodes, f.from)
	if err != nil {
		return nil, nil, err
	}
	all := make([]*compared, len(tables))
	for i, t := range tables {
		all[i] = &compared{Address: t.address, table: t}
	}
	stop := a.meter(all)
	defer stop()
	slots := make(chan struct{}, f.jobs)
	var running sync.WaitGroup
	for _, c := range all {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() == nil {
				c.run(ctx, set, f.patience, most)
			}
		})
	}
	running.Wait()
	return set, all, ctx.Err()
}

func (c *compared) run(ctx context.Context, set *spec.Set, patience time.Duration, most int) {
	if c.table.problem != "" {
		c.State, c.Error = "error", c.table.problem
		return
	}
	config := c.table.comparison(set)
	config.Patience, config.Max = patience, most
	config.Progress = func(done, total int64) { c.done.Store(done); c.total.Store(total) }
	r, err := compare.Table(ctx, config)
	switch {
	case err != nil:
		c.State, c.Error, c.Hint = "error", err.Error(), hintFor(err)
		return
	case len(r.Differences) > 0:
		c.State = "differs"
	case len(r.Unsettled) > 0:
		c.State = "unsettled"
	default:
		c.State = "equal"
	}
	c.Result = r
}

// hintFor is what to try about an error.
func hintFor(err error) string {
	var with interface{ Hint() string }
	if errors.As(err, &with) && with.Hint() != "" {
		return with.Hint()
	}
	if pg.Code(err) == "42501" {
		return "it needs pgq_reader on both sides and the right to read the tables: grant pgq_reader to the role, and select on the table"
	}
	return hintOf(pg.Code(err))
}

// meter shows how far the comparison is: a bar from the third second on, and a line for
// each table on SIGUSR1.
func (a *app) meter(all []*compared) (stop func()) {
	quiet := a.poked(func() {
		for _, c := range all {
			fmt.Fprintf(a.Err, "  %-50s %d of about %d rows\n", render.Clean(c.Address.String()), c.done.Load(), c.total.Load())
		}
	})
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-end:
			return
		case <-time.After(2 * time.Second):
		}
		b := a.newBar("rows compared")
		defer b.end()
		for {
			share := 0.0
			for _, c := range all {
				if total := c.total.Load(); total > 0 {
					share += float64(c.done.Load()) / float64(total) / float64(len(all))
				}
			}
			b.set(share)
			select {
			case <-end:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return func() { quiet(); close(end); <-ended }
}

func comparedCode(all []*compared) error {
	code := exitOK
	for _, c := range all {
		switch {
		case c.State == "error" || c.State == "unsettled":
			return &codeError{code: exitIncomplete}
		case c.State == "differs":
			code = exitDiffers
		}
	}
	if code == exitOK {
		return nil
	}
	return &codeError{code: code}
}

func (a *app) printCompared(set *spec.Set, all []*compared, limit int) error {
	switch a.format {
	case "json":
		return a.encode(map[string]any{"tables": all})
	case "junit":
		return render.JUnitCases(a.Out, "skytools compare "+set.Cluster, casesOf(all))
	}
	equal, rows := 0, int64(0)
	for _, c := range all {
		if c.State == "equal" {
			equal++
		}
		if c.Result != nil {
			rows += c.Rows + int64(c.Rechecked)
		}
		if !a.quiet || c.State != "equal" {
			a.printTable(c, limit)
		}
	}
	fmt.Fprintf(a.Out, "%d of %s equal, %s compared.\n", equal, counted(len(all), "table"), counted(int(rows), "row"))
	return nil
}

func (a *app) printTable(c *compared, limit int) {
	if c.State == "error" {
		fmt.Fprintf(a.Out, "%s  %s\n", render.Clean(c.Address.String()), a.painted("drop", "not compared: "+render.Clean(c.Error)))
		if c.Hint != "" {
			fmt.Fprintf(a.Out, "    try: %s\n", render.Clean(c.Hint))
		}
		return
	}
	what := a.painted("ok", "equal to "+c.Provider)
	if n := len(c.Differences); n > 0 {
		text := counted(n, "row")
		if c.More {
			text = "at least " + text
		}
		what = a.painted("drop", fmt.Sprintf("%s of %s", differ(text, n), c.Provider))
	}
	fmt.Fprintf(a.Out, "%s  %s, %s at tick %d\n", render.Clean(c.Address.String()), counted(int(c.Here), "row"), what, c.Tick)
	for i, d := range c.Differences {
		if i == limit && limit > 0 {
			fmt.Fprintf(a.Out, "    and %d more; --limit shows them, --format json has all\n", len(c.Differences)-i)
			break
		}
		a.printDifference(d)
	}
	if n := len(c.Unsettled); n > 0 {
		fmt.Fprintf(a.Out, "    %s\n", a.painted("update", counted(n, "row")+" changed during every look, and could not be compared"))
	}
	for _, note := range c.Notes {
		fmt.Fprintf(a.Out, "    note: %s\n", render.Clean(note))
	}
}

func differ(rows string, n int) string {
	if n == 1 {
		return rows + " differs from that"
	}
	return rows + " differ from those"
}

var signs = map[string]struct{ sign, paint string }{
	compare.Missing: {"+", "create"}, compare.Extra: {"-", "drop"}, compare.Changed: {"~", "update"},
}

func (a *app) printDifference(d compare.Difference) {
	var key, values []string
	for _, k := range d.Key {
		key = append(key, k.Column+"="+render.Clean(k.Value))
	}
	for _, v := range d.Values {
		text := ""
		switch d.Kind {
		case compare.Changed:
			text = short(v.Subscriber) + " -> " + short(v.Provider)
		case compare.Missing:
			text = short(v.Provider)
		default:
			text = short(v.Subscriber)
		}
		values = append(values, render.Clean(v.Column)+": "+text)
	}
	s := signs[d.Kind]
	line := fmt.Sprintf("%s %s  %-7s  %s", s.sign, strings.Join(key, ", "), d.Kind, strings.Join(values, ", "))
	fmt.Fprintf(a.Out, "    %s\n", a.painted(s.paint, cut(strings.TrimRight(line, " "), 400)))
}

// short is a value on one line, quoted unless it is NULL.
func short(text *string) string {
	if text == nil {
		return "NULL"
	}
	return "'" + cut(render.Clean(*text), 60) + "'"
}

func casesOf(all []*compared) []render.Case {
	var cases []render.Case
	for _, c := range all {
		t := render.Case{Class: c.Address.Database, Name: c.Address.Short()}
		switch c.State {
		case "error":
			t.Type, t.Error = "not compared", c.Error
		case "unsettled":
			t.Type, t.Error = "not settled", counted(len(c.Unsettled), "row")+" changed during every look"
		case "differs":
			t.Type = "differs"
			var keys []string
			for _, d := range c.Differences[:min(20, len(c.Differences))] {
				var key []string
				for _, k := range d.Key {
					key = append(key, k.Column+"="+render.Clean(k.Value))
				}
				keys = append(keys, d.Kind+" "+strings.Join(key, ", "))
			}
			t.Failure = fmt.Sprintf("%s at tick %d: %s", counted(len(c.Differences), "row"), c.Tick, strings.Join(keys, "; "))
		}
		cases = append(cases, t)
	}
	return cases
}
