package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/skytools-go/skytools/applier/observe"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/pg"
)

// targets are the databases of the set that are not declared dead, and the standbys.
func targets(set *spec.Set, nodes []string) []observe.Target {
	var all []observe.Target
	for _, d := range set.Databases {
		if d.State == spec.Dead {
			continue
		}
		all = append(all, observe.Target{Name: d.Name, DSN: d.DSN.Reveal})
	}
	for _, b := range set.Standbys {
		if b.State == spec.Present {
			all = append(all, observe.Target{Name: b.Name, DSN: b.DSN.Reveal, Standby: true})
		}
	}
	return all
}

// observeSet reads the databases of the set, or the file that --live names.
func (a *app) observeSet(ctx context.Context, set *spec.Set, file string, parallel int) (*planner.Live, error) {
	if file != "" {
		return readLive(file)
	}
	return observe.Cluster(ctx, targets(set, nil), observe.Options{App: "skytools", Parallel: parallel, Timeout: a.timeout})
}

func readLive(file string) (*planner.Live, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var live planner.Live
	if err := json.Unmarshal(text, &live); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if live.Format != planner.LiveFormat {
		return nil, fmt.Errorf("read %s: it says format %q, and this program reads %q", file, live.Format, planner.LiveFormat)
	}
	return &live, nil
}

// dsn returns how to reach a database of the set.
func dsn(set *spec.Set) func(context.Context, string) (string, error) {
	return func(ctx context.Context, node string) (string, error) {
		d := set.Database(node)
		if b := set.Standbys.Get(node); d == nil && b != nil {
			return b.DSN.Reveal(ctx)
		}
		if d == nil {
			return "", fmt.Errorf("database %q is not declared", node)
		}
		return d.DSN.Reveal(ctx)
	}
}

// direct is dsn past a connection pooler.
func direct(set *spec.Set) func(context.Context, string) (string, error) {
	return func(ctx context.Context, node string) (string, error) {
		if d := set.Database(node); d != nil && !d.Direct.IsZero() {
			return d.Direct.Reveal(ctx)
		}
		return dsn(set)(ctx, node)
	}
}

// planOptions are the arguments of a plan that do not come from flags.
func (a *app) planOptions(paths []string) planner.Options {
	now := time.Now()
	if at, ok := a.Env("SKYTOOLS_NOW"); ok { // for tests and for replaying a report
		if t, err := time.Parse(time.RFC3339, at); err == nil {
			now = t
		}
	}
	return planner.Options{Now: now, Tool: "skytools " + Version(), Root: rootOf(paths), Revision: a.revision(paths)}
}

func (a *app) dialNode(ctx context.Context, set *spec.Set, node string) (*pg.Conn, error) {
	place, err := dsn(set)(ctx, node)
	if err != nil {
		return nil, err
	}
	conn, err := pg.Dial(ctx, place, pg.Options{App: "skytools " + a.by()})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", node, err)
	}
	return conn, nil
}
