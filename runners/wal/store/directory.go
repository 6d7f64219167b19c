package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/skytools-go/skytools/runners/wal"
)

// A directory is a store in a file system, which may be a network one as long as it
// has hard links. The root must be there: what is not mounted must not look empty.
//
// An object appears by link(2) from a temporary name beside it, after its content has
// reached the disk, and counts when its directory has, too. Names that begin with a dot
// are no objects. Source: design/wal.md, R1, R2, R4 and R54.
type directory struct {
	url, root string
	settled   sync.Map // directories below the root whose names have reached the disk
}

func openDirectory(_ context.Context, u *url.URL, _ Config) (Store, error) {
	if _, err := parameters(u); err != nil {
		return nil, err
	}
	if u.Host != "" || !path.IsAbs(u.Path) {
		return nil, errors.New("the path is not absolute: it is written file:///directory")
	}
	return &directory{url: u.String(), root: filepath.Clean(u.Path)}, nil
}

func (d *directory) Name() string { return d.url }

func (d *directory) path(key string) string { return filepath.Join(d.root, filepath.FromSlash(key)) }

func (d *directory) Put(ctx context.Context, key string, body io.ReadSeeker) error {
	return failed(d, "put", key, d.put(ctx, key, body))
}

func (d *directory) put(ctx context.Context, key string, body io.ReadSeeker) error {
	if err := checked(key); err != nil {
		return err
	}
	name := d.path(key)
	if err := d.makeParent(key); err != nil {
		return err
	}
	if _, err := os.Lstat(name); err == nil { // spares writing it; link decides all the same
		return d.taken(name)
	}
	temp, err := d.write(ctx, name, body)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	switch err := os.Link(temp, name); {
	case errors.Is(err, fs.ErrExist):
		return d.taken(name)
	case err != nil:
		return err
	}
	return wal.SyncDir(filepath.Dir(name))
}

// taken answers that an object exists, once it does so for good: whoever wrote it may
// have died between naming it and making the name durable.
func (d *directory) taken(name string) error {
	if err := wal.SyncDir(filepath.Dir(name)); err != nil {
		return err
	}
	return ErrExists
}

// write makes a durable temporary file beside name. What it leaves after an error is
// removed; a failed fsync is never tried again on the same file.
func (d *directory) write(ctx context.Context, name string, body io.ReadSeeker) (temp string, err error) {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // mode 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err = d.give(f.Name()); err != nil {
		return "", err
	}
	if _, err = io.Copy(f, contextReader{ctx, body}); err != nil {
		return "", err
	}
	if err = f.Sync(); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// give makes what root has made the root directory's owner's: a server that archives into
// the same store could not read it otherwise. Source: design/wal.md, R54.
func (d *directory) give(name string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(d.root)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return os.Lchown(name, int(owner.Uid), int(owner.Gid))
}

// makeParent makes the directories of a key and sees to it that their names last.
func (d *directory) makeParent(key string) error {
	if err := d.mounted(); err != nil {
		return err
	}
	parents := strings.Split(key, "/")
	dir, top := d.root, filepath.Join(d.root, parents[0])
	for _, name := range parents[:len(parents)-1] {
		above := dir
		dir = filepath.Join(dir, name)
		if _, done := d.settled.Load(dir); done {
			continue
		}
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			err = d.give(dir)
		}
		if errors.Is(err, fs.ErrNotExist) && gone(os.Stat(top)) {
			return &RootError{Path: top}
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := wal.SyncDir(above); err != nil {
			return err
		}
		if err := sweep(dir, time.Now().Add(-abandoned)); err != nil {
			return err
		}
		d.settled.Store(dir, nil)
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) { // somebody cleaned up
		if gone(os.Stat(top)) {
			return &RootError{Path: top}
		}
		d.settled.Clear()
		return d.makeParent(key)
	}
	return nil
}

// gone reports that a directory that was there is not. Below the root of a store that
// means that another file system was there, which must not be taken for an empty store.
func gone(_ fs.FileInfo, err error) bool { return errors.Is(err, fs.ErrNotExist) }

// abandoned is the age at which a temporary file has no writer any more.
const abandoned = 24 * time.Hour

// sweep removes what writers have left in dir that died before the given time.
func sweep(dir string, before time.Time) error {
	left, err := filepath.Glob(filepath.Join(escaped.Replace(dir), ".new-*"))
	if err != nil {
		return err
	}
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && info.ModTime().Before(before) {
			os.Remove(name) // or the next process does
		}
	}
	return nil
}

// escaped makes a path match itself as a pattern.
var escaped = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// mounted returns an error when the root is not there.
func (d *directory) mounted() error {
	info, err := os.Stat(d.root)
	return mounted(d.root, info, err)
}

