package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/forward"
	"github.com/skytools-go/skytools/runners/group"
	"github.com/skytools-go/skytools/runners/maint"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/runners/wal/receive"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/schedule"
	"github.com/skytools-go/skytools/runners/web"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/meta"
)

type runFlags struct {
	listen string
	nodes  []string
	only   []string
	copies int
	pieces int
	paths  []string // of the YAML
}

func (a *app) run() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use: "run [PATH...]", Short: "Run the loops: ticks, upkeep, replay, copies, forwards, backups and drills",
		Long: `Runs the loops of the declared topology until it is told to stop. Every declared
database is ticked and kept up, with the queues that others made there, too: this takes
the place of pgqd, and may run beside it. Several processes,
on several hosts, may run the same YAML: an advisory lock decides who runs each loop,
and another takes over within seconds when that one ends.

The first interrupt finishes the batches in hand and stops; the second stops at once.
Either way nothing is lost: positions are stored with the data.`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			for _, n := range f.nodes {
				if set.Database(n) == nil {
					return usage("run: --node: database %q is not declared", n)
				}
			}
			f.paths = paths
			return a.runLoops(cmd.Context(), set, &f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", "", "serve the status page, /status.json and /metrics here, such as 127.0.0.1:8080")
	fl.StringArrayVar(&f.nodes, "node", nil, "run only the loops of this database; repeatable")
	fl.StringArrayVar(&f.only, "only", nil, "run only these: tick, maint, replay, forward, receive, backup, drill, verify, catchup; repeatable")
	fl.IntVar(&f.copies, "copies", 2, "tables whose rows are copied at a time to each node, the largest first; those under 1 MB beside them")
	fl.IntVar(&f.pieces, "pieces", 4, "sessions that copy one large table, or make its indexes, at a time; 1: whole tables only")
	return cmd
}

func (a *app) logger() hclog.Logger {
	colour := hclog.ColorOff
	if a.Colour(a.colour) && a.ErrTTY {
		colour = hclog.ForceColor
	}
	return hclog.New(&hclog.LoggerOptions{
		Name: "run", Level: hclog.LevelFromString(a.logLevel), Output: a.Err, JSONFormat: a.logJSON, Color: colour, TimeFormat: "15:04:05.000Z", TimeFn: func() time.Time { return time.Now().UTC() },
	})
}

func (a *app) runLoops(ctx context.Context, set *spec.Set, f *runFlags) error {
	log := a.logger()
	loops, stats := loopsOf(set, f, log)
	if len(loops) == 0 {
		return &codeError{code: exitError, message: "run: nothing is left to do of what the YAML declares", hint: "look at --node and --only; skytools explain queue"}
	}
	g := &group.Group{App: "skytools run", Log: log}
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if f.listen != "" {
		archives := archivesOf(set)
		server := &web.Server{
			Cluster: set.Cluster, Loops: g.Status, Extra: stats,
			Collect: func(ctx context.Context) *status.Report {
				patience := min(a.timeout, 10*time.Second)
				r := status.Collect(ctx, everything(set), patience)
				r.Follow(ctx, standbysOf(set), patience)
				r.Keep(ctx, archives, patience)
				return r
			},
		}
		go func() {
			err := server.Run(ctx, f.listen)
			if served <- err; err != nil {
				stop() // an address that cannot be served is a mistake to see at once
			}
		}()
	} else {
		served <- nil
	}
	log.Info("running", "cluster", set.Cluster, "loops", len(loops), "version", Version())
	ended := make(chan struct{})
	go func() { // say what the signal did, at once
		select {
		case <-ctx.Done():
			log.Info("stopping: batches in hand are finished; interrupt again to stop at once")
		case <-ended:
		}
	}()
	g.Run(runners.WithHardStop(ctx, a.hard), loops...)
	close(ended)
	stop()
	if err := <-served; err != nil {
		return err
	}
	if a.hard.Err() != nil {
		log.Warn("stopped at once: batches in hand were given up and will be done again")
		return &codeError{code: exitInterrupted}
	}
	log.Info("stopped")
	return nil
}

