// Package restore puts a backup back on disk, so that a server can start from it and
// recover to a chosen point.
//
//	Choose -> preview -> Restore: mark -> files -> digests, fsync -> settings -> pg_control -> done
//
// Until the last step the directory has no global/pg_control, without which a server
// refuses to start, and has a mark that lets a second Restore go on with what is there.
//
// It knows backups, timelines and recovery settings. It does not fetch WAL: the server
// does, with the restore_command that it is given.
//
// Source: design/wal.md, R3, R31, R37 to R43.
package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/skytools-go/skytools/runners/wal/backup"
)

// As is what the restored server is going to be.
type As string

// What a restored server can be.
const (
	Clone   As = "clone"   // on its own; never archives
	Standby As = "standby" // follows the primary and the archive; never promotes itself
	Primary As = "primary" // takes the old one's place and archives
)

// Options say where and how to restore.
type Options struct {
	To          string            // the data directory
	Tablespaces map[string]string // from the path on the old server to the new one; the others stay where they were
	As          As
	Delta       bool              // use what is in To already, if it is of the same system; otherwise To must be empty
	Command     string            // restore_command
	Conninfo    string            // primary_conninfo of a standby
	Slot        string            // primary_slot_name of a standby
	Action      string            // recovery_target_action: pause, promote or shutdown; empty: promote
	Settings    map[string]string // more lines of postgresql.auto.conf
	Owner       string            // user that gets the files, where we are root; empty: who owns To, or what is above it
	Workers     int               // packs to read at a time; 0: four

	// Progress is called from several goroutines as bytes are in place.
	Progress func(done, total int64)
}

// Result is what a restore did.
type Result struct {
	Written int64 // bytes
	Kept    int64 // bytes that were there already
	Removed int   // files that do not belong there
}

// Restore writes a backup to a directory and sets the server up for its recovery. When
// it returns nil, all of it is durable. It may be called again after a crash, with the
// same or with another backup.
func Restore(ctx context.Context, shelf *backup.Shelf, m *backup.Manifest, c Choice, o Options) (Result, error) {
	if o.Workers <= 0 {
		o.Workers = max(4, runtime.GOMAXPROCS(0))
	}
	r := &restoring{shelf: shelf, m: m, o: o}
	err := r.run(ctx, c)
	if err != nil {
		return Result{}, fmt.Errorf("restore %s to %s: %w", m.ID, o.To, full(err, m.Bytes))
	}
	return r.result, nil
}

func (r *restoring) run(ctx context.Context, c Choice) error {
	if !filepath.IsAbs(r.o.To) {
		return fmt.Errorf("%s is not an absolute path", r.o.To)
	}
	if err := r.place(); err != nil {
		return err
	}
	if err := r.owner(); err != nil {
		return err
	}
	if err := r.begin(); err != nil {
		return err
	}
	if err := r.directories(); err != nil {
		return err
	}
	if err := r.clean(); err != nil {
		return err
	}
	if err := r.files(ctx); err != nil {
		return err
	}
	if err := r.configure(c); err != nil {
		return err
	}
	return r.finish()
}

// mark is the file that says that a restore is under way.
const mark = "skytools.restore"

// control is the file without which no server starts.
const control = "global/pg_control"

// An InUseError says that a directory must not be written to.
type InUseError struct {
	Dir  string
	Why  string
	Hint string
}

func (e *InUseError) Error() string { return e.Dir + " " + e.Why }

// place checks the directories that would be written to, before anything is.
func (r *restoring) place() error {
	if err := r.fits(); err != nil {
		return err
	}
	resume := r.usable
	for _, s := range r.m.Tablespaces {
		dir := r.moved(s.Path)
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("the tablespace %s is not an absolute path", dir)
		}
		if inside(r.o.To, dir) {
			return fmt.Errorf("the tablespace %s would be inside of the data directory", dir)
		}
		if entries, err := os.ReadDir(filepath.Join(dir, r.version())); err == nil && len(entries) > 0 && !resume {
			return hinted(&InUseError{Dir: dir, Why: "holds a tablespace", Hint: "say where it goes with --tablespace " + s.Path + "=DIRECTORY, or use what is there with --delta"})
		}
	}
	return nil
}

// hinted is for errors whose hint is a field.
func hinted(e *InUseError) error { return inUse{e} }

type inUse struct{ *InUseError }

func (e inUse) Unwrap() error { return e.InUseError }
func (e inUse) Hint() string  { return e.InUseError.Hint }

func inside(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// fits looks at the data directory. usable: what is there may be overwritten.
func (r *restoring) fits() error {
	entries, err := os.ReadDir(r.o.To)
	if errors.Is(err, os.ErrNotExist) || err == nil && (len(entries) == 0 || len(entries) == 1 && entries[0].Name() == mark+unnamed) {
		return nil
	}
	if err != nil {
		return err
	}
	if pid := running(r.o.To); pid > 0 {
		return hinted(&InUseError{Dir: r.o.To, Why: fmt.Sprintf("is in use: a server runs there, process %d", pid), Hint: "stop it first; if that process is no server, remove postmaster.pid"})
	}
	system, err := systemOf(r.o.To)
	if err != nil {
		return err
	}
	_, marked := os.Stat(filepath.Join(r.o.To, mark))
	switch {
	case system == "" && marked == nil:
		r.usable = true
	case system == "":
		return hinted(&InUseError{Dir: r.o.To, Why: "is not empty, and no data directory of a server", Hint: "choose another directory"})
	case !r.o.Delta:
		return hinted(&InUseError{Dir: r.o.To, Why: "is not empty", Hint: "choose another directory, move it away, or let --delta write over it what differs"})
	case system != r.m.System:
		return hinted(&InUseError{Dir: r.o.To, Why: fmt.Sprintf("belongs to another system, %s", system), Hint: "choose another directory"})
	default:
		r.usable = true
	}
	return nil
}

// running is the process of the server on a data directory, or 0.
func running(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 0 {
		return 0
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return 0
	}
	return pid
}

// systemOf is the system identifier of a data directory, the first eight bytes of
// pg_control in the machine's order; empty when there is none.
func systemOf(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, control))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case len(text) < 8:
		return "", fmt.Errorf("%s in %s is cut off", control, dir)
	}
	return strconv.FormatUint(native.Uint64(text), 10), nil
}
