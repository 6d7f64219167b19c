package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"runtime"
	"sync"
	"time"

	"github.com/skytools-go/skytools/runners/wal/squeeze"
	"github.com/skytools-go/skytools/sql/pg"
)

// Options say how to take a backup.
type Options struct {
	DSN      string // an ordinary role with REPLICATION, which may call pg_switch_wal and pg_control_system
	Primary  string // of a backup from a standby, to end segments there; empty: the primary ends them by itself
	App      string // application_name
	Label    string
	Full     bool // look at no earlier backup
	Spread   bool // begin with a spread checkpoint, which may take minutes, instead of a fast one
	Rate     int  // kB per second that the server sends at most; 0: no limit
	BadPages bool // a backup is kept in which the server has found pages whose checksum is wrong; see Tail.BadPages
	Workers  int  // compress at a time; 0: one per processor
	WAL      WAL
	Patience time.Duration // for WAL to arrive in the archive; 0: ten minutes

	// Progress is called as frames are done. total is the server's estimate.
	Progress func(done, total int64)
}

// uploads is how many packs are on their way to the stores at a time.
const uploads = 2

// ErrRunning says that another backup of the server is running.
var ErrRunning = errors.New("another backup of this server is running")

// A SystemError says that the server is not the one that the archive belongs to.
type SystemError struct{ Server, Archive string }

func (e *SystemError) Error() string {
	return fmt.Sprintf("the server has system identifier %s, and the archive belongs to %s", e.Server, e.Archive)
}

// Hint is what a person can try.
func (e *SystemError) Hint() string {
	return "is this the right server? After pg_upgrade or a new initdb the archive begins a new epoch, with its next apply"
}

// Take takes a backup and returns its manifest, which then is in every required store
// together with all that the backup needs, WAL included. After an error there is no
// backup, and what was written is used by the next one.
//
// It holds three packs of 64 MiB, 128 frames and the manifests of this backup and of
// the one before in memory.
func Take(ctx context.Context, shelf *Shelf, o Options) (*Manifest, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, Longest, fmt.Errorf("it took longer than %s", Longest))
	defer cancel()
	m, err := take(ctx, shelf, o)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("take a backup: %w", err)
	}
	return m, nil
}

// lockKey is the advisory lock of whoever takes a backup of a server.
func lockKey(system string) int64 {
	h := fnv.New64a()
	h.Write([]byte("skytools backup " + system))
	return int64(h.Sum64())
}

