// Package push is what archive_command does: it brings files from pg_wal into an
// archive's repository.
//
// PostgreSQL asks for one file at a time and waits. A [Pusher] that stays looks ahead:
// while one file is on its way it sends those that PostgreSQL will ask for next, and
// remembers which have arrived, so that the answer is there before the question:
//
//	ready ──▶ on its way ──▶ arrived ──asked──▶ forgotten
//	              │
//	              └─ failed: nothing more is sent ahead until a file that was asked for has arrived
//
// It also sends what PostgreSQL never asks for: see [Backfill].
//
// What is remembered is the very file (its inode, size and time), and only in memory:
// after a crash files are sent again, which the repository answers with success because
// they are the same. PostgreSQL keeps every file until it is told success, and it is
// told that only for the file it asked for. Source: design/wal.md, R5 to R14.
package push

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
)

// Config describes a pusher.
type Config struct {
	Repo  *repo.Repo
	Ahead int          // how many files go at a time beside the one that was asked for; 0: none
	Log   hclog.Logger // may be nil

	Overflow *Overflow // nil: nothing is ever left out
}

// A Pusher archives files. It is safe for concurrent use.
type Pusher struct {
	Config
	mu    sync.Mutex
	sent  map[file]*sending
	fill  map[wal.DataDir]uint32 // the timeline up to which [Backfill] was begun
	halt  bool                   // look-ahead has failed
	ahead int                    // look-ahead on its way
}

// A file is a file of the WAL as it was when it was looked at.
type file struct {
	system uint64
	name   segment.Name
	inode  uint64
	size   int64
	time   int64
}

type sending struct {
	done chan struct{}
	err  error // valid when done
}

// failed reports whether sending has ended, and with an error.
func (s *sending) failed() bool {
	select {
	case <-s.done:
		return s.err != nil
	default:
		return false
	}
}

// New returns a pusher.
func New(c Config) *Pusher {
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return &Pusher{Config: c, sent: map[file]*sending{}, fill: map[wal.DataDir]uint32{}}
}

// Push archives one file, which PostgreSQL named as %p when it called from base. It
// returns nil when every required store has it.
//
// When ctx ends first, the file stays on its way for as long as life lasts, so that the
// next call finds that it has arrived.
func (p *Pusher) Push(ctx, life context.Context, base, path string) error {
	dir, full, err := wal.DirOf(base, path)
	if err != nil {
		return fmt.Errorf("push %s: %w", path, err)
	}
	f, err := look(dir, full)
	if err != nil {
		return fmt.Errorf("push %s: %w", path, err)
	}
	waiting, size, over := p.Overflow.over(dir)
	if !over {
		err := p.push(ctx, life, dir, f, path)
		if err == nil && p.Ahead == 0 && !p.Overflow.dropping() { // nobody else does, where no process stays
			p.told(ctx)
		}
		return err
	}
	if p.Overflow.dropping() && !p.arrived(f) {
		return p.drop(ctx, dir, f, waiting, size, errors.New("the one before it was left out"))
	}
	if err = p.pushSoon(ctx, life, dir, f, path); droppable(err) {
		return p.drop(ctx, dir, f, waiting, size, err)
	}
	return err
}

func (p *Pusher) push(ctx, life context.Context, dir wal.DataDir, f file, path string) error {
	s := p.send(life, dir, f)
	p.lookAhead(life, dir, f)
	select {
	case <-ctx.Done():
		return fmt.Errorf("push %s: %w", path, ctx.Err())
	case <-s.done:
	}
	p.answered(f, s)
	if s.err == nil {
		p.backfill(life, dir, f.name.Timeline)
	}
	return s.err
}

// arrived reports whether a file that was sent ahead is where it belongs.
func (p *Pusher) arrived(f file) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, known := p.sent[f]
	if !known {
		return false
	}
	select {
	case <-s.done:
		return s.err == nil
	default:
		return false
	}
}

