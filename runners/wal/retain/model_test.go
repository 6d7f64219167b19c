package retain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/sql"
)

// segmentSize is that of the model's WAL.
const segmentSize = 100

// A world is an archive that lives through years in a moment: a server writes WAL, is
// promoted and set back, backups run and die, and retention runs at any time.
type world struct {
	t      *testing.T
	random *rand.Rand
	now    time.Time
	store  *memory
	shelf  *backup.Shelf
	policy retain.Policy

	timeline uint32
	at       sql.LSN
	lines    restore.Timelines
	wal      map[retain.Segment]time.Time // when it was complete
	missed   map[retain.Segment]bool      // records of every third of them, as if it had never come
	ever     []retain.Segment             // what was ever written, in the same order as moments
	moments  []time.Time
	done     []*backup.Manifest // every backup that was ever completed
	running  []*running
	serial   int
}

// A running backup has chosen its packs and not yet written its manifest.
type running struct {
	m   *backup.Manifest
	end time.Time
}

func (w *world) Timelines(context.Context) (restore.Timelines, error) { return w.lines, nil }

func (w *world) Segments(context.Context) iter.Seq2[retain.Segment, error] {
	return func(yield func(retain.Segment, error) bool) {
		for s := range maps.Clone(w.wal) {
			if !yield(s, nil) {
				return
			}
		}
	}
}

func (w *world) Missed(context.Context) ([]retain.Segment, error) {
	return slices.Collect(maps.Keys(w.missed)), nil
}

func (w *world) Remove(_ context.Context, s retain.Segment) error {
	delete(w.wal, s)
	delete(w.missed, s)
	return nil
}

// record is that of a segment which is missing.
func record(s retain.Segment) retain.Segment {
	s.Key = "missed"
	return s
}

// checkMissed: a record stays as long as the segment would, if it were there.
func (w *world) checkMissed() {
	w.t.Helper()
	for i, s := range w.ever {
		if _, kept := w.wal[s]; i%3 == 0 && kept != w.missed[record(s)] {
			w.t.Errorf("of %v the segment is kept: %t, the record: %t", s, kept, !kept)
		}
	}
}

// write writes a segment of WAL, each at a time of its own.
func (w *world) write() {
	w.now = w.now.Add(time.Second)
	s := retain.Segment{Timeline: w.timeline, From: w.at, To: w.at + segmentSize}
	if w.wal[s] = w.now; len(w.ever)%3 == 0 {
		w.missed[record(s)] = true
	}
	w.ever, w.moments = append(w.ever, s), append(w.moments, w.now)
	w.at += segmentSize
}

// fork begins a new timeline here or, as after a recovery to an earlier point, back there.
func (w *world) fork() {
	next := uint32(1)
	for t := range w.lines {
		next = max(next, t)
	}
	next++
	at := w.at
	if w.random.IntN(3) == 0 {
		begin := sql.LSN(0)
		if line := w.lines[w.timeline]; len(line) > 0 {
			begin = line[len(line)-1].At
		}
		if back := sql.LSN(w.random.IntN(8) * segmentSize); at-begin > back {
			if w.recoverable(at - back) { // somebody has just restored it
				at -= back
			}
		}
	}
	w.lines[next] = append(slices.Clone(w.lines[w.timeline]), restore.Fork{Timeline: w.timeline, At: at})
	w.timeline, w.at = next, at
	w.running = nil // backups do not outlive it
}

// recoverable reports whether a position on the timeline in hand can be restored.
func (w *world) recoverable(to sql.LSN) bool {
	return slices.ContainsFunc(w.done, func(m *backup.Manifest) bool {
		_, there := w.store.objects["e/1/backup/"+string(m.ID)+"/manifest"]
		return there && m.Stop <= to && w.missing(m, w.timeline, to) == ""
	})
}