// loopsOf lists the loops of the declared topology. A loop is named by what it does
// and where; its lock is the same for everybody who does that there.
func loopsOf(set *spec.Set, f *runFlags, log hclog.Logger) ([]group.Loop, []prometheus.Collector) {
	wanted := func(kind, database string) bool {
		return (len(f.only) == 0 || slices.Contains(f.only, kind)) && (len(f.nodes) == 0 || slices.Contains(f.nodes, database))
	}
	var loops []group.Loop
	var collectors []prometheus.Collector
	add := func(kind, name, database, what string, run func(context.Context) error) {
		loops = append(loops, group.Loop{Name: name, Key: meta.LockKey(what), Run: func(ctx context.Context) error { return unapplied(run(ctx)) },
			DSN: func(ctx context.Context) (string, error) { return direct(set)(ctx, database) }})
	}
	counter := func(name, help, loop string, value func() float64) {
		collectors = append(collectors, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "skytools_" + name, Help: help, ConstLabels: prometheus.Labels{"loop": loop}}, value))
	}
	gauge := func(name, help, loop string, value func() float64) {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "skytools_" + name, Help: help, ConstLabels: prometheus.Labels{"loop": loop}}, value))
	}
	homes := homes(set)
	for _, d := range set.Databases {
		database, absent := d.Name, time.Duration(0)
		switch {
		case d.State == spec.Dead:
			continue
		case !homes[database]: // what others keep there is ticked, if there is any
			absent = time.Minute
		}
		reach := func(ctx context.Context) (string, error) { return direct(set)(ctx, database) }
		if name := "tick@" + database; wanted("tick", database) {
			s := &tick.Stats{}
			counter("ticks_total", "Ticks made.", name, func() float64 { return float64(s.Ticks.Load()) })
			add("tick", name, database, "tick", tick.New(tick.Config{DSN: reach, Absent: absent, Log: log.Named(name), Stats: s}).Run)
		}
		if name := "maint@" + database; wanted("maint", database) {
			s := &maint.Stats{}
			counter("maintenance_failures_total", "Maintenance operations that failed.", name, func() float64 { return float64(s.Failures.Load()) })
			counter("retried_events_total", "Events delivered again.", name, func() float64 { return float64(s.Retried.Load()) })
			add("maint", name, database, "maint", maint.New(maint.Config{DSN: reach, Absent: absent, Log: log.Named(name), Stats: s}).Run)
		}
	}
	for _, q := range set.Queues {
		for _, n := range q.Nodes {
			name := fmt.Sprintf("replay %s@%s", q.Name, n.Name)
			if q.State == spec.Absent || n.State == spec.Absent || set.Database(n.Name).State == spec.Dead || !wanted("replay", n.Name) {
				continue
			}
			s := &replay.Stats{}
			counter("batches_total", batchesHelp, name, func() float64 { return float64(s.Batches.Load()) })
			counter("events_total", eventsHelp, name, func() float64 { return float64(s.Events.Load()) })
			counter("missing_rows_total", "Rows that were updated or deleted and not there, where on_missing allows that.", name, func() float64 { return float64(s.Missing.Load()) })
			counter("conflicting_rows_total", "Rows that were inserted and there already, where on_conflict allows that.", name, func() float64 { return float64(s.Conflicts.Load()) })
			add("replay", name, n.Name, "replay "+q.Name, func(ctx context.Context) error {
				w := cascade.New(cascade.Config{
					Queue: q.Name, Copies: f.copies, Sessions: f.pieces, Rate: int64(q.CopyRate), Log: log.Named(name), Stats: s,
					DSN:   func(ctx context.Context) (string, error) { return direct(set)(ctx, n.Name) },
					Reach: reachNode(set), MaskKey: maskKey(&q),
				})
				defer w.Close()
				return w.Run(ctx)
			})
		}
		for _, x := range q.Forward {
			place, target := x.Place(&q), x.Target(&q)
			name := fmt.Sprintf("forward %s %s@%s", x.Name, q.Name, place)
			if q.State == spec.Absent || x.State == spec.Absent || set.Database(place).State == spec.Dead || set.Database(target).State == spec.Dead || !wanted("forward", place) {
				continue
			}
			s := &forward.Stats{}
			counter("batches_total", batchesHelp, name, func() float64 { return float64(s.Batches.Load()) })
			counter("events_total", eventsHelp, name, func() float64 { return float64(s.Written.Load()) })
			counter("skipped_events_total", "Events left out because their queue is missing.", name, func() float64 { return float64(s.Skipped.Load()) })
			config := forwardConfig(set, &q, &x)
			config.Log, config.Stats = log.Named(name), s
			add("forward", name, place, "forward "+q.Name+"/"+x.Name, func(ctx context.Context) error {
				return advised(forward.New(config).Run(ctx))
			})
		}
	}
	for _, x := range set.Archives {
		name := fmt.Sprintf("receive %s@%s", x.Name, x.Of)
		if x.WAL.Transport != spec.Both || set.Database(x.Of).State == spec.Dead || !wanted("receive", x.Of) {
			continue
		}
		s := &receive.Stats{}
		counter("received_segments_total", "Segments received whole and archived.", name, func() float64 { return float64(s.Segments.Load()) })
		counter("received_wal_lost_total", "Times that the server no longer had the WAL that came next.", name, func() float64 { return float64(s.Lost.Load()) })
		counter("received_bytes_total", "Bytes of WAL received.", name, func() float64 { return float64(s.Bytes.Load()) })
		add("receive", name, x.Of, "receive "+x.Name, func(ctx context.Context) error {
			return advised(receive.New(receive.Config{
				DSN:  func(ctx context.Context) (string, error) { return direct(set)(ctx, x.Of) },
				Open: func(ctx context.Context) (*repo.Repo, error) { return repoOf(ctx, &x, false, log.Named(name)) },
				Slot: x.SlotName(), Every: time.Duration(x.WAL.RPO), Log: log.Named(name), Stats: s,
			}).Run(ctx))
		})
	}
	for _, x := range set.Archives {
		name := fmt.Sprintf("backup %s@%s", x.Name, x.Of)
		if !x.Backup.Full.Set && !x.Backup.Incremental.Set || set.Database(x.Of).State == spec.Dead || !wanted("backup", x.Of) {
			continue
		}
		s := &schedule.Stats{}
		counter("backups_total", "Backups taken.", name, func() float64 { return float64(s.Backups.Load()) })
		gauge("backup_late_seconds", "By how much the backup that is due is late; 0: none is due.", name, func() float64 { return float64(s.Late.Load()) })
		gauge("backup_last_timestamp_seconds", "When the last backup of this process ended; 0: none yet.", name, func() float64 { return float64(s.Last.Load()) })
		add("backup", name, x.Of, "backup "+x.Name, func(ctx context.Context) error { return advised(keepBackups(ctx, set, &x, s, log.Named(name))) })
	}
	for _, x := range set.Archives {
		if !x.Drill.Schedule.Set || set.Database(x.Of).State == spec.Dead || !wanted("drill", x.Of) {
			continue
		}
		name := fmt.Sprintf("drill %s@%s", x.Name, x.Of)
		s := &schedule.ProveStats{}
		counter("drills_total", "Drills of backups held.", name, func() float64 { return float64(s.Drills.Load()) })
		counter("drills_failed_total", "Drills that a backup has not stood.", name, func() float64 { return float64(s.Failed.Load()) })
		gauge("drill_data_changed", "Whether in the last drill a check failed at the end of the WAL that the backup itself stands.", name, func() float64 { return float64(s.Changed.Load()) })
		gauge("backup_proven_timestamp_seconds", "When a backup last stood a drill; 0: never.", name, func() float64 { return float64(s.Proven.Load()) })
		add("drill", name, x.Of, "drill "+x.Name, func(ctx context.Context) error {
			return advised(proveBackups(ctx, set, &x, f.paths, s, log.Named(name)))
		})
	}
	for _, x := range set.Archives {
		if !x.Verify.Schedule.Set || set.Database(x.Of).State == spec.Dead || !wanted("verify", x.Of) {
			continue
		}
		name := fmt.Sprintf("verify %s@%s", x.Name, x.Of)
		s := &schedule.ScrubStats{}
		gauge("archive_verified_timestamp_seconds", "When everything in the stores was last read; 0: never.", name, func() float64 { return float64(s.Last.Load()) })
		gauge("archive_problems", "What was wrong then and could not be repaired.", name, func() float64 { return float64(s.Problems.Load()) })
		counter("archive_repaired_total", "Objects repaired from another store.", name, func() float64 { return float64(s.Repaired.Load()) })
		add("verify", name, x.Of, "verify "+x.Name, func(ctx context.Context) error { return advised(scrubStores(ctx, set, &x, s, log.Named(name))) })
	}
	for _, x := range set.Archives {
		optional := slices.ContainsFunc(x.Stores, func(s spec.ArchiveStore) bool { return !s.Required })
		if !optional || set.Database(x.Of).State == spec.Dead || !wanted("catchup", x.Of) {
			continue
		}
		name := fmt.Sprintf("catchup %s@%s", x.Name, x.Of)
		s := &schedule.CatchUpStats{}
		gauge("archive_optional_stores_down", "Stores that are not required and do not answer.", name, func() float64 { return float64(s.Down.Load()) })
		gauge("archive_optional_missing_objects", "Objects that the others of them lacked when they were last looked at.", name, func() float64 { return float64(s.Missing.Load()) })
		counter("archive_optional_copied_total", "Objects brought to them after all.", name, func() float64 { return float64(s.Copied.Load()) })
		add("catchup", name, x.Of, "catchup "+x.Name, func(ctx context.Context) error { return advised(catchUp(ctx, set, &x, s, log.Named(name))) })
	}
	return loops, collectors
}

