package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners/wal/store"
)

// An Entry is what the names in the stores say of a backup, without reading it.
type Entry struct {
	ID       ID
	Complete bool // some store has its manifest
	Packs    int
	Stored   int64     // bytes of the packs that it has written
	Touched  time.Time // when an object of it was last written, by the store's clock
	Notes    map[Note]bool
}

// List is every backup on the shelf, complete or not, the oldest first. A store that
// cannot be listed is an error: what is missing must not look as if it were not there.
func (s *Shelf) List(ctx context.Context) ([]Entry, error) {
	found := map[ID]*Entry{}
	entry := func(id ID) *Entry {
		if found[id] == nil {
			found[id] = &Entry{ID: id, Notes: map[Note]bool{}}
		}
		return found[id]
	}
	for _, from := range s.Stores {
		packs, stored := map[ID]int{}, map[ID]int64{}
		for _, kind := range []string{"pack/", "backup/"} {
			for info, err := range from.List(ctx, s.prefix()+kind) {
				if err != nil {
					return nil, err
				}
				id, name, _ := strings.Cut(strings.TrimPrefix(info.Key, s.prefix()+kind), "/")
				if ID(id).Time().IsZero() {
					continue
				}
				e := entry(ID(id))
				if info.Modified.After(e.Touched) {
					e.Touched = info.Modified
				}
				switch {
				case kind == "pack/" && !strings.HasSuffix(name, ".index"):
					packs[e.ID]++
					stored[e.ID] += info.Size
				case name == "manifest":
					e.Complete = true
				case strings.HasSuffix(name, ".json"):
					e.Notes[Note(strings.TrimSuffix(name, ".json"))] = true
				}
			}
		}
		for id, n := range packs {
			e := entry(id)
			e.Packs, e.Stored = max(e.Packs, n), max(e.Stored, stored[id])
		}
	}
	var all []Entry
	for _, id := range slices.Sorted(maps.Keys(found)) {
		all = append(all, *found[id])
	}
	return all, nil
}

// Load reads a backup's manifest from the first store that has it whole.
func (s *Shelf) Load(ctx context.Context, id ID) (m *Manifest, err error) {
	err = s.first(ctx, s.ManifestKey(id), func(from store.Store) error {
		m, err = s.LoadFrom(ctx, from, id)
		return err
	})
	return m, err
}

// LoadFrom reads a backup's manifest from one store.
func (s *Shelf) LoadFrom(ctx context.Context, from store.Store, id ID) (*Manifest, error) {
	stored, err := read(ctx, from, s.ManifestKey(id), 0, -1)
	if err != nil {
		return nil, err
	}
	m, err := Decode(bytes.NewReader(stored))
	if err != nil {
		return nil, err
	}
	if m.ID != id || m.System != s.System {
		return nil, &FormError{fmt.Errorf("the manifest is of backup %s of system %s", m.ID, m.System)}
	}
	return m, nil
}

// Write puts a note to a backup on every store, in place of the one that is there.
func (s *Shelf) Write(ctx context.Context, id ID, n Note, value any) error {
	return s.write(ctx, s.noteKey(id, n), value)
}

// Remember puts a note about all backups on every store, in place of the one that is there.
func (s *Shelf) Remember(ctx context.Context, n Note, value any) error {
	return s.write(ctx, s.prefix()+string(n)+".json", value)
}

// Recall reads a note about all backups. store.ErrNotExist when no store has it.
func (s *Shelf) Recall(ctx context.Context, n Note, value any) error {
	return s.read(ctx, s.prefix()+string(n)+".json", value)
}

func (s *Shelf) write(ctx context.Context, key string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	for _, to := range s.Stores {
		if err := swap(ctx, to, key, text); err != nil && to.Required {
			return err
		}
	}
	return nil
}

func swap(ctx context.Context, to store.Store, key string, text []byte) error {
	for {
		version := ""
		switch info, err := to.Stat(ctx, key); {
		case err == nil:
			version = info.Version
		case !errors.Is(err, store.ErrNotExist):
			return err
		}
		_, err := to.Swap(ctx, key, version, bytes.NewReader(text))
		if !errors.Is(err, store.ErrChanged) {
			return err
		}
	}
}

// Read reads a note. store.ErrNotExist when no store has it.
func (s *Shelf) Read(ctx context.Context, id ID, n Note, value any) error {
	return s.read(ctx, s.noteKey(id, n), value)
}

func (s *Shelf) read(ctx context.Context, key string, value any) error {
	for _, from := range s.Stores {
		text, err := read(ctx, from, key, 0, -1)
		if errors.Is(err, store.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(text, value)
	}
	return store.ErrNotExist
}

// Erase removes a note from every store.
func (s *Shelf) Erase(ctx context.Context, id ID, n Note) error {
	for _, from := range s.Stores {
		if err := from.Delete(ctx, s.noteKey(id, n)); err != nil {
			return err
		}
	}
	return nil
}

// RemoveManifest makes a backup none, in every store.
func (s *Shelf) RemoveManifest(ctx context.Context, id ID) error {
	for _, from := range s.Stores {
		if err := from.Delete(ctx, s.ManifestKey(id)); err != nil {
			return err
		}
	}
	return nil
}

// RemovePacks removes the packs that a backup has written, other than those to keep,
// from every store. It returns how many and of how many bytes, each counted once.
func (s *Shelf) RemovePacks(ctx context.Context, id ID, keep map[int]bool, dry bool) (packs int, bytes int64, err error) {
	seen := map[string]bool{}
	for _, from := range s.Stores {
		prefix := s.prefix() + "pack/" + string(id) + "/"
		var names []string
		for info, err := range from.List(ctx, prefix) {
			if err != nil {
				return packs, bytes, err
			}
			name, index := strings.CutSuffix(strings.TrimPrefix(info.Key, prefix), ".index")
			if n, err := strconv.Atoi(name); err != nil || keep[n] {
				continue
			}
			names = append(names, info.Key)
			if !index && !seen[info.Key] {
				seen[info.Key] = true
				packs, bytes = packs+1, bytes+info.Size
			}
		}
		if dry {
			continue
		}
		slices.Reverse(names) // an index before its pack: an index tells others that the pack is there
		for _, key := range names {
			if err := from.Delete(ctx, key); err != nil {
				return packs, bytes, err
			}
		}
	}
	return packs, bytes, nil
}

// LoadHead reads the beginning of a backup's manifest, which says when and of what it
// is, from the first store that has it. It does not check the rest.
func (s *Shelf) LoadHead(ctx context.Context, id ID) (head Head, err error) {
	err = s.first(ctx, s.ManifestKey(id), func(from store.Store) error {
		r, err := from.Get(ctx, s.ManifestKey(id), 0, -1)
		if err != nil {
			return err
		}
		defer r.Close()
		head, err = DecodeHead(r)
		if err == nil && (head.ID != id || head.System != s.System) {
			err = &FormError{fmt.Errorf("the manifest is of backup %s of system %s", head.ID, head.System)}
		}
		return err
	})
	return head, err
}