// begin begins a backup: it refers to packs of the newest complete backup and of later
// unfinished ones, if they have no tombstone, as package backup does.
func (w *world) begin() {
	w.serial++
	id := backup.ID(fmt.Sprintf("%s-%08X-%016X", w.now.UTC().Format("20060102T150405Z"), w.timeline, uint64(w.at)))
	m := &backup.Manifest{Head: backup.Head{Format: 1, ID: id, System: "1", Began: w.now, Clock: w.now, Timeline: w.timeline, Start: w.at}}
	entries, err := w.shelf.List(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	full := w.random.IntN(4) == 0
	for _, e := range slices.Backward(entries) {
		if e.Notes[backup.Tombstone] {
			continue
		}
		if e.Complete {
			if parent, err := w.shelf.Load(w.t.Context(), e.ID); err == nil && !full {
				m.Parent = e.ID
				for _, p := range parent.Packs {
					if w.random.IntN(3) > 0 {
						m.Packs = append(m.Packs, p)
					}
				}
			}
			break
		}
		for n := range 2 {
			if _, there := w.store.objects[fmt.Sprintf("e/1/pack/%s/%05d.index", e.ID, n)]; there && w.random.IntN(2) == 0 {
				m.Packs = append(m.Packs, backup.Pack{Backup: e.ID, N: n})
			}
		}
	}
	for n := range 2 {
		key := fmt.Sprintf("e/1/pack/%s/%05d", id, n)
		w.store.Put(w.t.Context(), key, strings.NewReader("pack"))
		w.store.Put(w.t.Context(), key+".index", strings.NewReader("index"))
		m.Packs = append(m.Packs, backup.Pack{Backup: id, N: n})
	}
	w.running = append(w.running, &running{m, w.now.Add(time.Duration(w.random.Int64N(int64(backup.Longest))))})
}

// end completes the backups whose time has come; some of them have died.
func (w *world) end() {
	w.running = slices.DeleteFunc(w.running, func(r *running) bool {
		if r.end.After(w.now) {
			return false
		}
		if w.random.IntN(5) == 0 {
			return true
		}
		w.write()
		r.m.Stop, r.m.Ended = w.at, w.now
		text, err := r.m.Encode()
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.store.Put(w.t.Context(), "e/1/backup/"+string(r.m.ID)+"/manifest", bytes.NewReader(text)); err != nil {
			w.t.Fatal(err)
		}
		w.done = append(w.done, r.m)
		return true
	})
}

// check is the oracle. It does not use the decision.
func (w *world) check() {
	w.t.Helper()
	ctx := w.t.Context()
	entries, err := w.shelf.List(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	alive := map[backup.ID]*backup.Manifest{}
	for _, e := range entries {
		if !e.Complete {
			continue
		}
		m := w.done[slices.IndexFunc(w.done, func(m *backup.Manifest) bool { return m.ID == e.ID })]
		for _, p := range m.Packs {
			if _, there := w.store.objects[fmt.Sprintf("e/1/pack/%s/%05d", p.Backup, p.N)]; !there {
				w.t.Fatalf("%s needs pack %d of %s, which is gone", m.ID, p.N, p.Backup)
			}
		}
		if missing := w.missing(m, m.Timeline, m.Stop); missing != "" {
			w.t.Fatalf("%s is not consistent without %s", m.ID, missing)
		}
		if !e.Notes[backup.Tombstone] {
			alive[m.ID] = m
		}
	}
	for _, r := range w.running { // it will write its manifest
		for _, p := range r.m.Packs {
			if _, there := w.store.objects[fmt.Sprintf("e/1/pack/%s/%05d", p.Backup, p.N)]; !there {
				w.t.Fatalf("%s, which is running, needs pack %d of %s, which is gone", r.m.ID, p.N, p.Backup)
			}
		}
	}
	if len(w.done) > 0 && len(alive) == 0 {
		w.t.Fatal("no backup is left")
	}
	w.window(alive)
}

// window checks that every moment of the window can be reached that ever could.
func (w *world) window(alive map[backup.ID]*backup.Manifest) {
	w.t.Helper()
	path := append(slices.Clone(w.lines[w.timeline]), restore.Fork{Timeline: w.timeline, At: 1 << 62})
	for i, s := range w.ever {
		n := slices.IndexFunc(path, func(f restore.Fork) bool { return f.Timeline == s.Timeline })
		if w.moments[i].Before(w.now.Add(-w.policy.Window)) || n < 0 || s.To > path[n].At {
			continue
		}
		could, can := false, ""
		for _, m := range w.done {
			at := slices.IndexFunc(path, func(f restore.Fork) bool { return f.Timeline == m.Timeline })
			if m.Ended.After(w.moments[i]) || at < 0 || at > n || m.Stop > path[at].At || m.Stop > s.To {
				continue
			}
			could = true
			if alive[m.ID] == nil {
				continue
			}
			if can = w.missing(m, s.Timeline, s.To); can == "" {
				break
			}
		}
		if could && (can != "" || !w.reachable(alive, path, n, i)) {
			w.t.Fatalf("%s of timeline %d at %s cannot be reached any more: %s", s.To, s.Timeline, w.moments[i], can)
		}
	}
}

// reachable reports whether some backup that is left lies before a segment.
func (w *world) reachable(alive map[backup.ID]*backup.Manifest, path []restore.Fork, n, i int) bool {
	for _, m := range alive {
		at := slices.IndexFunc(path, func(f restore.Fork) bool { return f.Timeline == m.Timeline })
		if !m.Ended.After(w.moments[i]) && at >= 0 && at <= n && m.Stop <= path[at].At && m.Stop <= w.ever[i].To {
			return true
		}
	}
	return false
}

// missing names a segment that is not there on the way from a backup to a position.
func (w *world) missing(m *backup.Manifest, timeline uint32, to sql.LSN) string {
	path := append(slices.Clone(w.lines[timeline]), restore.Fork{Timeline: timeline, At: to})
	at := slices.IndexFunc(path, func(f restore.Fork) bool { return f.Timeline == m.Timeline })
	if at < 0 {
		return "a way"
	}
	from := m.Start
	for _, f := range path[at:] {
		for ; from < f.At; from += segmentSize {
			if _, there := w.wal[retain.Segment{Timeline: f.Timeline, From: from, To: from + segmentSize}]; !there {
				return fmt.Sprintf("%s of timeline %d", from, f.Timeline)
			}
		}
	}
	return ""
}

// TestModel: whatever a kept backup, a running one or a moment of the window needs is
// never removed, and what nothing needs goes.
func TestModel(t *testing.T) {
	swept, segments := 0, 0
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := &world{t: t, random: rand.New(rand.NewPCG(seed, 1)), now: start, timeline: 1, lines: restore.Timelines{}, wal: map[retain.Segment]time.Time{}, missed: map[retain.Segment]bool{}}
			w.store = &memory{objects: map[string]object{}, now: func() time.Time { return w.now }}
			w.shelf = &backup.Shelf{System: "1", Stores: []backup.Store{{Store: w.store, Required: true}}}
			w.policy = retain.Policy{Window: time.Duration(w.random.IntN(20)) * day, MinFull: w.random.IntN(3), Weekly: w.random.IntN(3), Monthly: w.random.IntN(2), Grace: backup.Longest}
			for range 100 {
				w.now = w.now.Add(time.Duration(1+w.random.IntN(30)) * time.Hour)
				w.write()
				w.end()
				switch n := w.random.IntN(10); {
				case n < 4:
					w.begin()
				case n == 4:
					w.fork()
				case n < 8:
					r, err := retain.Run(t.Context(), w.shelf, w, w.policy, w.now, false)
					if err != nil {
						t.Fatal(err)
					}
					swept, segments = swept+len(r.Swept), segments+r.Segments
					w.check()
					w.checkMissed()
				}
			}
		})
	}
	if swept < 30 || segments < 30 {
		t.Errorf("only %d backups and %d segments were removed: this proves nothing", swept, segments)
	}
}

