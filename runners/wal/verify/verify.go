// Package verify reads everything an archive has in every store and compares it with
// its checksums: WAL with its headers, packs and frames with the manifests. It names the
// gaps in the WAL, and copies what one store lacks from another that has it whole.
//
// It knows what belongs together. What a healthy object is, packages repo and backup
// know.
//
// Source: design/wal.md, R16, R34 and scenario B10.
package verify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/skytools-go/skytools/runners/wal/archive"
	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/store"
)

// Options say how to verify.
type Options struct {
	Backup  backup.ID // only this one and what it refers to; empty: everything
	Deep    bool      // also decrypt, unpack and compare every frame; needs an identity where packs are encrypted
	Repair  bool      // copy what a store lacks or has damaged from one that has it whole
	Workers int       // objects at a time; 0: two

	// Lacking leaves out what every store lists, and the gaps: only what a store lacks is
	// read, from the others. Limit is how many objects that may be; 0: all.
	Lacking bool
	Limit   int

	Only string // the store that Repair may write to; empty: any

	// Policy and Now say which WAL has to be there: what they let retention remove is no
	// gap. See [retain.Decide].
	Policy retain.Policy
	Now    time.Time

	// Progress is called as objects are done, from several goroutines.
	Progress func(done, total int)
}

// What can be wrong with an object.
const (
	Missing    = "missing"
	Damaged    = "damaged"
	Unreadable = "unreadable" // the store did not answer: nobody knows
)

// A Problem is an object that a store does not have as it should.
type Problem struct {
	Store    string `json:"store"`
	Key      string `json:"key"`
	What     string `json:"what"`
	Text     string `json:"text,omitempty"`
	Repaired bool   `json:"repaired,omitempty"`
}

// A Report is what was found.
type Report struct {
	Backups  int       `json:"backups"`
	Objects  int       `json:"objects"`
	Problems []Problem `json:"problems,omitempty"` // by key and store
	Gaps     []string  `json:"gaps,omitempty"`     // WAL that is needed and that no store has
	Lost     []string  `json:"lost,omitempty"`     // the same, but acknowledged: see [repo.Loss]

	Left int `json:"left,omitempty"` // objects that a store lacks and that Limit has left out

	// BadPages were damaged on the server already: what is stored is what there was.
	BadPages map[backup.ID][]string `json:"bad_pages,omitempty"`
}

// OK reports whether nothing is wrong any more.
func (r Report) OK() bool {
	return len(r.Gaps) == 0 && !slices.ContainsFunc(r.Problems, func(p Problem) bool { return !p.Repaired })
}

// Run verifies an archive. That something is wrong with it is no error.
func Run(ctx context.Context, a *archive.Archive, o Options) (Report, error) {
	v := &verifying{a: a, shelf: a.Shelf(), o: o, spoilt: map[string]bool{}}
	if v.o.Workers <= 0 {
		v.o.Workers = 2
	}
	if v.o.Now.IsZero() {
		v.o.Now = time.Now()
	}
	if err := v.all(ctx); err != nil {
		return v.report, fmt.Errorf("verify the archive: %w", err)
	}
	slices.SortFunc(v.report.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Store, b.Store))
	})
	return v.report, nil
}

// An item is an object, and how to tell whether a store has it whole.
type item struct {
	key   string
	check func(ctx context.Context, s store.Store) error
	needs []item // of a manifest: it is not copied to a store that lacks one of these
}

type verifying struct {
	a     *archive.Archive
	shelf *backup.Shelf
	o     Options

	alive  []retain.Backup
	mu     sync.Mutex
	report Report
	spoilt map[string]bool // store and key of what is still wrong
	done   int
	total  int
}

func (v *verifying) all(ctx context.Context) error {
	packs, manifests, err := v.backups(ctx)
	if err != nil {
		return err
	}
	var wal []item
	if v.o.Backup == "" {
		if wal, err = v.wal(ctx); err != nil {
			return err
		}
	}
	if v.o.Lacking {
		if wal, packs, manifests, err = v.lacking(ctx, wal, packs, manifests); err != nil {
			return err
		}
	}
	v.total = len(wal) + len(packs) + len(manifests)
	for _, items := range [][]item{wal, packs, manifests} { // manifests last: a store that has one has all of it
		if err := v.each(ctx, items); err != nil {
			return err
		}
	}
	v.report.Objects, v.report.Backups = v.total, len(manifests)
	return nil
}