// backfill looks once for what PostgreSQL will not ask for, when a data directory is new
// to us and whenever its server has been promoted. What it does ask for would be sent
// twice, and after an outage that is much.
func (p *Pusher) backfill(life context.Context, dir wal.DataDir, timeline uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Ahead == 0 || timeline <= p.fill[dir] {
		return
	}
	before := p.fill[dir]
	p.fill[dir] = timeline
	go func() {
		sent, err := fill(life, p.Repo, dir, dir.Wants)
		if len(sent) > 0 {
			p.Log.Info("archived what PostgreSQL had not asked for", "files", len(sent), "first", sent[0].String())
		}
		if err != nil {
			p.Log.Warn("what PostgreSQL does not ask for was not all archived", "error", err)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.fill[dir] = before // with the next file again
		}
	}()
}

// answered forgets a file that PostgreSQL has been told about.
func (p *Pusher) answered(f file, s *sending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent[f] == s {
		delete(p.sent, f)
	}
	if s.err == nil {
		p.halt = false
	}
}

// look identifies a file of a data directory.
func look(dir wal.DataDir, path string) (file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return file{}, err
	}
	n, err := segment.Parse(info.Name())
	if err != nil {
		return file{}, err
	}
	system, err := dir.System()
	if err != nil {
		return file{}, err
	}
	f := file{system: system, name: n, size: info.Size(), time: info.ModTime().UnixNano()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		f.inode = stat.Ino
	}
	return f, nil
}

// send starts to send a file, unless it is on its way or has arrived.
func (p *Pusher) send(life context.Context, dir wal.DataDir, f file) *sending {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.sent[f]; ok && !s.failed() {
		return s
	}
	s := &sending{done: make(chan struct{})}
	p.sent[f] = s
	go func() {
		defer close(s.done)
		s.err = One(life, p.Repo, dir, f.system, f.name)
	}()
	return s
}

// lookAhead sends what PostgreSQL will ask for next, and forgets what it will not.
func (p *Pusher) lookAhead(life context.Context, dir wal.DataDir, asked file) {
	if p.Ahead == 0 {
		return
	}
	ready, err := dir.Ready()
	if err != nil {
		return // it is only ahead
	}
	wanted := map[segment.Name]bool{}
	for _, n := range ready {
		wanted[n] = true
	}
	p.forget(asked, wanted)
	for _, n := range ready {
		if n == asked.name || n.Base() < asked.name.Base() {
			continue
		}
		f, err := look(dir, dir.Path(n))
		if err != nil || p.full() {
			return
		}
		if p.begin(f) {
			s := p.send(life, dir, f)
			go func() {
				<-s.done
				p.ended(f, s)
			}()
		}
	}
}

// begin takes a place for sending a file ahead.
func (p *Pusher) begin(f file) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, known := p.sent[f]; known && !s.failed() || p.halt || p.ahead >= p.Ahead {
		return false
	}
	p.ahead++
	return true
}

func (p *Pusher) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.halt || p.ahead >= p.Ahead
}

// ended gives the place back. What failed is asked for again later, and sent anew.
func (p *Pusher) ended(f file, s *sending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ahead--
	if s.err != nil {
		p.halt = true
		if p.sent[f] == s {
			delete(p.sent, f)
		}
		p.Log.Warn("a file that was sent ahead did not arrive", "error", s.err)
	}
}

// forget drops what has arrived and nobody will ask for, such as after a restart of the
// server on another data directory.
func (p *Pusher) forget(asked file, wanted map[segment.Name]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for f, s := range p.sent {
		select {
		case <-s.done:
			if f != asked && (f.system != asked.system || !wanted[f.name]) {
				delete(p.sent, f)
			}
		default:
		}
	}
}

// One archives one file of a data directory, and before it the history of its timeline
// if the repository does not have that yet.
func One(ctx context.Context, r *repo.Repo, dir wal.DataDir, system uint64, n segment.Name) error {
	err := put(ctx, r, dir, system, n)
	var history *repo.HistoryError
	if !errors.As(err, &history) {
		return err
	}
	if err := put(ctx, r, dir, system, segment.Name{Kind: segment.History, Timeline: history.Timeline}); err != nil {
		return err
	}
	return put(ctx, r, dir, system, n)
}

func put(ctx context.Context, r *repo.Repo, dir wal.DataDir, system uint64, n segment.Name) error {
	f, err := os.Open(dir.Path(n))
	if err != nil {
		return fmt.Errorf("archive %s: %w", n, err)
	}
	defer f.Close()
	_, err = r.Put(ctx, system, n, f)
	return err
}
