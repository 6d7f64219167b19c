package store

import (
	"cmp"
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A tree lists the objects in directories in the order of their keys.
type tree struct {
	fs interface {
		// entries are those of a directory, relative to the root; none where there is none.
		entries(dir string) ([]fs.FileInfo, error)
	}
	prefix string
	yield  func(Info, error) bool
}

// walk yields what lies below dir, and reports whether to go on.
func (t tree) walk(ctx context.Context, dir string) bool {
	entries, err := t.fs.entries(dir)
	if err = cmp.Or(ctx.Err(), err); err != nil {
		t.yield(Info{}, err)
		return false
	}
	slices.SortFunc(entries, func(a, b fs.FileInfo) int { return cmp.Compare(sortKey(a), sortKey(b)) })
	for _, entry := range entries {
		if !t.visit(ctx, path.Join(dir, entry.Name()), entry) {
			return false
		}
	}
	return true
}

// sortKey is what the keys of an entry begin with: a directory's go on with a slash.
func sortKey(entry fs.FileInfo) string {
	if entry.IsDir() {
		return entry.Name() + "/"
	}
	return entry.Name()
}

func (t tree) visit(ctx context.Context, key string, entry fs.FileInfo) bool {
	switch {
	case strings.HasPrefix(entry.Name(), "."):
		return true
	case entry.IsDir():
		below := key + "/"
		return !strings.HasPrefix(below, t.prefix) && !strings.HasPrefix(t.prefix, below) || t.walk(ctx, key)
	case !entry.Mode().IsRegular() || !strings.HasPrefix(key, t.prefix):
		return true
	}
	return t.yield(Info{Key: key, Size: entry.Size(), Modified: entry.ModTime()}, nil)
}