// wal lists the files of all stores and their gaps.
func (v *verifying) wal(ctx context.Context) ([]item, error) {
	known := map[string]segment.Name{}
	for _, s := range v.a.Repo.Stores {
		for f, err := range repo.Files(ctx, s, v.a.System) {
			if err != nil {
				return nil, err
			}
			known[f.Key] = f.Name
		}
	}
	var items []item
	var names []segment.Name
	for key, n := range known {
		names = append(names, n)
		items = append(items, item{key: key, check: func(ctx context.Context, s store.Store) error {
			_, err := v.a.Repo.Check(ctx, repo.Store{Store: s}, key)
			return err
		}})
	}
	if v.o.Lacking {
		return items, nil
	}
	return items, v.gaps(ctx, names)
}

// gaps names the stretches of WAL that a backup or the window needs.
func (v *verifying) gaps(ctx context.Context, names []segment.Name) error {
	lineages, err := v.a.Lineages(ctx)
	var damage *repo.DamageError
	if err != nil && !errors.As(err, &damage) && !errors.Is(err, repo.ErrNoIdentity) { // what is damaged is among the items
		return err
	}
	needed := retain.Decide(v.alive, archive.Timelines(lineages), v.o.Policy, v.o.Now)
	for _, b := range v.alive {
		needed.Also(b)
	}
	losses, err := v.a.Repo.Losses(ctx, v.a.System)
	if err != nil {
		return err
	}
	missed, err := v.a.Repo.Misses(ctx, v.a.System)
	if err != nil {
		return err
	}
	for _, g := range repo.Gaps(v.a.Size, names, lineages, missed) {
		switch loss := losses.Of(g); {
		case !needed.Needs(g.First.Timeline, v.a.Size.Start(g.First), v.a.Size.End(g.Last)):
		case loss != nil:
			v.report.Lost = append(v.report.Lost, fmt.Sprintf("%s: acknowledged, because %s", g, loss.Because))
		default:
			v.report.Gaps = append(v.report.Gaps, g.String())
		}
	}
	return nil
}

// backups lists the packs of all backups, and the manifests.
func (v *verifying) backups(ctx context.Context) (packs, manifests []item, err error) {
	entries, err := v.shelf.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	known := map[backup.Pack]*item{}
	frames := map[backup.Pack]map[backup.Frame]bool{}
	for _, e := range entries {
		if !e.Complete || v.o.Backup != "" && e.ID != v.o.Backup {
			continue
		}
		manifest := item{key: v.shelf.ManifestKey(e.ID), check: func(ctx context.Context, s store.Store) error {
			_, err := v.shelf.LoadFrom(ctx, s, e.ID)
			return damaged(err)
		}}
		m, err := v.shelf.Load(ctx, e.ID)
		var damage *backup.DamageError
		if err != nil && !errors.As(err, &damage) {
			return nil, nil, err
		}
		if err == nil {
			if v.o.Deep && len(m.Recipients) > 0 && len(v.shelf.Identities) == 0 {
				return nil, nil, fmt.Errorf("backup %s is encrypted, and to unpack its frames an identity is needed", m.ID)
			}
			for _, p := range m.Packs {
				if known[p] == nil {
					known[p], frames[p] = v.pack(p, frames), map[backup.Frame]bool{}
				}
				manifest.needs = append(manifest.needs, *known[p])
			}
			if len(m.BadPages) > 0 {
				if v.report.BadPages == nil {
					v.report.BadPages = map[backup.ID][]string{}
				}
				v.report.BadPages[m.ID] = m.BadPages
			}
			v.alive = append(v.alive, retain.Backup{ID: m.ID, Timeline: m.Timeline, Start: m.Start, Stop: m.Stop, Ended: m.Ended, Full: m.Full()})
			if v.o.Deep {
				collect(m, frames)
			}
		}
		manifests = append(manifests, manifest)
	}
	for _, p := range known {
		packs = append(packs, *p)
	}
	if v.o.Backup != "" && len(manifests) == 0 {
		return nil, nil, fmt.Errorf("there is no backup %s", v.o.Backup)
	}
	return packs, manifests, nil
}

// collect notes which frames of each pack a backup refers to.
func collect(m *backup.Manifest, frames map[backup.Pack]map[backup.Frame]bool) {
	for i := range m.Files {
		for _, f := range m.Files[i].Frames {
			p := m.Packs[f.Pack]
			f.Pack = 0
			frames[p][f] = true
		}
	}
}

