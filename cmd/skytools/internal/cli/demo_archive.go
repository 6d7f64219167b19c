package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	agekey "filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/examples"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
)

func (a *app) demoArchive() *cobra.Command {
	var scale int
	cmd := &cobra.Command{
		Use: "archive", Short: "Archive a server, lose a table, and get it back as it was a second before", Args: cobra.NoArgs,
		Long: `Starts a private PostgreSQL server whose WAL and backups go to two stores, encrypted. Under
load it is backed up; then somebody drops a table. The cluster is restored to the moment
before, compared, and drilled, and a damaged file is found and repaired. Every command that
it runs is shown. Nothing is left behind.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &archiveDemo{demo: demo{app: a, scale: scale, names: []string{"hub"}}}
			return d.play(cmd.Context(), []act{
				{"A private server with pgbench's tables, and two stores", d.setUp},
				{"What the YAML asks for", d.planAct},
				{"Do it", d.applyAct},
				{"Backups, under load", d.backupAct},
				{"The disaster", d.disasterAct},
				{"Back to the moment before", d.restoreAct},
				{"Is it all there?", d.compareAct},
				{"Would the next restore succeed, too?", d.drillAct},
				{"A disk that lies", d.damageAct},
			}, d.tearDown)
		},
	}
	cmd.Flags().IntVar(&scale, "scale", 5, "pgbench scale: 100,000 accounts each")
	return cmd
}

// archiveDemo is one performance. All that it runs is the server's user: what lies in
// the stores must be its own.
type archiveDemo struct {
	demo
	restored *sandbox.Server
	sums     map[string]string // of the tables, just before the disaster
	before   time.Time         // when that was
}

// setUp makes the folder that stands for the hosts: programs, key, YAML and stores.
func (d *archiveDemo) setUp(ctx context.Context) error {
	if err := d.demo.setUp(ctx); err != nil {
		return err
	}
	for _, dir := range []string{"bin", "stores", "stores/one", "stores/two", "scratch"} {
		if err := os.Mkdir(filepath.Join(d.dir, dir), 0o755); err != nil {
			return err
		}
	}
	if err := d.bringPrograms(); err != nil {
		return err
	}
	key, err := agekey.GenerateX25519Identity()
	if err != nil {
		return err
	}
	text := strings.NewReplacer("/srv/demo", d.dir, exampleRecipient, key.Recipient().String()).Replace(string(examples.Archive))
	for name, content := range map[string]string{"demo.yaml": text, "age.key": key.String() + "\n"} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	d.as = sandbox.Credential()
	return sandbox.Give(d.dir)
}

// exampleRecipient is whose key the example has.
const exampleRecipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"

// bringPrograms copies skytools and skytools-wal to where the server's user can run them.
func (d *archiveDemo) bringPrograms() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	client := filepath.Join(filepath.Dir(self), "skytools-wal")
	if !executable(client) {
		return hinted{fmt.Errorf("there is no %s, which the server archives with", client), "make build makes both programs; then: bin/skytools demo archive"}
	}
	for from, name := range map[string]string{self: "skytools", client: "skytools-wal"} {
		if err := copyProgram(from, filepath.Join(d.dir, "bin", name)); err != nil {
			return err
		}
	}
	d.self = filepath.Join(d.dir, "bin", "skytools")
	return nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (d *archiveDemo) planAct(ctx context.Context) error {
	if err := d.show(ctx); err != nil {
		return err
	}
	return d.command(ctx, "plan", "demo.yaml")
}

func (d *archiveDemo) applyAct(ctx context.Context) error {
	if err := d.command(ctx, "wal", "init", "wal"); err != nil {
		return err
	}
	if err := d.command(ctx, "apply", "--yes", "demo.yaml"); err != nil {
		return err
	}
	d.shell("pg_ctl restart")
	hub := d.servers["hub"]
	hub.Halt()
	if err := hub.Resume(ctx); err != nil {
		return err
	}
	if err := d.command(ctx, "apply", "--yes", "demo.yaml"); err != nil { // proves that WAL arrives
		return err
	}
	if err := d.command(ctx, "drift", "demo.yaml"); err != nil {
		return err
	}
	return d.command(ctx, "wal", "prove", "wal")
}

func (d *archiveDemo) backupAct(ctx context.Context) (err error) {
	if d.load, err = startLoad(ctx, d.servers["hub"].DSN("postgres"), d.scale, 4, 500); err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "  load: pgbench's transaction on hub, 4 clients, 500 a second\n")
	if err := d.command(ctx, "backup", "wal"); err != nil {
		return err
	}
	fmt.Fprintln(d.Out, "  letting the load run for three more seconds")
	if !sleepContext(ctx, 3*time.Second) {
		return ctx.Err()
	}
	if err := d.command(ctx, "backup", "wal", "--label", "three-seconds-later"); err != nil {
		return err
	}
	return d.command(ctx, "backup", "list", "wal")
}

// disasterAct notes what there is, and then breaks it.
func (d *archiveDemo) disasterAct(ctx context.Context) error {
	if !sleepContext(ctx, 2*time.Second) {
		return ctx.Err()
	}
	if err := d.load.stop(); err != nil {
		return fmt.Errorf("the load: %w", err)
	}
	dsn := d.servers["hub"].DSN("postgres")
	var err error
	if d.sums, err = sumBench(ctx, dsn); err != nil {
		return err
	}
	if d.before, err = ask[time.Time](ctx, dsn, "select clock_timestamp()"); err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "  %d transactions so far; pgbench_history has %s\n", d.load.done.Load(), d.sums["pgbench_history"])
	if !sleepContext(ctx, time.Second) {
		return ctx.Err()
	}
	const slip = "drop table pgbench_history; update pgbench_accounts set abalance = 0"
	fmt.Fprintf(d.Out, "\n%s\n", d.painted("bold", "A second later somebody does this on hub, thinking of another server:"))
	fmt.Fprintf(d.Out, "  %s\n", strings.ReplaceAll(slip, "; ", ";\n  "))
	if err := scriptOn(ctx, dsn, slip); err != nil {
		return err
	}
	return d.archived(ctx, dsn)
}

// archived waits until the stores have the WAL up to now.
func (d *archiveDemo) archived(ctx context.Context, dsn string) error {
	segment, err := ask[string](ctx, dsn, "select pg_walfile_name(pg_switch_wal())")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		done, err := ask[bool](ctx, dsn, "select coalesce(last_archived_wal >= '"+segment+"', false) from pg_stat_archiver")
		switch {
		case err != nil:
			return err
		case done:
			return nil
		case !sleepContext(ctx, 100*time.Millisecond):
			return fmt.Errorf("segment %s is not archived after a minute; the server's log says why:\n%s", segment, d.servers["hub"].Log())
		}
	}
}

func ask[T any](ctx context.Context, dsn, query string) (answer T, err error) {
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "skytools demo"})
	if err != nil {
		return answer, err
	}
	defer conn.Close()
	return pg.One[T](ctx, conn, query)
}

// moment is when all was well, as commands take it.
func (d *archiveDemo) moment() string { return d.before.UTC().Format(time.RFC3339Nano) }

func (d *archiveDemo) restoreAct(ctx context.Context) error {
	if err := d.command(ctx, "restore", "wal", "--preview", "--time", d.moment()); err != nil {
		return err
	}
	if err := d.command(ctx, "restore", "wal", "--to", "restored", "--time", d.moment()); err != nil {
		return err
	}
	d.shell("pg_ctl start -D restored")
	began := time.Now()
	var err error
	d.restored, err = sandbox.Start(ctx, sandbox.Options{Data: filepath.Join(d.dir, "restored"), Arguments: []string{"-c", "cluster_name=restored"}})
	if err != nil {
		return err
	}
	for {
		recovering, err := ask[bool](ctx, d.restored.DSN("postgres"), "select pg_is_in_recovery()")
		switch {
		case err != nil:
			return err
		case !recovering:
			fmt.Fprintf(d.Out, "  recovered in %s\n", time.Since(began).Round(100*time.Millisecond))
			return nil
		case !sleepContext(ctx, 100*time.Millisecond):
			return ctx.Err()
		}
	}
}

func (d *archiveDemo) compareAct(ctx context.Context) error {
	got, err := sumBench(ctx, d.restored.DSN("postgres"))
	if err != nil {
		return err
	}
	equal := true
	for _, t := range benchTables {
		fmt.Fprintf(d.Out, "  %-18s  before: %-28s  restored: %s\n", t, d.sums[t], got[t])
		equal = equal && got[t] == d.sums[t]
	}
	if !equal {
		return errors.New("what was restored is not what there was")
	}
	fmt.Fprintf(d.Out, "\n  %s: nothing of %d transactions is lost\n", d.painted("ok", "equal"), d.load.done.Load())
	return nil
}

func (d *archiveDemo) drillAct(ctx context.Context) error {
	fmt.Fprintln(d.Out, "  a drill restores to a scratch directory, recovers there, and asks what the YAML says")
	if err := d.command(ctx, "drill", "wal", "--time", d.moment()); err != nil {
		return err
	}
	return d.command(ctx, "verify", "wal")
}

// damageAct flips a bit in one store, and has it repaired from the other.
func (d *archiveDemo) damageAct(ctx context.Context) error {
	name, err := d.flip()
	if err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "  one bit of %s in the first store turns over, and nobody notices\n", name)
	var exit *exec.ExitError
	if err := d.command(ctx, "verify", "wal", "--repair"); !errors.As(err, &exit) && err != nil {
		return err
	}
	return d.command(ctx, "verify", "wal")
}

// flip changes a bit in the middle of the largest file of the first store.
func (d *archiveDemo) flip() (string, error) {
	var largest string
	var size int64
	root := filepath.Join(d.dir, "stores", "one")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil {
		return "", err
	}
	os.Chmod(largest, 0o600)
	f, err := os.OpenFile(largest, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, size/2); err != nil {
		return "", err
	}
	b[0] ^= 1
	_, err = f.WriteAt(b, size/2)
	if err != nil {
		return "", err
	}
	return filepath.Rel(root, largest)
}

func (d *archiveDemo) tearDown(failed error) (err error) {
	if d.restored != nil {
		err = d.restored.Stop()
	}
	return errors.Join(err, d.demo.tearDown(failed))
}
