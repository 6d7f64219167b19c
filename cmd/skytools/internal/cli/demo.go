package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/examples"
	"github.com/skytools-go/skytools/sql/sandbox"
)

func (a *app) demo() *cobra.Command {
	var keep bool
	var scale int
	cmd := &cobra.Command{
		Use: "demo", Short: "See it all on three throwaway servers, in under a minute", Args: cobra.NoArgs,
		Long: `Starts three private PostgreSQL servers, replicates pgbench's tables from the first
to the second and on to the third under load, compares them, and finds and repairs a
deliberate drift. Every command that it runs is shown. Nothing is left behind.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{app: a, scale: scale, keep: keep, names: []string{"hub", "edge", "report"}}
			return d.play(cmd.Context(), []act{
				{"Three private servers, and pgbench's tables on the first", d.setUp},
				{"What the YAML asks for, and what would change", d.planAct},
				{"Do it", d.applyAct},
				{"Run the loops, under load, and watch the first copy", d.runAct},
				{"How does it fare?", d.statusAct},
				{"Stop the load and compare every replicated table", d.compareAct},
				{"Has anything changed behind our back?", d.driftAct},
			}, d.tearDown)
		},
	}
	cmd.AddCommand(a.demoArchive())
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the servers and the loops running, and say how to reach them")
	cmd.Flags().IntVar(&scale, "scale", 5, "pgbench scale: 100,000 accounts each")
	return cmd
}

// demo is one performance.
type demo struct {
	*app
	scale   int
	keep    bool
	names   []string // of the servers; the first gets pgbench's tables
	dir     string
	self    string              // this program; empty: where it was started
	as      *syscall.Credential // who runs it; nil: we
	servers map[string]*sandbox.Server
	env     []string
	runner  *exec.Cmd
	load    *load
	began   time.Time
}

// act is a part of it.
type act struct {
	title string
	play  func(context.Context) error
}

// play shows the acts, and tears down after them, whatever has happened.
func (d *demo) play(ctx context.Context, acts []act, tearDown func(failed error) error) (err error) {
	d.began = time.Now()
	defer func() { err = errors.Join(err, tearDown(err)) }()
	for _, act := range acts {
		if err := ctx.Err(); err != nil {
			return err
		}
		fmt.Fprintf(d.Out, "\n%s\n", d.painted("bold", "== "+act.title))
		if err := act.play(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.Out, "\n%s\n", d.painted("ok", fmt.Sprintf("That was it, in %s.", time.Since(d.began).Round(time.Second))))
	return nil
}

// setUp starts the servers and fills the first.
func (d *demo) setUp(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "skytools-demo-"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.dir, "demo.yaml"), examples.Demo, 0o644); err != nil {
		return err
	}
	d.servers = map[string]*sandbox.Server{}
	d.env = append(os.Environ(), "SKYTOOLS_BY=you@demo")
	var mu sync.Mutex
	var all sync.WaitGroup
	var first error
	for _, name := range d.names {
		all.Go(func() {
			s, err := sandbox.Start(ctx, sandbox.Options{Detached: d.keep, Settings: map[string]string{"cluster_name": name}})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				first = err
				return
			}
			d.servers[name] = s
		})
	}
	all.Wait()
	if first != nil {
		return first
	}
	for _, name := range d.names {
		s := d.servers[name]
		d.env = append(d.env, "DEMO_"+strings.ToUpper(name)+"="+s.DSN("postgres"))
		fmt.Fprintf(d.Out, "  %-7s PostgreSQL %s in %s\n", name, s.Install.Version, s.Dir)
	}
	began := time.Now()
	filling := d.newBar("filling pgbench_accounts on hub")
	err = fillBench(ctx, d.servers["hub"].DSN("postgres"), d.scale, filling.set)
	filling.end()
	if err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "  hub has pgbench's tables at scale %d: %d accounts, made in %s\n", d.scale, d.scale*100_000, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// command runs skytools and shows it.
func (d *demo) command(ctx context.Context, args ...string) error {
	d.shell("skytools " + strings.Join(args, " "))
	cmd, err := d.skytools(ctx, args...)
	if err != nil {
		return err
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("skytools %s: %w", args[0], err)
	}
	return nil
}

func (d *demo) skytools(ctx context.Context, args ...string) (*exec.Cmd, error) {
	self, err := d.self, error(nil)
	if self == "" {
		if self, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	if d.Colour(d.colour) {
		args = append(args, "--color", "always")
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = d.dir, d.env, &syscall.SysProcAttr{Credential: d.as}
	cmd.Stdout, cmd.Stderr = d.Out, d.Err
	return cmd, nil
}

func (d *demo) planAct(ctx context.Context) error {
	if err := d.show(ctx); err != nil {
		return err
	}
	return d.command(ctx, "plan", "demo.yaml", "--out", "plan.json")
}

// show prints the YAML without its comments, and has it validated.
func (d *demo) show(ctx context.Context) error {
	d.shell("cat demo.yaml")
	text, err := os.ReadFile(filepath.Join(d.dir, "demo.yaml"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			fmt.Fprint(d.Out, "  "+line)
		}
	}
	return d.command(ctx, "validate", "demo.yaml")
}

// shell shows what somebody types.
func (d *demo) shell(line string) {
	fmt.Fprintf(d.Out, "\n%s\n", d.painted("command", "$ "+line))
}

func (d *demo) applyAct(ctx context.Context) error { return d.command(ctx, "apply", "plan.json") }

// runAct starts the load and the loops and waits for the first copy.
func (d *demo) runAct(ctx context.Context) (err error) {
	if d.load, err = startLoad(ctx, d.servers["hub"].DSN("postgres"), d.scale, 4, 500); err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "  load: pgbench's transaction on hub, 4 clients, 500 a second\n")
	if err := d.startRun(); err != nil {
		return err
	}
	return d.command(ctx, "wait", "-s", "demo.yaml", "--limit", "60s")
}

// startRun starts "skytools run" in the background, its log in a file.
func (d *demo) startRun() error {
	args := []string{"run", "demo.yaml"}
	if d.keep {
		args = append(args, "--listen", "127.0.0.1:8080")
	}
	d.shell("skytools " + strings.Join(args, " ") + " 2>run.log &")
	log, err := os.Create(filepath.Join(d.dir, "run.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	if d.runner, err = d.skytools(context.Background(), args...); err != nil {
		return err
	}
	d.runner.Stdout, d.runner.Stderr = log, log
	d.runner.SysProcAttr.Setpgid = true // an interrupt from the keyboard is ours to pass on
	return d.runner.Start()
}

func (d *demo) statusAct(ctx context.Context) error {
	fmt.Fprintln(d.Out, "  letting the load run for four more seconds")
	if !sleepContext(ctx, 4*time.Second) {
		return ctx.Err()
	}
	fmt.Fprintf(d.Out, "  %d transactions so far\n", d.load.done.Load())
	return d.command(ctx, "status", "-s", "demo.yaml")
}

func sleepContext(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// compareAct stops the load and compares the tables on all servers, until the last
// batch has arrived.
func (d *demo) compareAct(ctx context.Context) error {
	if err := d.load.stop(); err != nil {
		return fmt.Errorf("the load: %w", err)
	}
	fmt.Fprintf(d.Out, "  %d transactions, each with 4 changes to replicate\n\n", d.load.done.Load())
	began := time.Now()
	for {
		sums, equal, err := d.sums(ctx)
		if err != nil {
			return err
		}
		if equal || time.Since(began) > 30*time.Second {
			for _, t := range benchTables {
				fmt.Fprintf(d.Out, "  %-18s", t)
				for _, server := range d.names {
					fmt.Fprintf(d.Out, "  %s: %s", server, sums[server][t])
				}
				fmt.Fprintln(d.Out)
			}
			if !equal {
				return errors.New("the tables are not equal after 30 s; look into run.log with --keep")
			}
			fmt.Fprintf(d.Out, "\n  %s, %s after the last transaction\n", d.painted("ok", "equal on all three"), time.Since(began).Round(100*time.Millisecond))
			return nil
		}
		if !sleepContext(ctx, 200*time.Millisecond) {
			return ctx.Err()
		}
	}
}

func (d *demo) sums(ctx context.Context) (map[string]map[string]string, bool, error) {
	sums, equal := map[string]map[string]string{}, true
	for _, name := range d.names {
		got, err := sumBench(ctx, d.servers[name].DSN("postgres"))
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", name, err)
		}
		sums[name] = got
		for t, s := range got {
			equal = equal && s == sums["hub"][t]
		}
	}
	return sums, equal, nil
}

// driftAct breaks something, finds it and repairs it.
func (d *demo) driftAct(ctx context.Context) error {
	if err := d.command(ctx, "drift", "demo.yaml"); err != nil {
		return err
	}
	const behind = `select pgq.set_queue_config('mail', 'ticker_max_lag', '30 seconds'); alter table pgbench_tellers disable trigger _londiste_bench`
	fmt.Fprintf(d.Out, "\n%s\n", d.painted("bold", "Now somebody does this on hub, without telling anybody:"))
	fmt.Fprintf(d.Out, "  %s\n", strings.ReplaceAll(behind, "; ", ";\n  "))
	if err := scriptOn(ctx, d.servers["hub"].DSN("postgres"), behind); err != nil {
		return err
	}
	var exit *exec.ExitError
	if err := d.command(ctx, "drift", "demo.yaml"); !errors.As(err, &exit) || exit.ExitCode() != exitDiffers {
		return fmt.Errorf("drift did not find it: %v", err)
	}
	fmt.Fprintf(d.Out, "%s\n", d.painted("dim", "exit 10: a nightly job would be red now"))
	if err := d.command(ctx, "apply", "--yes", "demo.yaml"); err != nil {
		return err
	}
	return d.command(ctx, "drift", "demo.yaml")
}

// tearDown stops everything by process id and removes the folder, or says how to
// reach what is kept.
func (d *demo) tearDown(failed error) error {
	if d.load != nil {
		d.load.stop()
	}
	if d.keep && failed == nil {
		fmt.Fprintf(d.Out, "\nKept: the YAML and run.log in %s, the status page on http://127.0.0.1:8080\n", d.dir)
		for _, kv := range d.env {
			if strings.HasPrefix(kv, "DEMO_") {
				name, dsn, _ := strings.Cut(kv, "=")
				fmt.Fprintf(d.Out, "  export %s=\"%s\"\n", name, dsn)
			}
		}
		fmt.Fprintf(d.Out, "End it with: kill %d", d.runner.Process.Pid)
		for _, name := range d.names {
			fmt.Fprintf(d.Out, "; kill -QUIT $(head -1 %s/data/postmaster.pid)", d.servers[name].Dir)
		}
		fmt.Fprintln(d.Out)
		return nil
	}
	if d.runner != nil && d.runner.Process != nil {
		d.runner.Process.Signal(syscall.SIGTERM)
		stopped := make(chan error, 1)
		go func() { stopped <- d.runner.Wait() }()
		select {
		case <-stopped:
		case <-time.After(10 * time.Second):
			d.runner.Process.Kill()
		}
	}
	if failed != nil && d.dir != "" {
		if log, err := os.ReadFile(filepath.Join(d.dir, "run.log")); err == nil {
			lines := strings.Split(strings.TrimSpace(string(log)), "\n")
			fmt.Fprintf(d.Err, "\nthe end of run.log:\n%s\n", strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
	}
	var err error
	for _, s := range d.servers {
		err = errors.Join(err, s.Stop())
	}
	if d.dir != "" {
		err = errors.Join(err, os.RemoveAll(d.dir))
	}
	return err
}
