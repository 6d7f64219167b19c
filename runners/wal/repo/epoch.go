package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/store"
)

// An Identity is repo.json: it tells one repository from another, and an empty store,
// or one that is not mounted, from a repository without a file.
type Identity struct {
	Format  int       `json:"format"`
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
}

const identityKey = "repo.json"

// An Epoch is epoch.json: a cluster whose WAL the repository takes. An upgraded cluster
// has another system identifier and begins another epoch.
type Epoch struct {
	System  uint64       `json:"system,string"`
	Major   int          `json:"major"`
	Size    segment.Size `json:"segment_size"`
	Created time.Time    `json:"created"`
}

// Cluster is what the epoch's segments have in common.
func (e Epoch) Cluster() segment.Cluster {
	return segment.Cluster{System: e.System, Major: e.Major, Size: e.Size}
}

func epochKey(system uint64) string { return fmt.Sprintf("e/%d/epoch.json", system) }

// An IdentityError says that the stores of an archive do not belong together, or that
// one of them is no repository.
type IdentityError struct{ Store, Problem string }

func (e *IdentityError) Error() string { return e.Store + " " + e.Problem }

// Hint is what a person can try.
func (e *IdentityError) Hint() string {
	return "look at the URLs of the stores; apply makes a repository in a store that is empty"
}

// An EpochError says that the repository does not take the WAL of a cluster.
type EpochError struct {
	System uint64
	Store  string
}

func (e *EpochError) Error() string {
	return fmt.Sprintf("%s takes no WAL of the cluster with system identifier %d", e.Store, e.System)
}

// Hint is what a person can try.
func (e *EpochError) Hint() string {
	return "apply opens the archive for a cluster that is new or was upgraded; a copy needs an archive of its own"
}

// Init makes the stores a repository that takes the WAL of a cluster. Where they are
// one, it changes nothing. now is the time to write down.
func (r *Repo) Init(ctx context.Context, c segment.Cluster, now time.Time) error {
	if err := c.Size.Check(); err != nil {
		return err
	}
	identity, err := r.agree(ctx, now)
	if err != nil {
		return fmt.Errorf("make repository: %w", err)
	}
	epoch := Epoch{c.System, c.Major, c.Size, now.UTC().Truncate(time.Second)}
	for _, s := range r.Stores {
		if err := r.found(ctx, s, identity, epoch); err != nil {
			if !s.Required {
				r.Log.Warn("a store that is not required was left out", "store", s.Name(), "error", err)
				continue
			}
			return fmt.Errorf("make repository: %w", err)
		}
	}
	return nil
}

// agree finds the identity that stores have, or a new one.
func (r *Repo) agree(ctx context.Context, now time.Time) (Identity, error) {
	agreed := Identity{}
	for _, s := range r.Stores {
		found, err := readJSON[Identity](ctx, s, identityKey)
		switch {
		case errors.Is(err, store.ErrNotExist), err != nil && !s.Required:
		case err != nil:
			return Identity{}, err
		case agreed.ID != "" && agreed.ID != found.ID:
			return Identity{}, &IdentityError{s.Name(), "belongs to another archive than the stores before it"}
		default:
			agreed = found
		}
	}
	if agreed.ID == "" {
		agreed = Identity{format, rand.Text(), now.UTC().Truncate(time.Second)}
	}
	return agreed, nil
}

// found writes down the identity and the epoch in one store.
func (r *Repo) found(ctx context.Context, s Store, identity Identity, epoch Epoch) error {
	if err := putJSON(ctx, s, identityKey, identity); err != nil && !errors.Is(err, store.ErrExists) {
		return err
	}
	there, err := readJSON[Identity](ctx, s, identityKey) // somebody may have been quicker
	switch {
	case err != nil:
		return err
	case there.Format != format:
		return &IdentityError{s.Name(), fmt.Sprintf("has format %d, and this version knows %d", there.Format, format)}
	case there.ID != identity.ID:
		return &IdentityError{s.Name(), "belongs to another archive than the stores before it"}
	}
	if err := putJSON(ctx, s, epochKey(epoch.System), epoch); err == nil || !errors.Is(err, store.ErrExists) {
		return err
	}
	now, err := readJSON[Epoch](ctx, s, epochKey(epoch.System))
	if err != nil {
		return err
	}
	if now.Cluster() != epoch.Cluster() {
		return &IdentityError{s.Name(), fmt.Sprintf("has PostgreSQL %d with segments of %d bytes under this system identifier, not %d with %d",
			now.Major, int64(now.Size), epoch.Major, int64(epoch.Size))}
	}
	return nil
}

// Epoch is what the repository knows of a cluster: [EpochError] when a required store
// does not take its WAL. It is asked once.
func (r *Repo) Epoch(ctx context.Context, system uint64) (Epoch, error) {
	r.mu.Lock()
	known, ok := r.epochs[system]
	r.mu.Unlock()
	if ok {
		return known, nil
	}
	var epoch Epoch
	err := r.required(ctx, func(ctx context.Context, s Store) (err error) {
		epoch, err = readJSON[Epoch](ctx, s, epochKey(system))
		if errors.Is(err, store.ErrNotExist) {
			return errors.Join(&EpochError{system, s.Name()}, r.alive(ctx, s))
		}
		return err
	})
	if err != nil {
		return Epoch{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epochs[system] = epoch
	return epoch, nil
}

// Systems are the clusters whose WAL the first required store takes, by their system
// identifiers.
func (r *Repo) Systems(ctx context.Context) (systems []uint64, err error) {
	for _, s := range r.Stores {
		if !s.Required {
			continue
		}
		for info, err := range s.List(ctx, "e/") {
			if err != nil {
				return nil, err
			}
			if name, ok := strings.CutSuffix(strings.TrimPrefix(info.Key, "e/"), "/epoch.json"); ok {
				if system, err := strconv.ParseUint(name, 10, 64); err == nil {
					systems = append(systems, system)
				}
			}
		}
		return systems, nil
	}
	return nil, nil
}

// Alive returns an error when a store does not answer, or is no repository.
func (r *Repo) Alive(ctx context.Context, s Store) error { return r.alive(ctx, s) }

// alive returns an error when a store is not a repository: then it cannot say that a
// file is absent.
func (r *Repo) alive(ctx context.Context, s Store) error {
	_, err := s.Stat(ctx, identityKey)
	if errors.Is(err, store.ErrNotExist) {
		return &IdentityError{s.Name(), "is no repository: it has no " + identityKey}
	}
	return err
}

func putJSON(ctx context.Context, s Store, key string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.Put(ctx, key, bytes.NewReader(append(text, '\n')))
}

func readJSON[T any](ctx context.Context, s Store, key string) (value T, err error) {
	body, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return value, err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, store.SwapLimit)).Decode(&value); err != nil {
		return value, fmt.Errorf("read %s in %s: %w", key, s.Name(), err)
	}
	return value, nil
}