// mounted returns an error when what was found at a root is not a directory.
func mounted(root string, info fs.FileInfo, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &RootError{Path: root}
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", root)
	}
	return nil
}

// A RootError says that the directory of a store is not there.
type RootError struct{ Path string }

func (e *RootError) Error() string { return fmt.Sprintf("there is no directory %s", e.Path) }

// Hint is what a person can try.
func (e *RootError) Hint() string {
	return "make the directory, or mount what should be there: it is not made on its own, so that a store that is not mounted does not look empty"
}

// absent turns the system's "no such file" into ours, if the root is there.
func (d *directory) absent(err error) error {
	if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	if err := d.mounted(); err != nil {
		return err
	}
	return ErrNotExist
}

func (d *directory) Get(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := d.get(key, offset, length)
	if err != nil {
		return nil, failed(d, "get", key, err)
	}
	return r, nil
}

func (d *directory) get(key string, offset, length int64) (io.ReadCloser, error) {
	if err := checked(key); err != nil {
		return nil, err
	}
	f, err := os.Open(d.path(key))
	if err != nil {
		return nil, d.absent(err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, ErrNotExist)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	if length < 0 {
		return f, nil
	}
	return section{io.LimitReader(f, length), f}, nil
}

func (d *directory) Stat(_ context.Context, key string) (Info, error) {
	info, err := d.stat(key)
	return info, failed(d, "stat", key, err)
}

func (d *directory) stat(key string) (Info, error) {
	if err := checked(key); err != nil {
		return Info{}, err
	}
	f, err := os.Open(d.path(key))
	if err != nil {
		return Info{}, d.absent(err)
	}
	defer f.Close()
	file, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	if !file.Mode().IsRegular() {
		return Info{}, ErrNotExist
	}
	info := Info{Key: key, Size: file.Size(), Modified: file.ModTime()}
	if info.Size <= SwapLimit {
		content, err := io.ReadAll(f)
		if err != nil {
			return Info{}, err
		}
		info.Version = versionOf(content)
	}
	return info, nil
}

// versionOf is the version of a swapped file: its hash.
func versionOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func (d *directory) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if err := d.mounted(); err != nil {
			yield(Info{}, failed(d, "list", prefix, err))
			return
		}
		dir := ""
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			dir = prefix[:i]
		}
		if dir != "" && checked(dir) != nil {
			return
		}
		tree{fs: osTree{d}, prefix: prefix, yield: func(info Info, err error) bool {
			return yield(info, failed(d, "list", prefix, err))
		}}.walk(ctx, dir)
	}
}

// osTree reads the directories of a store from the operating system.
type osTree struct{ d *directory }

func (o osTree) entries(dir string) ([]fs.FileInfo, error) {
	names, err := os.ReadDir(o.d.path(dir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, o.d.mounted()
	}
	if err != nil {
		return nil, err
	}
	var infos []fs.FileInfo
	for _, name := range names {
		switch info, err := name.Info(); {
		case errors.Is(err, fs.ErrNotExist): // deleted meanwhile
		case err != nil:
			return nil, err
		default:
			infos = append(infos, info)
		}
	}
	return infos, nil
}

func (d *directory) Delete(_ context.Context, key string) error {
	return failed(d, "delete", key, d.remove(key))
}

func (d *directory) remove(key string) error {
	if err := checked(key); err != nil {
		return err
	}
	switch err := d.absent(syscall.Unlink(d.path(key))); { // unlike os.Remove, only files
	case errors.Is(err, ErrNotExist), errors.Is(err, syscall.EISDIR):
		return nil
	case err != nil:
		return err
	}
	return wal.SyncDir(filepath.Dir(d.path(key)))
}

func (d *directory) Swap(ctx context.Context, key, version string, body io.ReadSeeker) (string, error) {
	next, err := d.swap(ctx, key, version, body)
	return next, failed(d, "swap", key, err)
}

func (d *directory) swap(ctx context.Context, key, version string, body io.ReadSeeker) (string, error) {
	if err := checked(key); err != nil {
		return "", err
	}
	content, err := small(body)
	if err != nil {
		return "", err
	}
	if err := d.makeParent(key); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, filepath.Join(d.root, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := d.give(filepath.Join(d.root, ".lock")); err != nil {
		return "", err
	}
	switch now, err := d.stat(key); {
	case errors.Is(err, ErrNotExist) && version == "":
	case errors.Is(err, ErrNotExist):
		return "", ErrChanged
	case err != nil:
		return "", err
	case now.Version != version:
		return "", ErrChanged
	}
	name := d.path(key)
	temp, err := d.write(ctx, name, body)
	if err != nil {
		return "", err
	}
	if err := os.Rename(temp, name); err != nil {
		os.Remove(temp)
		return "", err
	}
	return versionOf(content), wal.SyncDir(filepath.Dir(name))
}
