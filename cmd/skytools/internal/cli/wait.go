package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/spec"
)

func (a *app) wait() *cobra.Command {
	var paths []string
	var what string
	var limit time.Duration
	cmd := &cobra.Command{
		Use: "wait [ADDRESS...]", Short: "Wait until tables and standbys are in sync; reads only",
		Long: `Waits until everything that matches (globs are fine; none: all) is in sync, with a
progress bar for each. The copies are made by skytools run.

A table is in sync when it is copied, and no node from the root to it is stopped by an event
that fails. A standby is when it streams, and has replayed what its primary had when the wait
began. Without an address, standbys that are meant to be late, by delay or replay: paused,
and those that follow an archive only are not waited for.`,
		RunE: func(cmd *cobra.Command, globs []string) error {
			if what != "ok" {
				return usage("wait: --for knows only ok")
			}
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			return a.waitSync(cmd.Context(), set, globs, followersOf(set, globs), limit)
		},
	}
	cmd.ValidArgsFunction = a.addresses(&paths)
	f := cmd.Flags()
	f.StringArrayVarP(&paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	f.StringVar(&what, "for", "ok", "what to wait for: ok")
	f.DurationVar(&limit, "limit", 0, "give up after this long; 0: never")
	return cmd
}

// waited is one table or standby that is waited for.
type waited struct {
	address  planner.Address
	state    string
	progress float64 // 0 to 1
	note     string
	problem  string // of its node, or of one above
	done     bool
}

// A glance is what was there at one moment.
type glance struct {
	all    []waited
	unread string // what could not be read; empty: all was
}

// waitTables returns when all tables that match are in sync.
func (a *app) waitTables(ctx context.Context, set *spec.Set, globs []string, limit time.Duration) error {
	return a.waitSync(ctx, set, globs, &followers{}, limit)
}

// waitDeclared waits for all that skytools wait does without an address. To have nothing to
// wait for is no error.
func (a *app) waitDeclared(ctx context.Context, set *spec.Set, limit time.Duration) error {
	err := a.waitSync(ctx, set, nil, followersOf(set, nil), limit)
	if errors.Is(err, noneToWaitFor) {
		a.talk("No table and no standby to wait for.")
		return nil
	}
	return err
}

var noneToWaitFor = &codeError{code: exitError, message: "wait: no replicated table and no standby matches", hint: "skytools status lists what there is"}

// waitSync returns when all tables that match are in sync, and the standbys.
func (a *app) waitSync(ctx context.Context, set *spec.Set, globs []string, standbys *followers, limit time.Duration) error {
	ctx, cancel := waitContext(ctx, limit)
	defer cancel()
	show := a.newProgress()
	defer show.end()
	var seen atomic.Pointer[glance]
	defer a.poked(func() {
		if last := seen.Load(); last != nil {
			for _, w := range last.all {
				fmt.Fprintf(a.Err, "  %-50s %-12s %3.0f %% %s\n", w.address, w.state, w.progress*100, w.problem)
			}
		}
	})()
	for began := time.Now(); ; {
		now := &glance{}
		now.all, now.unread = matching(status.Collect(ctx, sources(set), a.timeout), globs)
		tables := len(now.all)
		now.all = append(now.all, standbys.look(ctx, a.timeout)...)
		if before := seen.Load(); before != nil && ctx.Err() != nil { // this one was cut short
			now = before
		}
		seen.Store(now)
		left := slices.DeleteFunc(slices.Clone(now.all), func(w waited) bool { return w.done })
		show.update(now.all)
		if len(left) == 0 && now.unread == "" && ctx.Err() == nil {
			if len(now.all) == 0 {
				return noneToWaitFor
			}
			show.end()
			a.talk("%s in sync after %s.", countedBoth(tables, len(now.all)-tables), time.Since(began).Round(100*time.Millisecond))
			return nil
		}
		select {
		case <-ctx.Done():
			show.end()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return &codeError{code: exitIncomplete, message: giveUp(left, now.unread, limit), hint: "is skytools run running? look with: skytools status"}
			}
			return ctx.Err()
		case <-time.After(pollEvery(time.Since(began))):
		}
	}
}

func countedBoth(tables, standbys int) string {
	switch {
	case standbys == 0:
		return counted(tables, "table")
	case tables == 0:
		return counted(standbys, "standby")
	}
	return counted(tables, "table") + " and " + counted(standbys, "standby")
}

