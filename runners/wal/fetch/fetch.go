// Package fetch is what restore_command does: it brings files from an archive's
// repository to a server in recovery.
//
// PostgreSQL takes an exit code of up to 125 for "there is no such file", ends its
// recovery and begins a new timeline; any other lets it stop, to be started again. So
// what to answer is decided here and nowhere else:
//
//	placed                         0
//	every store says: not there    1    a file that is not archived yet, or the end
//	not known, on a standby        1    it asks again on its own, and must not stop
//	not known, otherwise         200    it must not take an outage for the end
//
// A [Getter] that stays fetches ahead into a directory of its own, outside pg_wal: the
// segments after the one that was asked for, twice as many each time PostgreSQL goes on
// in order, and none when it has turned to other files. What was fetched for nothing is
// removed. Source: design/wal.md, R15 to R18, 6.5.
package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
)

// Config describes a getter.
type Config struct {
	Repo  *repo.Repo
	Spool string        // where to fetch ahead to; empty: nothing is fetched ahead
	Ahead int           // how many segments to fetch ahead at most; 0: 16
	Bytes int64         // and how many bytes of them; 0: 512 MB
	Tries time.Duration // how long to try while a store cannot be asked; 0: 30 s
	Log   hclog.Logger  // may be nil
}

// A Getter restores files. It is safe for concurrent use.
type Getter struct {
	Config
	mu      sync.Mutex
	fetched map[wanted]*fetching
	next    wanted // what continues the order
	window  int
	serial  int // of files in the spool
}

type wanted struct {
	system uint64
	name   segment.Name
}

type fetching struct {
	done chan struct{}
	path string
	err  error // valid when done
}

// New returns a getter. It empties the spool, which is its own.
func New(c Config) *Getter {
	c.Ahead, c.Bytes, c.Tries = cmp.Or(c.Ahead, 16), cmp.Or(c.Bytes, 512<<20), cmp.Or(c.Tries, 30*time.Second)
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if c.Spool != "" {
		c.Spool = filepath.Join(c.Spool, "skytools-ahead")
		if err := os.RemoveAll(c.Spool); err != nil {
			c.Log.Warn("what was fetched ahead before cannot be removed", "error", err)
		}
	}
	return &Getter{Config: c, fetched: map[wanted]*fetching{}}
}

// An UnknownError says that nobody can tell whether the archive has a file.
type UnknownError struct {
	Name    segment.Name
	Standby bool
	Err     error
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("it is not known whether the archive has %s: %v", e.Name, e.Err)
}
func (e *UnknownError) Unwrap() error { return e.Err }

// ExitCode tells PostgreSQL to ask again on a standby, and to stop otherwise.
func (e *UnknownError) ExitCode() int {
	if e.Standby {
		return 1
	}
	return 200
}

// Get places a file that PostgreSQL named as %f at %p, having called from base. The
// error is [repo.ErrAbsent] when the archive does not have it, and [UnknownError] when
// that cannot be told. ahead is how long files may be fetched ahead.
func (g *Getter) Get(ctx, ahead context.Context, base, file, path string) error {
	n, err := segment.Parse(file)
	if err != nil {
		return fmt.Errorf("get: %w: %w", err, repo.ErrAbsent) // PostgreSQL asks for no other
	}
	dir, full, err := wal.DirOf(base, path)
	var system uint64
	if err == nil {
		system, err = dir.System()
	}
	if err != nil {
		return &UnknownError{n, dir.Standby(), err}
	}
	if err := g.get(ctx, ahead, system, n, full, dir); err != nil {
		if errors.Is(err, repo.ErrAbsent) {
			return err
		}
		return &UnknownError{n, dir.Standby(), err}
	}
	return nil
}

func (g *Getter) get(ctx, ahead context.Context, system uint64, n segment.Name, path string, dir wal.DataDir) error {
	if n.Kind != segment.Whole {
		return g.persist(ctx, func(ctx context.Context) error { return g.Repo.Get(ctx, system, n, path) })
	}
	defer g.fetchAhead(ahead, system, n)
	if g.take(ctx, wanted{system, n}, path) {
		return nil
	}
	err := g.persist(ctx, func(ctx context.Context) error { return g.Repo.Get(ctx, system, n, path) })
	if errors.Is(err, repo.ErrAbsent) && dir.Recovering() {
		err = g.persist(ctx, func(ctx context.Context) error { return g.Repo.GetPartial(ctx, system, n, path) })
	}
	return err
}

// persist tries until the answer is known, for as long as Tries says.
func (g *Getter) persist(ctx context.Context, get func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, g.Tries)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := get(ctx)
		if err == nil || errors.Is(err, repo.ErrAbsent) {
			return err
		}
		g.Log.Warn("the archive cannot tell", "error", err)
		if !runners.Sleep(ctx, wait) {
			return err
		}
	}
}

// take places what was fetched ahead.
func (g *Getter) take(ctx context.Context, w wanted, path string) bool {
	g.mu.Lock()
	f, ok := g.fetched[w]
	delete(g.fetched, w)
	g.mu.Unlock()
	if !ok {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-f.done:
	}
	defer os.Remove(f.path)
	return f.err == nil && place(f.path, path) == nil
}

// place moves a file, which may be to another file system. It appears complete.
func place(from, to string) error {
	if os.Rename(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(to), ".skytools-get-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(out.Name(), to)
	}
	if err != nil {
		os.Remove(out.Name())
	}
	return err
}

// fetchAhead fetches the segments after n, and removes those that are not among them.
func (g *Getter) fetchAhead(ctx context.Context, system uint64, n segment.Name) {
	if g.Spool == "" {
		return
	}
	epoch, err := g.Repo.Epoch(ctx, system)
	if err != nil {
		return // it is only ahead
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == (wanted{system, n}) {
		g.window = min(2*g.window, g.Ahead, max(1, int(g.Bytes/int64(epoch.Size))))
	} else {
		g.window = 1
	}
	keep := map[wanted]bool{}
	for range g.window {
		n = epoch.Size.Next(n)
		w := wanted{system, n}
		if len(keep) == 0 {
			g.next = w
		}
		keep[w] = true
		if g.fetched[w] == nil {
			g.fetched[w] = g.fetch(ctx, w)
		}
	}
	for w, f := range g.fetched {
		if !keep[w] {
			delete(g.fetched, w)
			go func() {
				<-f.done
				os.Remove(f.path)
			}()
		}
	}
}

// fetch fetches a segment into the spool. An error is not tried again here: when the
// segment is asked for, that is. The caller holds the lock.
func (g *Getter) fetch(ctx context.Context, w wanted) *fetching {
	dir := filepath.Join(g.Spool, strconv.FormatUint(w.system, 10))
	g.serial++
	f := &fetching{done: make(chan struct{}), path: filepath.Join(dir, fmt.Sprintf("%s.%d", w.name, g.serial))}
	go func() {
		defer close(f.done)
		if f.err = os.MkdirAll(dir, 0o700); f.err == nil {
			f.err = g.Repo.Get(ctx, w.system, w.name, f.path)
		}
	}()
	return f
}
