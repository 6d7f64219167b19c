// Package drill proves a backup: it restores it to a scratch directory, starts a server
// there, lets it recover, and asks it questions. A backup that nobody has restored is
// only a hope.
//
//	Look -> Restore -> start, recover -> amcheck -> questions -> stop -> page checksums -> note
//	   ^------------ a question was answered wrongly ----'
//
// A table that somebody has dropped since the backup is not there at the end of the WAL,
// either. So where a question is answered wrongly there, it is asked once more at the end
// of the backup: right answers prove the backup, and tell that the data has changed since.
//
// The outcome is noted beside the backup. Retention keeps the last one that was proven.
// It knows what to ask. It does not know which WAL command reaches the archive: it is
// given one.
//
// Source: design/wal.md, 6.7, 6.8 and D1.
package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// A Check is a question to the restored server. It passes when its first value is
// neither null nor false; a query without rows fails.
type Check struct {
	Database string // empty: postgres
	Query    string
}

// Options say how to drill.
type Options struct {
	Scratch  string    // a directory with room for the cluster; what the drill makes there it removes
	Bins     string    // the programs of the server's major version; empty: what is installed
	Backup   backup.ID // empty: the newest
	Target   restore.Target
	Command  string // restore_command
	Checks   []Check
	Patience time.Duration // for the recovery; 0: a day

	// Progress is called as bytes are restored.
	Progress func(done, total int64)
	// Stage is called when a stage begins: restore, recover, amcheck, query, checksums.
	Stage func(name string)
}

// A Result is the outcome, and the note beside the backup.
type Result struct {
	Backup    backup.ID     `json:"backup"`
	At        time.Time     `json:"at"`
	OK        bool          `json:"ok"`
	Problem   string        `json:"problem,omitempty"`
	Restored  time.Duration `json:"restored_ns"`  // how long each stage took
	Recovered time.Duration `json:"recovered_ns"` // the start of the server to the end of recovery
	Amcheck   bool          `json:"amcheck"`      // false: the server's programs have no pg_amcheck
	Checksums bool          `json:"checksums"`    // of all pages, verified; false: the cluster has none
	Queries   int           `json:"queries"`

	// Since is what was wrong at the end of the WAL and was not at that of the backup: the
	// backup is proven, and the data has changed. The figures are those of the latter.
	Since string `json:"since,omitempty"`
}

// A FailedError says that a backup did not stand the drill.
type FailedError struct {
	Backup backup.ID
	Stage  string
	Err    error
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("drill of backup %s: %s: %v", e.Backup, e.Stage, e.Err)
}
func (e *FailedError) Unwrap() error { return e.Err }

// Run drills a backup and notes the outcome. What went wrong with the backup is a
// [FailedError], which is noted; what kept the drill from happening, such as a lack of
// room or of programs, is another error and says nothing about the backup.
func Run(ctx context.Context, shelf *backup.Shelf, wal restore.WAL, o Options) (Result, error) {
	d := &drill{shelf: shelf, o: o}
	err := d.run(ctx, wal)
	var failed *FailedError
	if err != nil && (!errors.As(err, &failed) || ctx.Err() != nil) {
		return d.result, fmt.Errorf("drill: %w", err)
	}
	d.result.OK = err == nil
	if err != nil {
		d.result.Problem = failed.Stage + ": " + failed.Err.Error()
	}
	if note := shelf.Write(ctx, d.result.Backup, backup.Drill, d.result); note != nil {
		return d.result, errors.Join(err, fmt.Errorf("note the drill: %w", note))
	}
	return d.result, err
}

type drill struct {
	shelf  *backup.Shelf
	o      Options
	stage  string
	result Result
	server *sandbox.Server
	again  bool // what is in the scratch directory is of an attempt before
}

// A wrongError says that a question was answered wrongly.
type wrongError struct {
	query string
	err   error
}

func (e *wrongError) Error() string { return e.query + ": " + e.err.Error() }
func (e *wrongError) Unwrap() error { return e.err }