// pollEvery asks often at first and less often later.
func pollEvery(waited time.Duration) time.Duration {
	switch {
	case waited < 30*time.Second:
		return 300 * time.Millisecond
	case waited < 5*time.Minute:
		return 2 * time.Second
	}
	return 10 * time.Second
}

func giveUp(left []waited, unread string, limit time.Duration) string {
	if unread != "" {
		return fmt.Sprintf("waited %s: %s", limit, unread)
	}
	var names []string
	for _, w := range left[:min(len(left), 5)] {
		text := fmt.Sprintf("%s is %s", w.address, w.state)
		if w.problem != "" {
			text += " (" + w.problem + ")"
		}
		names = append(names, text)
	}
	if len(left) > 5 {
		names = append(names, fmt.Sprintf("and %d more", len(left)-5))
	}
	return fmt.Sprintf("waited %s: %s", limit, strings.Join(names, ", "))
}

func matching(r *status.Report, globs []string) (all []waited, unread string) {
	nodes := map[string]status.Node{}
	for _, d := range r.Databases {
		for _, n := range d.Nodes {
			nodes[n.Queue+"/"+n.Name] = n
		}
	}
	for _, d := range r.Databases {
		if d.Error != "" {
			unread = d.Name + ": " + d.Error
		}
		for _, n := range d.Nodes {
			problem := stopped(nodes, n)
			for _, t := range n.Tables {
				at := planner.Address{Kind: "table", Name: n.Queue + "/" + t.Name, Database: d.Name}
				if n.Type == "root" || len(globs) > 0 && !slices.ContainsFunc(globs, at.Match) {
					continue
				}
				w := waited{at, t.State, t.Progress, t.Note, problem, t.State == "ok" && problem == ""}
				if t.State == "ok" && !w.done {
					w.state = "stopped"
				}
				all = append(all, w)
			}
		}
	}
	return all, unread
}

// stopped says what holds a node up, or one between it and the root; empty: nothing.
func stopped(nodes map[string]status.Node, n status.Node) string {
	for range len(nodes) {
		if n.Error != "" {
			return n.Name + ": " + n.Error
		}
		above, known := nodes[n.Queue+"/"+n.Provider]
		if !known || n.Type == "root" {
			return ""
		}
		n = above
	}
	return ""
}

// progress shows how far everything is: bars on a terminal, otherwise a line whenever the
// state of something changes.
type progress struct {
	app    *app
	bars   *mpb.Progress
	byName map[planner.Address]*mpb.Bar
	state  map[planner.Address]string
	note   map[planner.Address]*string
}

func (a *app) newProgress() *progress {
	p := &progress{app: a, byName: map[planner.Address]*mpb.Bar{}, state: map[planner.Address]string{}, note: map[planner.Address]*string{}}
	if a.ErrTTY && !a.quiet && a.format == "text" {
		p.bars = mpb.New(mpb.WithOutput(a.Err), mpb.WithWidth(36), mpb.WithRefreshRate(120*time.Millisecond))
	}
	return p
}

func (p *progress) update(all []waited) {
	for _, w := range all {
		now := strings.TrimSpace(w.state + " " + w.problem)
		changed := p.state[w.address] != now
		first := p.state[w.address] == ""
		p.state[w.address] = now
		if p.bars == nil {
			if changed && !(first && w.done) {
				p.app.talk("  %-50s %s", w.address, now)
			}
			continue
		}
		if p.byName[w.address] == nil && !w.done {
			p.add(w)
		}
		if b := p.byName[w.address]; b != nil {
			*p.note[w.address] = strings.TrimSpace(now + " " + w.note)
			b.SetCurrent(int64(w.progress * 1000))
		}
	}
}

func (p *progress) add(w waited) {
	note := new(string)
	p.note[w.address] = note
	p.byName[w.address] = p.bars.AddBar(1000,
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("  %-44s ", w.address))),
		mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.Any(func(decor.Statistics) string { return "  " + *note })),
	)
}

// end leaves the bars as they are.
func (p *progress) end() {
	if p.bars == nil {
		return
	}
	for _, b := range p.byName {
		if !b.Completed() {
			b.Abort(false)
		}
	}
	p.bars.Wait()
	p.bars = nil
}
