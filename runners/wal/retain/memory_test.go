package retain_test

import (
	"bytes"
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners/wal/store"
)

// memory is a store of a test, with a clock of its own.
type memory struct {
	objects map[string]object
	now     func() time.Time
}

type object struct {
	content []byte
	at      time.Time
	version int
}

func (m *memory) Name() string { return "memory" }

func (m *memory) Put(_ context.Context, key string, body io.ReadSeeker) error {
	if _, taken := m.objects[key]; taken {
		return store.ErrExists
	}
	content, err := io.ReadAll(body)
	m.objects[key] = object{content, m.now(), 1}
	return err
}

func (m *memory) Get(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	o, found := m.objects[key]
	if !found {
		return nil, store.ErrNotExist
	}
	content := o.content[min(offset, int64(len(o.content))):]
	if length >= 0 {
		content = content[:min(length, int64(len(content)))]
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

func (m *memory) Stat(_ context.Context, key string) (store.Info, error) {
	o, found := m.objects[key]
	if !found {
		return store.Info{}, store.ErrNotExist
	}
	return store.Info{Key: key, Size: int64(len(o.content)), Modified: o.at, Version: strconv.Itoa(o.version)}, nil
}

func (m *memory) List(_ context.Context, prefix string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(m.objects)) {
			if o := m.objects[key]; strings.HasPrefix(key, prefix) && !yield(store.Info{Key: key, Size: int64(len(o.content)), Modified: o.at}, nil) {
				return
			}
		}
	}
}

func (m *memory) Delete(_ context.Context, key string) error {
	delete(m.objects, key)
	return nil
}

func (m *memory) Swap(_ context.Context, key, version string, body io.ReadSeeker) (string, error) {
	o, found := m.objects[key]
	if found != (version != "") || found && strconv.Itoa(o.version) != version {
		return "", store.ErrChanged
	}
	content, err := io.ReadAll(body)
	m.objects[key] = object{content, m.now(), o.version + 1}
	return strconv.Itoa(o.version + 1), err
}
