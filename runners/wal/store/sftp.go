package store

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
)

// A remote is a store on an SFTP server. The root must be there, as with a [directory],
// and so must OpenSSH's extensions for hard links and fsync: without them nobody could
// say who was first, or that an object survives a power failure. Directories are synced
// through a handle, which OpenSSH allows.
//
// SFTP has no locks, so a swapped object is a file per [generation].
type remote struct {
	url, root string
	link      *link
	settled   sync.Map // as in directory
}

func openSFTP(_ context.Context, u *url.URL, c Config) (Store, error) {
	p, err := parameters(u, "known_hosts")
	if err != nil {
		return nil, err
	}
	if u.User.Username() == "" || u.Hostname() == "" || !path.IsAbs(u.Path) || path.Clean(u.Path) == "/" {
		return nil, errors.New("it is written sftp://user@host:port/directory")
	}
	l, err := newLink(u.User.Username(), u.Hostname(), cmp.Or(u.Port(), "22"), p["known_hosts"], c)
	if err != nil {
		return nil, err
	}
	return &remote{url: u.String(), root: path.Clean(u.Path), link: l}, nil
}

func (s *remote) Name() string { return s.url }

func (s *remote) path(key string) string { return path.Join(s.root, key) }

func (s *remote) Put(ctx context.Context, key string, body io.ReadSeeker) error {
	return failed(s, "put", key, s.try(ctx, key, func(c *sftp.Client) error { return s.put(ctx, c, key, body) }))
}

// try checks the key and does something with a connection.
func (s *remote) try(ctx context.Context, key string, do func(*sftp.Client) error) error {
	if err := checked(key); err != nil {
		return err
	}
	return s.link.do(ctx, do)
}

func (s *remote) put(ctx context.Context, c *sftp.Client, key string, body io.ReadSeeker) error {
	name := s.path(key)
	if err := s.makeParent(c, key); err != nil {
		return err
	}
	if _, err := c.Lstat(name); err == nil {
		return s.taken(c, name)
	}
	return s.create(ctx, c, name, body)
}

// create writes a file that must not exist, durably, or returns [ErrExists].
func (s *remote) create(ctx context.Context, c *sftp.Client, name string, body io.ReadSeeker) error {
	temp, err := s.write(ctx, c, path.Dir(name), body)
	if err != nil {
		return err
	}
	defer c.Remove(temp)
	if err := c.Link(temp, name); err != nil {
		if _, there := c.Lstat(name); there == nil { // the protocol has no code for it
			return s.taken(c, name)
		}
		return err
	}
	return syncRemote(c, path.Dir(name))
}

// taken answers that an object exists, once it does so for good.
func (s *remote) taken(c *sftp.Client, name string) error {
	if err := syncRemote(c, path.Dir(name)); err != nil {
		return err
	}
	return ErrExists
}

// write makes a durable temporary file in dir.
func (s *remote) write(ctx context.Context, c *sftp.Client, dir string, body io.ReadSeeker) (temp string, err error) {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	temp = path.Join(dir, ".new-"+rand.Text())
	f, err := c.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			f.Close()
			c.Remove(temp)
		}
	}()
	if err = f.Chmod(0o600); err != nil {
		return "", err
	}
	if _, err = f.ReadFromWithConcurrency(contextReader{ctx, body}, 0); err != nil {
		return "", err
	}
	if err = f.Sync(); err != nil {
		return "", err
	}
	return temp, f.Close()
}

// syncRemote makes the names in a directory durable.
func syncRemote(c *sftp.Client, dir string) error {
	f, err := c.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// makeParent makes the directories of a key and sees to it that their names last.
func (s *remote) makeParent(c *sftp.Client, key string) error {
	parents := strings.Split(key, "/")
	dir, top := s.root, path.Join(s.root, parents[0])
	if err := s.mounted(c); err != nil {
		return err
	}
	for _, name := range parents[:len(parents)-1] {
		above := dir
		dir = path.Join(dir, name)
		if _, done := s.settled.Load(dir); done {
			continue
		}
		if err := c.Mkdir(dir); err == nil {
			if err := c.Chmod(dir, 0o700); err != nil {
				return err
			}
		} else if _, there := c.Stat(dir); there != nil {
			if errors.Is(there, fs.ErrNotExist) && dir != top && gone(c.Stat(top)) {
				return &RootError{Path: top}
			}
			return err
		}
		if err := syncRemote(c, above); err != nil {
			return err
		}
		s.settled.Store(dir, nil)
	}
	if gone(c.Stat(dir)) {
		if gone(c.Stat(top)) {
			return &RootError{Path: top}
		}
		s.settled.Clear()
		return s.makeParent(c, key)
	}
	return nil
}

// mounted returns an error when the root is not there.
func (s *remote) mounted(c *sftp.Client) error {
	info, err := c.Stat(s.root)
	return mounted(s.root, info, err)
}

// absent turns the server's "no such file" into ours, if the root is there.
func (s *remote) absent(c *sftp.Client, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.mounted(c); err != nil {
		return err
	}
	return ErrNotExist
}

// find opens the file of an object, and says which generation it is, 0 if it was put.
func (s *remote) find(c *sftp.Client, key string) (f *sftp.File, info fs.FileInfo, n generation, err error) {
	for try := 1; ; try++ {
		f, err = c.Open(s.path(key))
		if errors.Is(err, fs.ErrNotExist) {
			if n, err = s.newest(c, key); n > 0 {
				f, err = c.Open(s.path(n.key(key)))
			} else if err == nil {
				err = fs.ErrNotExist
			}
		}
		if n == 0 || !errors.Is(err, fs.ErrNotExist) || try == tries { // else a newer one has just replaced it
			break
		}
	}
	if err != nil {
		return nil, nil, 0, s.absent(c, err)
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, nil, 0, err
	}
	return f, info, n, nil
}

func (s *remote) Get(ctx context.Context, key string, offset, length int64) (r io.ReadCloser, err error) {
	err = s.try(ctx, key, func(c *sftp.Client) error {
		f, _, _, err := s.find(c, key)
		if err != nil {
			return err
		}
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			f.Close()
			return err
		}
		body := io.Reader(contextReader{ctx, f})
		if length >= 0 {
			body = io.LimitReader(body, length)
		}
		// Large reads go out as several requests at a time.
		r = section{bufio.NewReaderSize(body, readAhead), s.link.held(f)}
		return nil
	})
	if err != nil {
		return nil, failed(s, "get", key, err)
	}
	return r, nil
}

