package store_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/runners/wal/store/sshtest"
	"github.com/skytools-go/skytools/runners/wal/store/storetest"
)

func open(t testing.TB, c store.Config) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, store.Config{URL: "file://" + root}) })
	noLitter(t, root)
}

// What root writes belongs to whom the store belongs.
func TestDirectoryOwner(t *testing.T) {
	t.Parallel()
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	if uid == 0 { // only root can give files away
		uid, gid = 12345, 12346
	}
	root := t.TempDir()
	if err := os.Chown(root, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	s := open(t, store.Config{URL: "file://" + root})
	if err := s.Put(t.Context(), "a/b/c", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Swap(t.Context(), "a/lease", "", strings.NewReader("y")); err != nil {
		t.Fatal(err)
	}
	seen := 0
	filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != uid || owner.Gid != gid {
			t.Errorf("%s belongs to %d:%d", path, owner.Uid, owner.Gid)
		}
		seen++
		return nil
	})
	if seen < 6 {
		t.Errorf("%d files and directories", seen)
	}
}

// noLitter looks for what writers should have removed.
func noLitter(t *testing.T, root string) {
	t.Helper()
	filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), ".new-") || err != nil {
			t.Errorf("%s is left: %v", path, err)
		}
		return nil
	})
}

// A directory that is not mounted has no objects, and must not say so: PostgreSQL would
// take it for the end of the archive.
func TestDirectoryNotMounted(t *testing.T) {
	t.Parallel()
	s := open(t, store.Config{URL: "file://" + t.TempDir() + "/missing"})
	_, get := s.Get(t.Context(), "a", 0, -1)
	_, stat := s.Stat(t.Context(), "a")
	_, swap := s.Swap(t.Context(), "a", "", strings.NewReader(""))
	var list error
	for _, list = range s.List(t.Context(), "") {
	}
	for what, err := range map[string]error{
		"get": get, "stat": stat, "list": list, "swap": swap, "put": s.Put(t.Context(), "a", strings.NewReader("")), "delete": s.Delete(t.Context(), "a"),
	} {
		var root *store.RootError
		if !errors.As(err, &root) || errors.Is(err, store.ErrNotExist) || root.Hint() == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// limit is set in a process whose files may not grow beyond it.
const limit = 64 << 10

// TestDirectoryFull runs itself in a process that cannot write large files, as on a full
// disk, and looks at what that leaves. Source: design/wal.md, R49.
func TestDirectoryFull(t *testing.T) {
	t.Parallel()
	if root := os.Getenv("STORE_TEST_ROOT"); root != "" {
		fill(t, root)
		return
	}
	root := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestDirectoryFull$")
	cmd.Env = append(os.Environ(), "STORE_TEST_ROOT="+root)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	noLitter(t, root)
	s := open(t, store.Config{URL: "file://" + root})
	if got := storetest.Keys(t, s, ""); len(got) != 1 {
		t.Errorf("there is %v", got)
	}
}

func fill(t *testing.T, root string) {
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	s := open(t, store.Config{URL: "file://" + root})
	for range 3 {
		if err := s.Put(t.Context(), "large", bytes.NewReader(make([]byte, limit+1))); !errors.Is(err, syscall.EFBIG) {
			t.Fatalf("put: %v", err)
		}
		if _, err := s.Stat(t.Context(), "large"); !errors.Is(err, store.ErrNotExist) {
			t.Fatalf("stat: %v", err)
		}
	}
	if err := s.Put(t.Context(), "fits", bytes.NewReader(make([]byte, limit))); err != nil {
		t.Fatal(err)
	}
}

// What a writer leaves that was killed is no object, and goes when it is old.
func TestDirectoryLitter(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Mkdir(root+"/a", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{".new-old": 25 * time.Hour, ".new-now": 0} {
		file := filepath.Join(root, "a", name)
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chtimes(file, time.Time{}, time.Now().Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, store.Config{URL: "file://" + root})
	if got := storetest.Keys(t, s, ""); len(got) != 0 {
		t.Errorf("listed: %v", got)
	}
	if err := s.Put(t.Context(), "a/b", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(root + "/a/.new-*")
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != ".new-now" {
		t.Errorf("left: %v, %v", left, err)
	}
	info, err := os.Stat(root + "/a/b")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v, %v", info, err)
	}
}

// A file system that goes away under a running process is not taken for an empty store.
func TestUnmounted(t *testing.T) {
	t.Parallel()
	root, remote := filepath.Join(t.TempDir(), "store"), sshtest.Start(t)
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Run("file", func(t *testing.T) { unmount(t, root, open(t, store.Config{URL: "file://" + root})) })
	t.Run("sftp", func(t *testing.T) { unmount(t, remote.Root, open(t, config(remote, remote.Address))) })
}

func unmount(t *testing.T, root string, s store.Store) {
	put := func(key string) error { return s.Put(t.Context(), key, strings.NewReader("x")) }
	if err := put("e/1/wal/a"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(root, root+".away"), os.Mkdir(root, 0o700)); err != nil {
		t.Fatal(err)
	}
	var missing *store.RootError
	for _, key := range []string{"e/1/wal/b", "e/2/wal/b", "e/1/wal/b"} {
		if err := put(key); !errors.As(err, &missing) {
			t.Errorf("put %s: %v", key, err)
		}
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("written where the store is not: %v, %v", left, err)
	}
	if err := errors.Join(os.Remove(root), os.Rename(root+".away", root)); err != nil {
		t.Fatal(err)
	}
	if err := put("e/1/wal/b"); err != nil {
		t.Errorf("it is back: %v", err)
	}
}