func (d *drill) begin(stage string) {
	d.stage = stage
	if d.o.Stage != nil {
		d.o.Stage(stage)
	}
}

// failed is for what is the backup's fault.
func (d *drill) failed(err error) error {
	if err == nil {
		return nil
	}
	return &FailedError{d.result.Backup, d.stage, err}
}

func (d *drill) run(ctx context.Context, wal restore.WAL) error {
	p, err := restore.Look(ctx, d.shelf, wal, d.o.Target, d.o.Backup)
	if err != nil {
		return err
	}
	d.result = Result{Backup: p.Backup.ID, At: time.Now().UTC().Truncate(time.Second)}
	install, err := d.install(p.Backup)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(d.o.Scratch, "drill-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if err := sandbox.Give(scratch); err != nil {
		return err
	}
	defer d.stop()
	err = d.attempt(ctx, p, install, scratch)
	var wrong *wrongError
	if !errors.As(err, &wrong) || !d.o.Target.Latest() {
		return err
	}
	d.stop()
	p, looked := restore.Look(ctx, d.shelf, wal, restore.Target{Immediate: true}, p.Backup.ID)
	if looked != nil {
		return errors.Join(err, looked)
	}
	d.again = true
	if again := d.attempt(ctx, p, install, scratch); again != nil {
		return err
	}
	d.result.Since = wrong.Error()
	return nil
}

// attempt restores a backup, recovers it, and asks.
func (d *drill) attempt(ctx context.Context, p restore.Preview, install sandbox.Install, scratch string) error {
	d.result.Queries = 0
	if err := d.restore(ctx, scratch, p); err != nil {
		return err
	}
	if err := d.recover(ctx, p.Backup, scratch, install); err != nil {
		return err
	}
	if err := d.ask(ctx); err != nil {
		return err
	}
	d.server.Halt()
	return d.checksums(ctx, p.Backup, filepath.Join(scratch, "data"))
}

func (d *drill) stop() {
	if d.server != nil {
		d.server.Stop()
		d.server = nil
	}
}

// install finds the programs of the backup's major version.
func (d *drill) install(m *backup.Manifest) (found sandbox.Install, err error) {
	if d.o.Bins != "" {
		found, err = sandbox.At(d.o.Bins)
	} else {
		found, err = sandbox.FindMajor(m.Major())
	}
	if err != nil {
		return found, err
	}
	if found.Major() != m.Major() {
		return found, fmt.Errorf("%s is PostgreSQL %s, and the backup is of %s", found.Bin, found.Version, m.Server)
	}
	return found, nil
}

// restore writes the backup. Tablespaces go to the scratch directory, too.
func (d *drill) restore(ctx context.Context, scratch string, p restore.Preview) error {
	d.begin("restore")
	began := time.Now()
	spaces := map[string]string{}
	for _, s := range p.Backup.Tablespaces {
		spaces[s.Path] = filepath.Join(scratch, "tablespace-"+strconv.FormatUint(uint64(s.OID), 10))
	}
	_, err := restore.Restore(ctx, d.shelf, p.Backup, p.Choice, restore.Options{
		To: filepath.Join(scratch, "data"), Tablespaces: spaces, As: restore.Clone, Delta: d.again, Command: d.o.Command, Progress: d.o.Progress,
	})
	d.result.Restored = time.Since(began)
	var damage *backup.DamageError
	if errors.As(err, &damage) {
		return d.failed(err)
	}
	return err
}

// quiet are settings that keep the restored server to itself, whatever its original had
// to do: it loads nothing, runs no jobs, sends nothing and listens to nobody.
func quiet() (arguments []string) {
	for _, setting := range []string{
		"listen_addresses=", "shared_preload_libraries=", "session_preload_libraries=", "max_logical_replication_workers=0", "synchronous_standby_names=",
		"ssl=off", "hot_standby=on", "logging_collector=off", "log_destination=stderr", "external_pid_file=", "huge_pages=off", "shared_buffers=128MB", "autovacuum=off",
	} {
		arguments = append(arguments, "-c", setting)
	}
	return arguments
}