// pack compares the object with its digest, which needs no key, and if it is to go deep
// every frame.
func (v *verifying) pack(p backup.Pack, frames map[backup.Pack]map[backup.Frame]bool) *item {
	return &item{key: v.shelf.PackKey(p), check: func(ctx context.Context, s store.Store) error {
		content, err := read(ctx, s, v.shelf.PackKey(p))
		if err != nil {
			return err
		}
		if int64(len(content)) != p.Size || sha256.Sum256(content) != p.Digest {
			return &broken{errors.New("its SHA-256 is not that of the manifest")}
		}
		if !v.o.Deep {
			return nil
		}
		alone := &backup.Shelf{System: v.shelf.System, Stores: []backup.Store{{Store: s}}, Identities: v.shelf.Identities}
		for f := range frames[p] {
			err := alone.ReadPack(ctx, p, backup.Extent{Offset: int64(f.Offset), Length: int64(f.Length)}, func(stored []byte) error {
				_, err := f.Unpack(stored, nil)
				return err
			})
			if err != nil {
				return &broken{err}
			}
		}
		return nil
	}}
}

// broken marks what was read and is wrong, unlike what could not be read.
type broken struct{ error }

func (b *broken) Unwrap() error { return b.error }

// damaged tells a manifest that cannot be read from one that is wrong.
func damaged(err error) error {
	var manifest *backup.FormError
	if errors.As(err, &manifest) {
		return &broken{err}
	}
	return err
}

func read(ctx context.Context, s store.Store, key string) ([]byte, error) {
	r, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// each looks at items, several at a time.
func (v *verifying) each(ctx context.Context, items []item) error {
	next := make(chan item)
	var all sync.WaitGroup
	for range v.o.Workers {
		all.Go(func() {
			for i := range next {
				v.one(ctx, i)
			}
		})
	}
	for _, i := range items {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	all.Wait()
	return ctx.Err()
}

// one looks at an object in every store, and repairs it where it can.
func (v *verifying) one(ctx context.Context, i item) {
	var good store.Store
	var problems []Problem
	var where []store.Store
	for _, s := range v.shelf.Stores {
		err := i.check(ctx, s)
		if err == nil {
			good = s
			continue
		}
		problems, where = append(problems, Problem{Store: s.Name(), Key: i.key, What: kind(err), Text: err.Error()}), append(where, s)
	}
	if v.o.Repair && good != nil && ctx.Err() == nil {
		for n := range problems {
			if problems[n].What == Unreadable || v.o.Only != "" && v.o.Only != where[n].Name() || v.lacks(where[n], i.needs) {
				continue
			}
			if err := repair(ctx, good, where[n], i, problems[n].What); err != nil {
				problems[n].Text += "; repair: " + err.Error()
				continue
			}
			problems[n].Repaired = true
		}
	}
	v.note(problems)
}

func (v *verifying) note(problems []Problem) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Problems = append(v.report.Problems, problems...)
	for _, p := range problems {
		if !p.Repaired {
			v.spoilt[p.Store+" "+p.Key] = true
		}
	}
	v.done++
	if v.o.Progress != nil {
		v.o.Progress(v.done, v.total)
	}
}

// lacks reports whether a store still lacks one of these.
func (v *verifying) lacks(s store.Store, needs []item) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(needs, func(i item) bool { return v.spoilt[s.Name()+" "+i.key] })
}

func kind(err error) string {
	var wrong *broken
	var damage *repo.DamageError
	switch {
	case errors.Is(err, store.ErrNotExist):
		return Missing
	case errors.As(err, &wrong), errors.As(err, &damage):
		return Damaged
	}
	return Unreadable
}

// repair copies an object. A damaged one is removed first: objects are never
// overwritten. What was copied is checked as the original was.
func repair(ctx context.Context, from, to store.Store, i item, what string) error {
	content, err := read(ctx, from, i.key)
	if err != nil {
		return err
	}
	if what == Damaged {
		if i.check(ctx, to) == nil { // it was the reading that went wrong
			return nil
		}
		if err := to.Delete(ctx, i.key); err != nil {
			return err
		}
	}
	if err := to.Put(ctx, i.key, bytes.NewReader(content)); err != nil {
		return err
	}
	return i.check(ctx, to)
}
