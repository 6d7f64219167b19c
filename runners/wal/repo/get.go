package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/sql"
)

// A DamageError says that a store has an object that cannot be what was put there.
type DamageError struct {
	Store, Key string
	Err        error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s in %s is damaged: %v", e.Key, e.Store, e.Err)
}
func (e *DamageError) Unwrap() error { return e.Err }

// Get writes a file of a cluster to path, from the first store that has it whole. path
// appears at once and complete; it is not synced, as PostgreSQL asks again for what it
// loses in a crash.
func (r *Repo) Get(ctx context.Context, system uint64, n segment.Name, path string) error {
	if n.Kind == segment.Partial {
		return fmt.Errorf("get %s: %w", n, ErrAbsent) // PostgreSQL never asks for one
	}
	if err := r.fetch(ctx, system, n, path, func(context.Context, Store) (string, error) { return key(system, n), nil }); err != nil {
		return fmt.Errorf("get %s: %w", n, err)
	}
	return nil
}

// GetPartial writes the longest of what partial copies there are of a segment, if no
// store has the whole one, or a later one of the timeline. It is filled with zeros, so
// recovery stops where it ends. Nobody who is going to follow the timeline further may
// be given it.
func (r *Repo) GetPartial(ctx context.Context, system uint64, n segment.Name, path string) error {
	epoch, err := r.Epoch(ctx, system)
	if err != nil {
		return fmt.Errorf("get %s.partial: %w", n, err)
	}
	err = r.fetch(ctx, system, n, path, func(ctx context.Context, s Store) (string, error) {
		if there, err := r.later(ctx, s, epoch, n); err != nil || there {
			return "", errors.Join(err, store.ErrNotExist)
		}
		return longest(ctx, s, partials(system, n))
	})
	if err != nil {
		return fmt.Errorf("get %s.partial: %w", n, err)
	}
	return nil
}

// later reports whether a store has the segment or the next one: then a partial copy is
// not the tip of the timeline.
func (r *Repo) later(ctx context.Context, s Store, epoch Epoch, n segment.Name) (bool, error) {
	for _, each := range []segment.Name{n.Of(), epoch.Size.Next(n)} {
		switch _, err := s.Stat(ctx, key(epoch.System, each)); {
		case err == nil:
			return true, nil
		case !errors.Is(err, store.ErrNotExist):
			return false, err
		}
	}
	return false, nil
}

// longest is the partial copy with the highest position: names sort by it.
func longest(ctx context.Context, s Store, prefix string) (key string, err error) {
	for info, err := range s.List(ctx, prefix) {
		if err != nil {
			return "", err
		}
		key = info.Key
	}
	if key == "" {
		return "", store.ErrNotExist
	}
	return key, nil
}

// fetch asks one store after the other. What a store says does not exist is absent only
// if the store is a repository at all; what is damaged in one may be whole in another.
func (r *Repo) fetch(ctx context.Context, system uint64, n segment.Name, path string, where func(context.Context, Store) (string, error)) error {
	var unknown []error
	for _, s := range r.Stores {
		key, err := where(ctx, s)
		if err == nil {
			err = r.fetchOne(ctx, s, key, system, n, path)
		}
		if err == nil {
			for _, before := range unknown {
				r.Log.Error("another store had to help", "file", n.String(), "store", s.Name(), "error", before)
			}
			return nil
		}
		if errors.Is(err, store.ErrNotExist) {
			err = r.alive(ctx, s)
		}
		if err != nil {
			unknown = append(unknown, err)
		}
	}
	if len(unknown) > 0 {
		return errors.Join(unknown...)
	}
	return ErrAbsent
}

func (r *Repo) fetchOne(ctx context.Context, s Store, key string, system uint64, n segment.Name, path string) (err error) {
	body, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	temp, err := os.CreateTemp(filepath.Dir(path), ".skytools-get-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			temp.Close()
			os.Remove(temp.Name())
		}
	}()
	h, err := open(body, temp, r.Identities, false)
	if err == nil {
		err = matches(h, system, n)
	}
	switch {
	case errors.Is(err, ErrNoIdentity):
		return fmt.Errorf("get %s in %s: %w", key, s.Name(), err)
	case err != nil:
		return &DamageError{s.Name(), key, err}
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// matches checks that an object is the one whose key it has.
func matches(h Header, system uint64, n segment.Name) error {
	name, err := segment.Parse(h.Name)
	if err == nil && name.Kind == segment.Partial {
		name = name.Of()
	}
	if err != nil || name != n || h.System != system {
		return fmt.Errorf("it is %s of cluster %d, not %s of %d", h.Name, h.System, n, system)
	}
	return nil
}

// Text is the content of a history or a backup label.
func (r *Repo) Text(ctx context.Context, system uint64, n segment.Name) ([]byte, error) {
	dir, err := os.MkdirTemp("", "skytools-wal-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, n.String())
	if err := r.Get(ctx, system, n, path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// Has reports whether every required store has a file. It does not look inside.
func (r *Repo) Has(ctx context.Context, system uint64, n segment.Name) (bool, error) {
	err := r.required(ctx, func(ctx context.Context, s Store) error {
		_, err := s.Stat(ctx, key(system, n))
		if errors.Is(err, store.ErrNotExist) {
			return errors.Join(r.alive(ctx, s), ErrAbsent)
		}
		return err
	})
	var identity *IdentityError
	if errors.Is(err, ErrAbsent) && !errors.As(err, &identity) {
		return false, nil
	}
	return err == nil, err
}

// Wait returns when every required store has all WAL of a timeline from one position up
// to another, which it does not include, or with the error of ctx, or when some of it was
// left out of the archive. Errors of stores are waited out; the last of them is part of
// the error.
func (r *Repo) Wait(ctx context.Context, system uint64, timeline uint32, from, to sql.LSN) error {
	epoch, err := r.Epoch(ctx, system)
	if err != nil {
		return err
	}
	last := epoch.Size.Before(timeline, to)
	for n := epoch.Size.At(timeline, from); epoch.Size.Start(n) <= epoch.Size.Start(last); n = epoch.Size.Next(n) {
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
			there, err := r.Has(ctx, system, n)
			if there {
				break
			}
			if err == nil && wait == 2*time.Second {
				if err := r.dropped(ctx, system, n); err != nil {
					return fmt.Errorf("wait for %s: %w", n, err)
				}
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for %s: %w", n, errors.Join(ctx.Err(), err))
			case <-time.After(wait):
			}
		}
	}
	return nil
}

// Check reads an object of a store and compares it with its header and its key. Without identities,
// only what is stored of an encrypted one is compared.
func (r *Repo) Check(ctx context.Context, s Store, key string) (Header, error) {
	body, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return Header{}, err
	}
	defer body.Close()
	h, err := open(body, io.Discard, r.Identities, true)
	if errors.Is(err, ErrNoIdentity) {
		err = stored(body, h)
	}
	if err == nil {
		err = placed(h, key)
	}
	if err != nil {
		return h, &DamageError{s.Name(), key, err}
	}
	return h, nil
}

// placed checks that a header belongs under a key. Nothing else covers the name and the
// cluster in it.
func placed(h Header, at string) error {
	n, err := segment.Parse(h.Name)
	if err != nil {
		return err
	}
	here := at == key(h.System, n)
	if n.Kind == segment.Partial {
		here = strings.HasPrefix(at, partials(h.System, n)) && strings.HasSuffix(at, fmt.Sprintf("-%.16s.partial", h.SHA256))
	}
	if !here {
		return fmt.Errorf("its header says that it is %s of cluster %d", h.Name, h.System)
	}
	return nil
}
