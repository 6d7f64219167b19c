package restore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/sql/pg"
)

var native = binary.NativeEndian

// restoring is a restore under way.
type restoring struct {
	shelf  *backup.Shelf
	m      *backup.Manifest
	o      Options
	usable bool // what is in the directory may be used and removed

	uid, gid int // -1: leave it
	done     atomic.Int64
	written  atomic.Int64
	result   Result
}

// moved is where a tablespace goes.
func (r *restoring) moved(path string) string {
	if to, found := r.o.Tablespaces[path]; found {
		return to
	}
	return path
}

// version is the directory that a server makes in each of its tablespaces.
func (r *restoring) version() string {
	return fmt.Sprintf("PG_%d_%d", r.m.Major(), r.m.Catalog)
}

// owner finds out whose the files are going to be.
func (r *restoring) owner() error {
	r.uid, r.gid = -1, -1
	if os.Geteuid() != 0 {
		return nil
	}
	if r.o.Owner != "" {
		u, err := user.Lookup(r.o.Owner)
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		r.uid, r.gid = uid, gid
		return nil
	}
	for dir := r.o.To; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		r.uid, r.gid = int(stat.Uid), int(stat.Gid)
		return nil
	}
}

func (r *restoring) own(path string) error {
	if r.uid < 0 {
		return nil
	}
	return os.Lchown(path, r.uid, r.gid)
}

// path is where a file of the backup goes. Files of tablespaces go to these directly:
// the links are not there yet.
func (r *restoring) path(name string) string {
	if rest, is := strings.CutPrefix(name, "pg_tblspc/"); is {
		oid, below, _ := strings.Cut(rest, "/")
		for _, s := range r.m.Tablespaces {
			if strconv.FormatUint(uint64(s.OID), 10) == oid {
				return filepath.Join(r.moved(s.Path), filepath.FromSlash(below))
			}
		}
	}
	return filepath.Join(r.o.To, filepath.FromSlash(name))
}

// begin makes the directory one that no server starts on and that we know again.
func (r *restoring) begin() error {
	if err := r.mkdir(r.o.To); err != nil {
		return err
	}
	if err := os.Chmod(r.o.To, 0o700); err != nil {
		return err
	}
	if err := r.write(filepath.Join(r.o.To, mark), []byte(r.m.ID+"\n"), 0o600); err != nil {
		return err
	}
	if err := wal.SyncDir(r.o.To); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(r.o.To, control)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return wal.SyncDir(filepath.Join(r.o.To, "global"))
}

// mkdir makes a directory and what is missing above it, which is ours then, too.
func (r *restoring) mkdir(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	if err := r.mkdir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return errors.Join(r.own(dir), wal.SyncDir(filepath.Dir(dir)))
}

// directories makes all of them, and the links to tablespaces.
func (r *restoring) directories() error {
	if err := r.mkdir(filepath.Join(r.o.To, "pg_tblspc")); err != nil {
		return err
	}
	for _, s := range r.m.Tablespaces {
		dir := r.moved(s.Path)
		if err := r.mkdir(dir); err != nil {
			return err
		}
		if err := r.own(dir); err != nil {
			return err
		}
		link := filepath.Join(r.o.To, "pg_tblspc", strconv.FormatUint(uint64(s.OID), 10))
		if to, err := os.Readlink(link); err == nil && to == dir {
			continue
		}
		if err := os.RemoveAll(link); err != nil { // a link or an empty directory: the mark says that it is ours
			return err
		}
		if err := errors.Join(os.Symlink(dir, link), r.own(link)); err != nil {
			return err
		}
	}
	for i := range r.m.Files {
		if f := &r.m.Files[i]; f.Dir {
			dir := r.path(f.Path)
			if err := r.mkdir(dir); err != nil {
				return err
			}
			if err := os.Chmod(dir, 0o700); err != nil {
				return err
			}
		}
	}
	return nil
}

