package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"

	"github.com/skytools-go/skytools/runners/wal/store"
)

// A Shelf is where the backups of one system are. It is safe for concurrent use.
//
// A store that has a manifest has all that the manifest refers to: objects go to all
// stores, the manifest last, and a store that an object did not reach gets none.
type Shelf struct {
	System     string // the system identifier
	Stores     []Store
	Recipients []string // age public keys that packs are encrypted to; none: not encrypted
	Identities []age.Identity
}

// A Store of a shelf.
type Store struct {
	store.Store
	Required bool // a backup fails when it cannot be written there
}

func (s *Shelf) prefix() string { return "e/" + s.System + "/" }

func (s *Shelf) packKey(id ID, n int) string {
	return fmt.Sprintf("%spack/%s/%05d", s.prefix(), id, n)
}

// ManifestKey is where the manifest of a backup is.
func (s *Shelf) ManifestKey(id ID) string {
	return s.prefix() + "backup/" + string(id) + "/manifest"
}

// PackKey is where a pack is.
func (s *Shelf) PackKey(p Pack) string { return s.packKey(p.Backup, p.N) }

func (s *Shelf) noteKey(id ID, n Note) string {
	return s.prefix() + "backup/" + string(id) + "/" + string(n) + ".json"
}

func (s *Shelf) recipients() ([]age.Recipient, error) {
	var all []age.Recipient
	for _, text := range s.Recipients {
		some, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("read the recipient %s: %w", text, err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// A writing puts the objects of one backup into the stores. A best-effort store that
// fails once is left out from then on.
type writing struct {
	shelf *Shelf
	mu    sync.Mutex
	left  map[string]error // by the name of a store
}

// inMemory is the content of a small object.
func inMemory(content []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(content), 0, int64(len(content)))
}

func (w *writing) put(ctx context.Context, key string, content *io.SectionReader) error {
	errs := make([]error, len(w.shelf.Stores))
	var all sync.WaitGroup
	for i, s := range w.shelf.Stores {
		if w.out(s) {
			continue
		}
		all.Go(func() { errs[i] = putSame(ctx, s, key, content) })
	}
	all.Wait()
	for i, s := range w.shelf.Stores {
		switch {
		case errs[i] == nil:
		case s.Required:
			return errs[i]
		default:
			w.leave(s, errs[i])
		}
	}
	if len(w.left) == len(w.shelf.Stores) {
		return errors.Join(errs...)
	}
	return nil
}

// whole reports that no store was left out.
func (w *writing) whole() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.left) == 0
}

func (w *writing) out(s Store) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left[s.Name()] != nil
}

func (w *writing) leave(s Store, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left == nil {
		w.left = map[string]error{}
	}
	w.left[s.Name()] = err
}

// putSame writes an object that may be there already, whole, from an attempt whose
// answer was lost.
func putSame(ctx context.Context, s store.Store, key string, content *io.SectionReader) error {
	err := s.Put(ctx, key, io.NewSectionReader(content, 0, content.Size()))
	if !errors.Is(err, store.ErrExists) {
		return err
	}
	there, readErr := read(ctx, s, key, 0, -1)
	if readErr != nil {
		return readErr
	}
	same, readErr := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
	if readErr != nil || !bytes.Equal(there, same) {
		return err
	}
	return nil
}

func read(ctx context.Context, s store.Store, key string, offset, length int64) ([]byte, error) {
	return readInto(ctx, s, key, offset, length, nil)
}

// readInto uses the room where it is large enough.
func readInto(ctx context.Context, s store.Store, key string, offset, length int64, room []byte) ([]byte, error) {
	r, err := s.Get(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	if length < 0 {
		content, err := io.ReadAll(r)
		return content, errors.Join(err, r.Close())
	}
	if int64(cap(room)) < length {
		room = make([]byte, length)
	}
	content := room[:length]
	n, err := io.ReadFull(r, content)
	if err == io.EOF || err == io.ErrUnexpectedEOF { // whoever knows how much there should be looks
		err = nil
	}
	return content[:n], errors.Join(err, r.Close())
}

// A DamageError says that an object is missing or damaged in every store.
type DamageError struct {
	Key string
	Err error // what each store answered
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("read %s: no store has it whole: %v", e.Key, e.Err)
}
func (e *DamageError) Unwrap() error { return e.Err }

// Hint is what a person can try.
func (e *DamageError) Hint() string {
	return "skytools verify says what else is damaged, and skytools verify --repair copies it from a store that has it whole"
}

// first reads from the stores in order until use accepts what one of them has.
func (s *Shelf) first(ctx context.Context, key string, use func(store.Store) error) error {
	var errs []error
	for _, store := range s.Stores {
		err := use(store)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, fmt.Errorf("%s: %w", store.Name(), err))
	}
	return &DamageError{key, errors.Join(errs...)}
}

// everywhere reports whether every required store has an object.
func (s *Shelf) everywhere(ctx context.Context, key string) (bool, error) {
	for _, one := range s.Stores {
		_, err := one.Stat(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotExist) && one.Required:
			return false, nil
		case err != nil && one.Required:
			return false, err
		}
	}
	return true, nil
}

func sameRecipients(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
