// Package archivetest gives tests an archive with the WAL of a cluster.
package archivetest

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/skytools-go/skytools/runners/wal/archive"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
)

// Open makes a repository over directories for a cluster and brings its WAL there, as
// long as the test runs. All stores are required; identity may be nil.
func Open(t testing.TB, c *backuptest.Cluster, identity *age.X25519Identity, dirs ...string) *archive.Archive {
	t.Helper()
	config := repo.Config{}
	if identity != nil {
		config.Recipients, config.Identities = []age.Recipient{identity.Recipient()}, []age.Identity{identity}
	}
	for _, s := range c.Shelf(dirs...).Stores {
		config.Stores = append(config.Stores, repo.Store{Store: s.Store, Required: true})
	}
	r, err := repo.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	system, err := strconv.ParseUint(c.System, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Init(t.Context(), segment.Cluster{System: system, Major: c.Install.Major(), Size: 1 << 20}, time.Now()); err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(t.Context(), r, 0)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { <-ended })
	go func() {
		defer close(ended)
		for put := map[string]bool{}; t.Context().Err() == nil; time.Sleep(20 * time.Millisecond) {
			push(t, a, c.WAL, put)
		}
	}()
	return a
}

func push(t testing.TB, a *archive.Archive, dir string, put map[string]bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		n, err := segment.Parse(e.Name())
		if err != nil || put[e.Name()] {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Error(err)
			return
		}
		_, err = a.Repo.Put(t.Context(), a.System, n, f)
		f.Close()
		if err != nil && t.Context().Err() == nil {
			t.Errorf("push %s: %v", n, err)
		}
		put[e.Name()] = true
	}
}