// clean removes what is not in the backup: it would be taken for the server's.
func (r *restoring) clean() error {
	known := map[string]bool{filepath.Join(r.o.To, mark): true}
	for i := range r.m.Files {
		for path := r.path(r.m.Files[i].Path); !known[path]; path = filepath.Dir(path) {
			known[path] = true
		}
	}
	roots := []string{r.o.To, filepath.Join(r.o.To, "pg_wal") + "/"} // pg_wal may be a link
	for _, s := range r.m.Tablespaces {
		dir := r.moved(s.Path)
		known[filepath.Join(r.o.To, "pg_tblspc", strconv.FormatUint(uint64(s.OID), 10))] = true
		roots = append(roots, filepath.Join(dir, r.version()))
	}
	known[filepath.Join(r.o.To, "pg_tblspc")] = true
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				return err
			}
			if known[filepath.Clean(path)] || path == root {
				return nil
			}
			r.result.Removed++
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// files makes every file what the backup says it is, except pg_control.
func (r *restoring) files(ctx context.Context) error {
	f := &finding{r: r, wants: map[uint32][]want{}, touched: make([]bool, len(r.m.Files))}
	if err := f.find(ctx); err != nil {
		return err
	}
	if err := r.fetch(ctx, f.wants); err != nil {
		return err
	}
	if err := r.each(ctx, func(i int, file *backup.File) error { return r.settle(file, f.touched[i]) }); err != nil {
		return err
	}
	r.result.Written, r.result.Kept = r.written.Load(), r.m.Bytes-r.written.Load()
	return nil
}

// each calls do for every file.
func (r *restoring) each(ctx context.Context, do func(int, *backup.File) error) error {
	return parallel(ctx, r.o.Workers, len(r.m.Files), func(_ context.Context, i int) error {
		if f := &r.m.Files[i]; !f.Dir && f.Path != "tablespace_map" {
			if err := do(i, f); err != nil {
				return fmt.Errorf("%s: %w", f.Path, err)
			}
		}
		return nil
	})
}

// parallel calls do for 0 to n-1, so many at a time, until one of them fails.
func parallel(parent context.Context, workers, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(workers, n) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// name is where a file is written. pg_control waits beside its place.
func (r *restoring) name(f *backup.File) string {
	if f.Path == control {
		return r.path(f.Path) + ".restored"
	}
	return r.path(f.Path)
}

func (r *restoring) progress(n int64) {
	done := r.done.Add(n)
	if r.o.Progress != nil {
		r.o.Progress(done, r.m.Bytes)
	}
}

// settle reads a file once more that was written to, checks it and makes it durable.
func (r *restoring) settle(f *backup.File, touched bool) error {
	file, err := os.Open(r.name(f))
	if err != nil {
		return err
	}
	defer file.Close()
	if touched {
		var sum pg.CRC
		if _, err := io.Copy(&sum, file); err != nil {
			return err
		}
		if sum != f.CRC {
			return errors.New("what was written is not what was backed up")
		}
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return os.Chtimes(file.Name(), f.Mtime, f.Mtime)
}

// unnamed ends the name of a small file that is being written.
const unnamed = ".new"

// write writes a small file, durable but for its name.
func (r *restoring) write(name string, content []byte, mode fs.FileMode) error {
	temp := name + unnamed
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close(), r.own(temp)); err != nil {
		return err
	}
	return os.Rename(temp, name)
}

// finish makes all names durable and lets a server start.
func (r *restoring) finish() error {
	dirs := map[string]bool{r.o.To: true, filepath.Dir(r.o.To): true, filepath.Join(r.o.To, "pg_tblspc"): true}
	for i := range r.m.Files {
		path := r.path(r.m.Files[i].Path)
		dirs[filepath.Dir(path)] = true
		if r.m.Files[i].Dir {
			dirs[path] = true
		}
	}
	for _, s := range r.m.Tablespaces {
		dirs[r.moved(s.Path)], dirs[filepath.Dir(r.moved(s.Path))] = true, true
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if err := wal.SyncDir(dir); err != nil {
			return err
		}
	}
	place := filepath.Join(r.o.To, control)
	if err := os.Rename(place+".restored", place); err != nil {
		return err
	}
	if err := wal.SyncDir(filepath.Dir(place)); err != nil {
		return err
	}
	return errors.Join(os.Remove(filepath.Join(r.o.To, mark)), wal.SyncDir(r.o.To))
}
