package restore_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// TestDiskFull: a restore that has no room says where and what to try, no server starts
// there, the store is as it was, and where there is room the same restore goes on.
func TestDiskFull(t *testing.T) {
	if limit := os.Getenv("RESTORE_TEST_LIMIT"); limit != "" {
		limited(t, limit)
		return
	}
	c := backuptest.Start(t)
	c.Fill("large", 12)
	store := backuptest.Dir(t, "store")
	shelf := c.Shelf(store)
	c.Take(shelf, c.Options())
	before := digests(t, store)
	// unable requires that a restore there has failed as it should.
	unable := func(to, text, hint string) {
		t.Helper()
		if !strings.Contains(text, to+"/") || !strings.Contains(hint, "MB") || !strings.Contains(hint, "make room") {
			t.Errorf("it says %q, and to try: %s", text, hint)
		}
		if _, err := os.Stat(filepath.Join(to, "global", "pg_control")); !errors.Is(err, fs.ErrNotExist) {
			t.Error("a server would start")
		}
		if diff := cmp.Diff(before, digests(t, store)); diff != "" {
			t.Errorf("the store (-before +after):\n%s", diff)
		}
	}
	whole := func(t *testing.T, to string) {
		t.Helper()
		into(t, c, shelf, restore.Target{}, restore.Options{To: to})
		r := c.For(t).At(start(t, to))
		r.Recovered()
		if n := backuptest.One[int64](r, "select count(*) from large"); n != 12*6200 {
			t.Errorf("large has %d rows", n)
		}
	}

	t.Run("a small disk", func(t *testing.T) {
		disk := backuptest.Dir(t, "small")
		resize := mounted(t, disk)
		to := filepath.Join(disk, "data")
		fails := func() {
			t.Helper()
			_, err := tryRestore(t, c, shelf, restore.Options{To: to})
			var full *restore.FullError
			if !errors.As(err, &full) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("got %v", err)
			}
			unable(to, err.Error(), full.Hint())
		}
		filler := filepath.Join(disk, "filler")
		if err := os.WriteFile(filler, make([]byte, 64<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("the disk is not small: %v", err)
		}
		fails() // not even the mark has room
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		fails()
		fails()
		resize("300m")
		whole(t, to)
	})

	t.Run("a limit of the process", func(t *testing.T) {
		to := filepath.Join(backuptest.Dir(t, "limited"), "data")
		for _, limit := range []string{"1", "4194304"} { // not even the mark has room; no large file has
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiskFull$")
			cmd.Env = append(os.Environ(), "RESTORE_TEST_LIMIT="+limit, "RESTORE_TEST_TO="+to, "RESTORE_TEST_STORE="+store, "RESTORE_TEST_WAL="+c.WAL, "RESTORE_TEST_SYSTEM="+c.System)
			out, err := cmd.CombinedOutput()
			text, hint, found := strings.Cut(string(out), "HINT: ")
			if err != nil || !found {
				t.Fatalf("%v: %s", err, out)
			}
			unable(to, text, hint)
		}
		whole(t, to)
	})
}

// mounted makes a directory a disk of 20 MB, where that is allowed. It returns how to
// change its size.
func mounted(t *testing.T, dir string) (resize func(size string)) {
	t.Helper()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=20m", "skytools-test", dir).CombinedOutput(); err != nil {
		t.Skipf("this test may not mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	})
	if err := sandbox.Give(dir); err != nil {
		t.Fatal(err)
	}
	return func(size string) {
		t.Helper()
		if out, err := exec.Command("mount", "-o", "remount,size="+size, dir).CombinedOutput(); err != nil {
			t.Fatalf("remount: %v: %s", err, out)
		}
	}
}

// limited restores in a process that may write no larger file, and prints the error.
func limited(t *testing.T, limit string) {
	signal.Ignore(syscall.SIGXFSZ)
	var bytes uint64
	fmt.Sscan(limit, &bytes)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: bytes}); err != nil {
		t.Fatal(err)
	}
	c := (&backuptest.Cluster{WAL: os.Getenv("RESTORE_TEST_WAL"), System: os.Getenv("RESTORE_TEST_SYSTEM")}).For(t)
	_, err := tryRestore(t, c, c.Shelf(os.Getenv("RESTORE_TEST_STORE")), restore.Options{To: os.Getenv("RESTORE_TEST_TO")})
	var full *restore.FullError
	if !errors.As(err, &full) {
		t.Fatalf("got %v", err)
	}
	fmt.Println(err, "HINT: ", full.Hint())
}

// digests are those of all files below a directory.
func digests(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		all[path] = fmt.Sprintf("%x", sha256.Sum256(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
