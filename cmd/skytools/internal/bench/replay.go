package main

import (
	"context"

	"github.com/skytools-go/skytools/sql/sandbox"
)

// replayFigures say how fast a backlog of 500,000 row changes is replayed, in
// thousands of changes a second. Hot keys are touched five times in 20,000 changes.
var replayFigures = []figure{
	{name: "replay-vs-londiste", unit: "k/s", target: 4.5, more: true, run: replaying(mixedRun, 1, "python3-londiste")},
	{name: "replay-vs-londiste-bulk", unit: "k/s", target: 3, more: true, run: replaying(mixedRun, 2, "python3-londiste, handler bulk")},
	{name: "replay-vs-native", unit: "k/s", target: 1.2, more: true, run: replaying(mixedRun, 3, "logical replication of PostgreSQL")},
	{name: "replay-vs-pglogical", unit: "k/s", target: 1, more: true, run: replaying(pglogicalRun, 1, "pglogical")},
	{name: "replay-hot-vs-native", unit: "k/s", target: 3, more: true, run: replaying(hotRun, 1, "logical replication of PostgreSQL")},
}

func replaying(measured func(context.Context) ([]float64, error), peer int, what string) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (float64, float64, string, error) {
		rates, err := measured(ctx)
		if err != nil {
			return 0, 0, what, err
		}
		return rates[0], rates[peer], what, nil
	}
}

// The rates of ours and the peers, in the order of replayFigures.
var (
	mixedRun = shared(func(ctx context.Context) ([]float64, error) {
		return replayAll(ctx, onReplica, "mixed", mixed, "pgoutput", func(b *backlog) []func(context.Context) (float64, error) {
			return []func(context.Context) (float64, error){
				b.ours,
				func(ctx context.Context) (float64, error) { return b.londiste(ctx, "") },
				func(ctx context.Context) (float64, error) { return b.londiste(ctx, "bulk") },
				b.native,
			}
		})
	})
	hotRun = shared(func(ctx context.Context) ([]float64, error) {
		return replayAll(ctx, onReplica, "hot", hot, "pgoutput", func(b *backlog) []func(context.Context) (float64, error) {
			return []func(context.Context) (float64, error){b.ours, b.native}
		})
	})
	pglogicalRun = shared(func(ctx context.Context) ([]float64, error) {
		return replayAll(ctx, onPglogical, "logical", mixed, pglogicalPlugin, func(b *backlog) []func(context.Context) (float64, error) {
			return []func(context.Context) (float64, error){b.ours, b.pglogical}
		})
	})
)

// replayAll runs the systems in turn and returns the medians.
func replayAll(ctx context.Context, on func(context.Context) (*sandbox.Server, error), name, play, plugin string, systems func(*backlog) []func(context.Context) (float64, error)) ([]float64, error) {
	s, err := on(ctx)
	if err != nil {
		return nil, err
	}
	b, err := newBacklog(ctx, s, name, play, plugin)
	if err != nil {
		return nil, err
	}
	all := systems(b)
	rates := make([][]float64, len(all))
	for range rounds {
		for i, f := range all {
			rate, err := f(ctx)
			if err != nil {
				return nil, err
			}
			rates[i] = append(rates[i], rate)
		}
	}
	medians := make([]float64, len(all))
	for i := range rates {
		medians[i] = median(rates[i])
	}
	return medians, nil
}