// recover starts a server and waits until it is a primary, or pauses at its target.
func (d *drill) recover(ctx context.Context, m *backup.Manifest, scratch string, install sandbox.Install) (err error) {
	d.begin("recover")
	began := time.Now()
	patience := d.o.Patience
	if patience == 0 {
		patience = 24 * time.Hour
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	data := filepath.Join(scratch, "data")
	if err := ready(data); err != nil {
		return err
	}
	d.server, err = sandbox.Start(limited, sandbox.Options{
		Install: install, Data: data, Settings: m.Settings, HBA: "local all all trust\n", Arguments: append(quiet(), "-c", "hba_file="+filepath.Join(data, "pg_hba.conf")),
	})
	if err != nil {
		return d.failed(err)
	}
	for {
		recovering, err := one[bool](limited, d.server.DSN("postgres"), "select pg_catalog.pg_is_in_recovery()")
		if err == nil && !recovering {
			d.result.Recovered = time.Since(began)
			return nil
		}
		if !d.server.Running() {
			return d.failed(fmt.Errorf("the server ended:\n%s", last(d.server.Log())))
		}
		select {
		case <-limited.Done():
			return d.failed(fmt.Errorf("it has not recovered within %s", patience))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ready makes the files that a server wants, where the original has them elsewhere.
func ready(data string) error {
	for _, name := range []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf"} {
		f, err := os.OpenFile(filepath.Join(data, name), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Close(), sandbox.Give(f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// ask runs pg_amcheck, if there is one, and the declared queries.
func (d *drill) ask(ctx context.Context) error {
	d.begin("amcheck")
	if amcheck := filepath.Join(d.server.Install.Bin, "pg_amcheck"); exists(amcheck) {
		ran := exec.CommandContext(ctx, amcheck, "--all", "--install-missing", "--host", d.server.Dir, "--port", strconv.Itoa(d.server.Port), "--username", sandbox.User)
		out, err := ran.CombinedOutput()
		switch {
		case err == nil:
			d.result.Amcheck = true
		case strings.Contains(string(out), "is not available"): // the extension is not installed here
		default:
			return d.failed(fmt.Errorf("%w\n%s", err, last(string(out))))
		}
	}
	d.begin("query")
	for _, c := range d.o.Checks {
		database := c.Database
		if database == "" {
			database = "postgres"
		}
		if err := answer(ctx, d.server.DSN(database), c.Query); err != nil {
			return d.failed(&wrongError{c.Query, err})
		}
		d.result.Queries++
	}
	return nil
}

// answer runs a query in a transaction that can only read.
func answer(ctx context.Context, dsn, query string) error {
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "drill", Settings: map[string]string{"default_transaction_read_only": "on"}})
	if err != nil {
		return err
	}
	defer conn.Close()
	none := true
	err = conn.Stream(ctx, pg.Text, query, func(values [][]byte) error {
		if !none {
			return nil
		}
		none = false
		if len(values) == 0 || values[0] == nil || string(values[0]) == "f" {
			return errors.New("the answer is no")
		}
		return nil
	})
	if err == nil && none {
		return errors.New("it has no rows")
	}
	return err
}

// checksums verifies every page of the stopped server.
func (d *drill) checksums(ctx context.Context, m *backup.Manifest, data string) error {
	if !m.Checksums {
		return nil
	}
	d.begin("checksums")
	out, err := exec.CommandContext(ctx, filepath.Join(d.server.Install.Bin, "pg_checksums"), "--check", "-D", data).CombinedOutput()
	if err != nil {
		return d.failed(fmt.Errorf("%w\n%s", err, last(string(out))))
	}
	d.result.Checksums = true
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func one[T any](ctx context.Context, dsn, query string) (value T, err error) {
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "drill"})
	if err != nil {
		return value, err
	}
	defer conn.Close()
	return pg.One[T](ctx, conn, query)
}

// last is the end of a long text.
func last(text string) string {
	lines := slices.Collect(strings.Lines(strings.TrimSpace(text)))
	return strings.Join(lines[max(0, len(lines)-12):], "")
}