// The same metric has the same help in every loop.
const (
	batchesHelp = "Batches replayed or forwarded."
	eventsHelp  = "Events replayed or forwarded."
)

// forwardConfig says to the runner what the YAML says.
func forwardConfig(set *spec.Set, q *spec.Queue, x *spec.Forward) forward.Config {
	reach := func(database string) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) { return direct(set)(ctx, database) }
	}
	c := forward.Config{
		Queue: q.Name, Consumer: x.Name, DSN: reach(x.Place(q)),
		To: x.To, Split: string(x.Split), Skip: x.Missing == spec.MissingSkip, Cascade: q.Cascade(),
		Types: x.Types, Tables: x.Tables, Where: x.Where,
	}
	if x.Target(q) != x.Place(q) {
		c.Target = reach(x.Target(q))
	}
	return c
}

// advised adds what to try to the error of a loop that only a person can help.
func advised(err error) error {
	var with interface{ Hint() string }
	if errors.As(err, &with) && with.Hint() != "" {
		return fmt.Errorf("%w; %s", err, with.Hint())
	}
	return err
}

// unapplied adds what to try when a loop meets a database without our schemas.
func unapplied(err error) error {
	if runners.Unapplied(err) {
		return fmt.Errorf("%w; has the YAML been applied to this database? look with: skytools plan", err)
	}
	return err
}

// reachNode connects to declared databases as the YAML says, and to others where
// the cascade says that they are.
func reachNode(set *spec.Set) func(context.Context, string, string) (string, error) {
	return func(ctx context.Context, node, location string) (string, error) {
		if d := set.Database(node); d != nil && d.State != spec.Dead {
			return direct(set)(ctx, node)
		}
		return location, nil
	}
}

// maskKey reads the key of a queue's masks; nil: there is none.
func maskKey(q *spec.Queue) func(context.Context) ([]byte, error) {
	if q.MaskKey == nil {
		return nil
	}
	return func(ctx context.Context) ([]byte, error) {
		key, err := q.MaskKey.Reveal(ctx)
		return []byte(key), err
	}
}

// homes are the databases where the YAML declares queues, or writes to some.
func homes(set *spec.Set) map[string]bool {
	all := map[string]bool{}
	for _, q := range set.Queues {
		if q.State == spec.Absent {
			continue
		}
		if !q.Cascade() {
			all[q.On] = true
		}
		for _, n := range q.Nodes {
			all[n.Name] = all[n.Name] || n.State == spec.Present
		}
		for _, f := range q.Forward {
			all[f.Target(&q)] = all[f.Target(&q)] || f.State == spec.Present
		}
	}
	return all
}
