package push_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal/push"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
)

// overflowing is a pusher where three segments may wait, and five do.
func (w *world) overflowing(ledger string, ahead int) (p *push.Pusher, waiting []segment.Name) {
	w.t.Helper()
	for i := 1; i <= 5; i++ {
		waiting = append(waiting, w.segment(1, i, true))
	}
	w.segment(1, 6, false)
	overflow := &push.Overflow{Limit: 3 << 20, Ledger: &push.Ledger{Path: ledger}}
	return push.New(push.Config{Repo: w.repo, Ahead: ahead, Overflow: overflow}), waiting
}

func (w *world) push(p *push.Pusher, n segment.Name) error {
	return p.Push(w.t.Context(), w.t.Context(), w.dir, "pg_wal/"+n.String())
}

// done does what PostgreSQL does with a file that is archived.
func (w *world) done(n segment.Name) {
	w.t.Helper()
	w.ok(os.Remove(filepath.Join(w.dir, "pg_wal/archive_status", n.String()+".ready")))
}

// misses are the names that the stores have written down.
func (w *world) misses() (all []string) {
	w.t.Helper()
	missed, err := w.repo.Misses(w.t.Context(), cluster.System)
	w.ok(err)
	for _, m := range missed {
		if !m.Dropped || !strings.Contains(m.Because, "and 3 MB may") {
			w.t.Errorf("%+v", m)
		}
		all = append(all, m.First+"-"+m.Last)
	}
	return all
}

// While more waits than may, what the store does not take is left out, as soon as that is
// written down on this host; no more than that; and the store is told when it is back.
// Source: design/wal.md, R13.
func TestOverflow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ledger := filepath.Join(t.TempDir(), "wal.dropped")
	p, waiting := w.overflowing(ledger, 0)
	w.ok(w.push(p, w.segment(1, 0, false))) // the store takes it: nothing is left out
	w.slow.down.Store(true)
	for _, n := range waiting[:2] {
		w.ok(w.push(p, n))
		w.done(n)
	}
	if err := w.push(p, waiting[2]); !errors.Is(err, errDown) {
		t.Errorf("what may wait: %v", err)
	}
	w.slow.down.Store(false)
	if got := w.misses(); len(got) > 0 {
		t.Errorf("a store that is down knows %v", got)
	}
	w.ok(p.Tell(t.Context()))
	if diff := cmp.Diff([]string{waiting[0].String() + "-" + waiting[1].String()}, w.misses()); diff != "" {
		t.Error(diff)
	}
	if all, err := p.Overflow.Ledger.All(); err != nil || len(all) > 0 {
		t.Errorf("the ledger still has %v, %v", all, err)
	}
	if got := w.archived(); len(got) != 1 {
		t.Errorf("archived: %v", got)
	}
}

// A store that takes records and no segments, as one that is too slow, is tried once: what is
// too much after that is left out at once.
func TestOverflowOfASlowStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, waiting := w.overflowing(filepath.Join(t.TempDir(), "wal.dropped"), 0)
	w.slow.segmentsOnly = true
	w.slow.down.Store(true)
	w.ok(w.push(p, waiting[0]))
	w.done(waiting[0])
	began := time.Now()
	w.ok(w.push(p, waiting[1]))
	if took := time.Since(began); took > time.Second {
		t.Errorf("the second one took %s", took)
	}
	w.ok(p.Tell(t.Context()))
	want := []string{waiting[0].String() + "-" + waiting[0].String(), waiting[1].String() + "-" + waiting[1].String()}
	if diff := cmp.Diff(want, w.misses()); diff != "" {
		t.Error(diff)
	}
}

// Without a place to write it down nothing is left out, and what only the stores can
// remember they do.
func TestOverflowWithoutLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, waiting := w.overflowing(filepath.Join(t.TempDir(), "nothing", "wal.dropped"), 0)
	w.slow.down.Store(true)
	if err := w.push(p, waiting[0]); !errors.Is(err, errDown) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left out and forgotten: %v", err)
	}
	w.slow.segmentsOnly = true
	w.ok(w.push(p, waiting[0]))
	if diff := cmp.Diff([]string{waiting[0].String() + "-" + waiting[0].String()}, w.misses()); diff != "" {
		t.Error(diff)
	}
}

// A store that fails for a moment does not cost a segment.
func TestOverflowIsPatient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, waiting := w.overflowing(filepath.Join(t.TempDir(), "wal.dropped"), 0)
	w.slow.down.Store(true)
	time.AfterFunc(time.Second, func() { w.slow.down.Store(false) })
	w.ok(w.push(p, waiting[0]))
	if got := w.archived(); len(got) != 1 {
		t.Errorf("archived: %v", got)
	}
}

// What is wrong with the file itself is no reason to leave it out.
func TestOverflowKeepsConflicts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, waiting := w.overflowing(filepath.Join(t.TempDir(), "wal.dropped"), 0)
	w.ok(w.push(p, waiting[0]))
	content, err := os.ReadFile(filepath.Join(w.dir, "pg_wal", waiting[0].String()))
	w.ok(err)
	content[len(content)-1] ^= 1
	w.write("pg_wal/"+waiting[0].String(), content)
	var split *repo.SplitBrainError
	if err := w.push(p, waiting[0]); !errors.As(err, &split) {
		t.Errorf("another content: %v", err)
	}
	if all, err := p.Overflow.Ledger.All(); err != nil || len(all) > 0 {
		t.Errorf("left out: %v, %v", all, err)
	}
}

// What was left out and is still there is brought with the next success.
func TestOverflowIsMadeUpFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, waiting := w.overflowing(filepath.Join(t.TempDir(), "wal.dropped"), 1)
	w.ok(w.push(p, w.segment(1, 0, false)))
	w.slow.down.Store(true)
	for _, n := range waiting[:2] {
		w.ok(w.push(p, n))
		w.done(n)
	}
	w.slow.down.Store(false)
	w.ok(w.push(p, waiting[2]))
	for range 100 {
		if got := w.archived(); slices.Contains(got, waiting[0].String()) && slices.Contains(got, waiting[1].String()) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("archived: %v", w.archived())
}

// Segments are added by several processes while others are settled, and none is lost.
func TestLedger(t *testing.T) {
	t.Parallel()
	l := &push.Ledger{Path: filepath.Join(t.TempDir(), "wal.dropped")}
	const each, writers = 20, 4
	seen := map[string]bool{}
	settle := func() {
		all, err := l.All()
		if err == nil && len(all) > 0 {
			for _, d := range all {
				first, _ := segment.Parse(d.First)
				for n := first; n.Base() <= d.Last; n = d.Size.Next(n) {
					seen[n.Base()] = true
				}
			}
			err = l.Settle(all)
		}
		if err != nil {
			t.Error(err)
		}
	}
	var adding sync.WaitGroup
	for i := range writers {
		adding.Go(func() {
			for k := range each {
				if err := l.Add(7, cluster.Size.At(uint32(i+1), cluster.Size.Start(segment.Name{Timeline: 1, Seg: uint32(k)})), cluster.Size, "a test", time.Now()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		settle()
	}
	adding.Wait()
	settle()
	if len(seen) != each*writers {
		t.Errorf("%d of %d segments were seen", len(seen), each*writers)
	}
	if _, err := os.Stat(l.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the ledger is still there: %v", err)
	}
}