func take(ctx context.Context, shelf *Shelf, o Options) (*Manifest, error) {
	if o.Patience == 0 {
		o.Patience = 10 * time.Minute
	}
	lease, err := pg.Acquire(ctx, cmp.Or(o.Primary, o.DSN), o.App, lockKey(shelf.System))
	if errors.Is(err, pg.ErrHeld) {
		return nil, ErrRunning
	}
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	ctx = lease.Context()
	conn, err := pg.Dial(ctx, o.DSN, pg.Options{App: o.App})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	found, settings, err := look(ctx, conn)
	if err != nil {
		return nil, err
	}
	if found.System != shelf.System {
		return nil, &SystemError{found.System, shelf.System}
	}
	switch {
	case !found.Standby:
		err = prove(ctx, conn, o.WAL, o.Patience)
	case o.Primary != "":
		err = proveAt(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	t := &taking{o: o, writing: &writing{shelf: shelf}, manifest: &Manifest{Head: Head{
		Format: 1, System: found.System, Server: found.Server, Catalog: found.Catalog, SegmentSize: found.SegmentSize, Checksums: found.Checksums,
		Label: o.Label, Began: time.Now().UTC().Truncate(time.Second), Clock: found.Clock.UTC(), Standby: found.Standby, Recipients: shelf.Recipients, Settings: settings,
	}}}
	return t.manifest, t.run(ctx)
}

// taking is a backup under way.
type taking struct {
	o        Options
	writing  *writing
	manifest *Manifest

	parent  *Manifest
	resumed map[Sum]Frame // of unfinished backups; Pack is an index into unfinished
	unfin   []Pack

	packs  map[Pack]uint32 // where a pack is in the manifest's list
	done   int64
	total  int64
	failed error
	mu     sync.Mutex
}

func (t *taking) run(ctx context.Context) error {
	newest, err := t.earlier(ctx)
	if err != nil {
		return err
	}
	r, err := pg.Replicate(ctx, t.o.DSN, pg.Options{App: t.o.App})
	if err != nil {
		return err
	}
	defer r.Close()
	label := t.o.Label
	if label == "" {
		label = "skytools " + t.manifest.Began.Format(time.RFC3339)
	}
	b, err := r.BaseBackup(ctx, pg.BackupOptions{Label: label, Fast: !t.o.Spread, Rate: t.o.Rate, BadPages: t.o.BadPages})
	if err != nil {
		return err
	}
	defer b.Close()
	m := t.manifest
	m.Start, m.Timeline = b.Start, b.Timeline
	for _, s := range b.Tablespaces {
		t.total += s.Size
		if s.OID != 0 {
			m.Tablespaces = append(m.Tablespaces, Tablespace{s.OID, s.Path})
		}
	}
	if m.ID = newID(m.Began, m.Timeline, m.Start); m.ID <= newest {
		if err := t.later(ctx, newest); err != nil {
			return err
		}
	}
	if m.ID <= newest {
		return fmt.Errorf("the backup would be named %s, and there is %s already: is the clock of this host right?", m.ID, newest)
	}
	if err := t.receive(ctx, b); err != nil {
		return badPages(err)
	}
	if b.End.Timeline != m.Timeline {
		return fmt.Errorf("the server went from timeline %d to %d meanwhile", m.Timeline, b.End.Timeline)
	}
	if m.Standby && t.o.Primary != "" { // it ends the segment in which the backup has ended
		if err := proveAt(ctx, t.o); err != nil {
			return err
		}
	}
	m.BadPages = b.BadPages
	m.Stop, m.Ended = b.End.LSN, time.Now().UTC().Truncate(time.Second)
	if err := await(ctx, t.o.WAL, t.o.Patience, "wait for the backup's WAL in the archive", m.Timeline, m.Start, m.Stop); err != nil {
		return err
	}
	return t.commit(ctx)
}

// later has a backup begin in the second after another one, whose name it would have: of a
// standby, several can start at the same position.
func (t *taking) later(ctx context.Context, than ID) error {
	m := t.manifest
	wait := than.Time().Add(time.Second).Sub(m.Began)
	if wait > time.Second {
		return nil // it is not a matter of seconds
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	m.Began, m.Clock = m.Began.Add(wait), m.Clock.Add(wait)
	m.ID = newID(m.Began, m.Timeline, m.Start)
	return nil
}

// commit writes the manifest.
func (t *taking) commit(ctx context.Context) error {
	content, err := t.manifest.Encode()
	if err != nil {
		return err
	}
	return t.writing.put(ctx, t.writing.shelf.ManifestKey(t.manifest.ID), inMemory(content))
}

// receive reads the stream, works on its pieces and writes packs.
func (t *taking) receive(ctx context.Context, b *pg.BaseBackup) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := t.o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	work, inOrder := make(chan *piece, 64), make(chan *piece, 64)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for p := range work {
				t.work(p)
				close(p.done)
			}
		})
	}
	c := &cutter{backup: b, parent: filesOf(t.parent), send: func(ctx context.Context, p *piece) error {
		for _, to := range []chan *piece{work, inOrder} {
			select {
			case to <- p:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	}}
	cut := make(chan error, 1)
	all.Go(func() {
		err := c.cut(ctx)
		if err != nil {
			cancel(err)
		}
		close(work)
		close(inOrder)
		cut <- err
	})
	err := t.collect(ctx, inOrder)
	if err != nil {
		cancel(err)
		b.Close() // what the cutter waits for would not come
	}
	for p := range inOrder { // after an error; the workers end with their channel
		<-p.done
	}
	all.Wait()
	if cutErr := <-cut; err != nil || cutErr != nil {
		return context.Cause(ctx) // whichever was first; the other one only stopped
	}
	for _, f := range c.files {
		t.manifest.Files = append(t.manifest.Files, *f)
		t.manifest.Bytes += f.Size
	}
	return nil
}

// work finds out where a piece is already, or compresses it.
func (t *taking) work(p *piece) {
	p.frame.Sum = SumOf(p.plain)
	if p.parent != nil && p.parent.Sum == p.frame.Sum {
		p.known = p.parent
		return
	}
	if f, found := t.resumed[p.frame.Sum]; found {
		p.known, p.resumed = &f, true
		return
	}
	p.room = rooms.Get().(*[]byte)
	if p.compressed, p.failed = squeeze.Frame(p.plain, *p.room); p.failed == nil {
		*p.room = p.compressed
	}
}