// TestRunStopsAtDamage: a manifest that cannot be read may refer to anything.
func TestRunStopsAtDamage(t *testing.T) {
	w := &world{t: t, random: rand.New(rand.NewPCG(1, 1)), now: start, timeline: 1, lines: restore.Timelines{}, wal: map[retain.Segment]time.Time{}, missed: map[retain.Segment]bool{}}
	w.store = &memory{objects: map[string]object{}, now: func() time.Time { return w.now }}
	w.shelf = &backup.Shelf{System: "1", Stores: []backup.Store{{Store: w.store, Required: true}}}
	for range 20 {
		w.begin()
		w.now = w.now.Add(4 * day)
		w.end()
	}
	before := len(w.store.objects)
	dry, err := retain.Run(t.Context(), w.shelf, w, retain.Policy{}, w.now, true)
	if err != nil || len(dry.Expired) == 0 || len(w.store.objects) != before {
		t.Fatalf("a dry run: %+v, %v", dry, err)
	}
	for key, o := range w.store.objects {
		if strings.HasSuffix(key, "/manifest") {
			w.store.objects[key] = object{o.content[:len(o.content)/2], o.at, o.version}
			break
		}
	}
	var damage *backup.DamageError
	if _, err := retain.Run(t.Context(), w.shelf, w, retain.Policy{}, w.now, false); !errors.As(err, &damage) || len(w.store.objects) != before {
		t.Errorf("got %v, and %d objects of %d", err, len(w.store.objects), before)
	}
}
