package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/spec"
)

// sources are the databases of the set that are not declared dead.
func sources(set *spec.Set) []status.Source {
	var all []status.Source
	for _, d := range set.Databases {
		if d.State != spec.Dead {
			all = append(all, status.Source{Name: d.Name, DSN: d.DSN.Reveal})
		}
	}
	return all
}

// everything is [sources] and the databases that are declared dead, which may be back.
func everything(set *spec.Set) []status.Source {
	all := sources(set)
	for _, d := range set.Databases {
		if d.State == spec.Dead {
			all = append(all, status.Source{Name: d.Name, Dead: true, DSN: d.DSN.Reveal})
		}
	}
	return all
}

func (a *app) status() *cobra.Command {
	var paths []string
	cmd := &cobra.Command{
		Use: "status [ADDRESS...]", Short: "Say how queues, nodes and copies fare; reads only",
		Long: `Reads lag, copy states, errors and unfinished steps from the catalogs, so it works
whether or not skytools run is running. Exit code 15 when a database could not be read.`,
		RunE: func(cmd *cobra.Command, globs []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			r := status.Collect(cmd.Context(), everything(set), a.timeout)
			r.Follow(cmd.Context(), standbysOf(set), a.timeout)
			r.Keep(cmd.Context(), archivesOf(set), a.timeout)
			missing(set, r)
			limitStatus(r, globs)
			if a.format == "json" {
				enc := json.NewEncoder(a.Out)
				enc.SetIndent("", "  ")
				if err := enc.Encode(r); err != nil {
					return err
				}
			} else {
				a.printStatus(a.Out, set.Cluster, r)
			}
			for _, d := range r.Databases {
				if d.Error != "" {
					return &codeError{code: exitIncomplete}
				}
			}
			return cmd.Context().Err()
		},
	}
	cmd.ValidArgsFunction = a.addresses(&paths)
	cmd.Flags().StringArrayVarP(&paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	return cmd
}

// missing adds what is declared and not there.
func missing(set *spec.Set, r *status.Report) {
	there := map[planner.Address]bool{}
	for _, d := range r.Databases {
		for _, q := range d.Queues {
			there[planner.Address{Kind: "queue", Name: q.Name, Database: d.Name}] = true
		}
		for _, n := range d.Nodes {
			there[planner.Address{Kind: "node", Name: n.Queue, Database: d.Name}] = true
		}
	}
	lost := map[string]bool{}
	for _, d := range r.Databases {
		lost[d.Name] = d.Error != ""
	}
	for _, a := range planner.Addresses(set) {
		if q := set.Queues.Get(a.Name); q == nil || q.State == spec.Absent || lost[a.Database] || there[a] || a.Kind != "queue" && a.Kind != "node" {
			continue
		} else if n := q.Nodes.Get(a.Database); a.Kind == "node" && n != nil && n.State == spec.Absent {
			continue
		}
		r.Problems = append(r.Problems, a.String()+" is declared, and not there: skytools plan")
	}
}

// limitStatus keeps the objects that match one of the globs.
func limitStatus(r *status.Report, globs []string) {
	if len(globs) == 0 {
		return
	}
	match := func(kind, name, database string) bool {
		for _, g := range globs {
			if (planner.Address{Kind: kind, Name: name, Database: database}).Match(g) {
				return true
			}
		}
		return false
	}
	for i := range r.Databases {
		d := &r.Databases[i]
		queues, nodes := []status.Queue{}, []status.Node{}
		for _, q := range d.Queues {
			if match("queue", q.Name, d.Name) {
				queues = append(queues, q)
			}
		}
		for _, n := range d.Nodes {
			tables := []status.Table{}
			for _, t := range n.Tables {
				if match("table", n.Queue+"/"+t.Name, d.Name) {
					tables = append(tables, t)
				}
			}
			if whole := match("node", n.Queue, d.Name); whole || len(tables) > 0 {
				if !whole {
					n.Tables = tables
				}
				nodes = append(nodes, n)
			}
		}
		d.Queues, d.Nodes = queues, nodes
	}
	r.Archives = slices.DeleteFunc(r.Archives, func(x status.Archive) bool { return !match("archive", x.Name, x.Of) })
	r.Standbys = slices.DeleteFunc(r.Standbys, func(s status.Standby) bool { return !match("standby", s.Name, s.Of) })
}

func (a *app) printStatus(w io.Writer, cluster string, r *status.Report) {
	fmt.Fprintf(w, "%s at %s\n", a.painted("bold", cluster), r.At.Format("2006-01-02 15:04:05Z"))
	for _, d := range r.Databases {
		if d.Error != "" {
			fmt.Fprintf(w, "\n%s  %s\n", a.painted("bold", d.Name), a.painted("drop", d.Error))
			continue
		}
		dead := ""
		if d.Dead {
			dead = a.painted("update", ", declared dead")
		}
		fmt.Fprintf(w, "\n%s  PostgreSQL %s%s\n", a.painted("bold", d.Name), d.Server, dead)
		for _, q := range d.Queues {
			fmt.Fprintf(w, "  queue/%-28s tick %d, %s ago, %d new events, %s\n", q.Name, q.LastTick, ago(q.TickerLag), q.New, megabytes(q.Bytes))
			for _, c := range q.Consumers {
				note := ""
				if c.HoldsBack > 0 {
					note = a.painted("update", "  holds back rotation for "+ago(c.HoldsBack))
				}
				fmt.Fprintf(w, "    %-30s   %d events, %s behind%s\n", c.Name, c.Pending, ago(c.Lag), note)
			}
		}
		for _, n := range d.Nodes {
			a.printNode(w, n)
		}
		if d.Archiver != nil {
			fmt.Fprintf(w, "  %-34s %s\n", "archiver", d.Archiver.Line())
		}
		for _, s := range d.Skipped {
			when := "to be left out"
			if s.Skipped != nil {
				when = "left out " + s.Skipped.UTC().Format("2006-01-02 15:04:05Z")
			}
			fmt.Fprintf(w, "  %s %d of table/%s/%s: %s, by %s: %s\n", a.painted("update", "event"), s.Event, s.Queue, render.Clean(s.Table), when, render.Clean(s.By), render.Clean(s.Because))
		}
		for _, s := range d.Steps {
			fmt.Fprintf(w, "  %s %s: begun %s by %s, no outcome yet\n", a.painted("update", "step"), s.Address, s.Started.UTC().Format("15:04:05Z"), s.By)
		}
	}
	for _, s := range r.Standbys {
		fmt.Fprintf(w, "\n%s  %s of %s, timeline %s, %s behind, replay %s, stream %s\n", a.painted("bold", s.Name), s.Role, s.Of, timelineOf(s.State), behind(s.State), replayOf(s.State), streamOf(s.State))
	}
	for _, x := range r.Archives {
		text := "no WAL is known to be missing"
		if n := x.Segments(); n > 0 {
			text = a.painted("drop", counted(int(n), "segment")+" of WAL missing")
		}
		if x.Error != "" {
			text += "; its stores were not looked at: " + render.Clean(x.Error)
		}
		fmt.Fprintf(w, "\n%s  archive of %s: %s\n", a.painted("bold", x.Name), x.Of, text)
	}
	fmt.Fprintln(w)
	for _, p := range r.Problems {
		fmt.Fprintf(w, "%s %s\n", a.painted("drop", "!"), p)
	}
	if len(r.Problems) == 0 {
		fmt.Fprintf(w, "%s\n", a.painted("ok", allWell(r)))
	}
}

func allWell(r *status.Report) string {
	if n := r.Pending(); n > 0 {
		return fmt.Sprintf("All well; %d tables are not in sync yet (skytools wait).", n)
	}
	return "All well."
}

func (a *app) printNode(w io.Writer, n status.Node) {
	from, behind := "", ""
	if n.Type != "root" {
		from = " of " + n.Provider
		if n.Lag != nil {
			behind = ", " + ago(*n.Lag) + " behind"
		}
		if n.Merged != "" {
			from += ", merged into " + render.Clean(n.Merged) + ","
		}
	}
	fmt.Fprintf(w, "  node/%-29s %s%s at tick %d%s\n", n.Queue, n.Type, from, n.Tick, behind)
	if n.Rival != "" {
		fmt.Fprintf(w, "    %s\n", a.painted("drop", n.Rival+" is root, too"))
	}
	if n.Paused {
		fmt.Fprintf(w, "    %s\n", a.painted("update", "paused"))
	}
	if n.Error != "" {
		fmt.Fprintf(w, "    %s\n", a.painted("drop", strings.ReplaceAll(n.Error, "\n", "\n    ")))
	}
	ok := 0
	for _, t := range n.Tables {
		if t.State == "ok" && t.Note == "" {
			ok++
			continue
		}
		note := t.Note
		if t.State == "in-copy" {
			note = fmt.Sprintf("%s  %3.0f %%  %s", bar(t.Progress, 20), t.Progress*100, t.Note)
		}
		fmt.Fprintf(w, "    %-30s   %-12s %s\n", t.Name, t.State, note)
	}
	if ok > 0 {
		fmt.Fprintf(w, "    %d of %d tables in sync\n", ok, len(n.Tables))
	}
}

func bar(share float64, width int) string {
	full := int(share * float64(width))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}

func ago(seconds float64) string {
	if seconds < 10 {
		return fmt.Sprintf("%.1f s", seconds)
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }

// waitContext ends with ctx, or after limit when that is above zero.
func waitContext(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}