const readAhead = 1 << 20

func (s *remote) Stat(ctx context.Context, key string) (info Info, err error) {
	err = s.try(ctx, key, func(c *sftp.Client) error {
		info, err = s.stat(c, key)
		return err
	})
	return info, failed(s, "stat", key, err)
}

func (s *remote) stat(c *sftp.Client, key string) (Info, error) {
	f, file, n, err := s.find(c, key)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	info := Info{Key: key, Size: file.Size(), Modified: file.ModTime()}
	if n > 0 {
		content, err := io.ReadAll(f)
		if err != nil {
			return Info{}, err
		}
		info.Version = n.version(content)
	}
	return info, nil
}

func (s *remote) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		dir := ""
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			dir = prefix[:i]
		}
		if dir != "" && checked(dir) != nil {
			return
		}
		if err := s.link.do(ctx, s.mounted); err != nil {
			yield(Info{}, failed(s, "list", prefix, err))
			return
		}
		tree{fs: remoteTree{ctx, s}, prefix: prefix, yield: func(info Info, err error) bool {
			return yield(info, failed(s, "list", prefix, err))
		}}.walk(ctx, dir)
	}
}

// remoteTree reads the directories of a store from an SFTP server.
type remoteTree struct {
	ctx context.Context
	s   *remote
}

func (t remoteTree) entries(dir string) (infos []fs.FileInfo, err error) {
	err = t.s.link.do(t.ctx, func(c *sftp.Client) error {
		infos, err = c.ReadDirContext(t.ctx, t.s.path(dir))
		if err = t.s.absent(c, err); errors.Is(err, ErrNotExist) {
			return nil
		}
		return err
	})
	return withoutGenerations(infos), err
}

func (s *remote) Delete(ctx context.Context, key string) error {
	return failed(s, "delete", key, s.try(ctx, key, func(c *sftp.Client) error { return s.remove(c, key) }))
}

func (s *remote) remove(c *sftp.Client, key string) error {
	switch info, err := c.Lstat(s.path(key)); {
	case errors.Is(err, fs.ErrNotExist):
		if err := s.forgetAll(c, key); err != nil {
			return err
		}
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return nil
	default:
		if err := c.Remove(s.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err := s.absent(c, syncRemote(c, path.Dir(s.path(key))))
	if errors.Is(err, ErrNotExist) { // nor is its directory
		return nil
	}
	return err
}

func (s *remote) Swap(ctx context.Context, key, version string, body io.ReadSeeker) (next string, err error) {
	err = s.try(ctx, key, func(c *sftp.Client) error {
		next, err = s.swap(ctx, c, key, version, body)
		return err
	})
	return next, failed(s, "swap", key, err)
}

func (s *remote) swap(ctx context.Context, c *sftp.Client, key, version string, body io.ReadSeeker) (string, error) {
	content, err := small(body)
	if err != nil {
		return "", err
	}
	if err := s.makeParent(c, key); err != nil {
		return "", err
	}
	looked := time.Now()
	now, err := s.stat(c, key)
	if err != nil && !errors.Is(err, ErrNotExist) {
		return "", err
	}
	if now.Version != version {
		return "", ErrChanged
	}
	next := generationOf(version) + 1
	if err := s.create(ctx, c, s.path(next.key(key)), body); err != nil {
		if errors.Is(err, ErrExists) {
			err = ErrChanged
		}
		return "", err
	}
	if time.Since(looked) > prompt {
		switch newest, err := s.newest(c, key); {
		case err != nil:
			return "", err
		case newest > next:
			return "", cmp.Or(s.forget(c, key, made{generation: next}), ErrChanged)
		}
	}
	return next.version(content), s.forgetOld(c, key)
}
