package verify_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/skytools-go/skytools/runners/wal/archive/archivetest"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/verify"
)

// objects are the files below a directory whose name has a part in it.
func objects(t *testing.T, dir, part string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, part) {
			all = append(all, path)
		}
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("no object %s: %v", part, err)
	}
	return all
}

func spoil(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-len(content)/3] ^= 0x10
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestVerify: one changed byte anywhere is found, named and repaired from the other
// store, and what retention removes leaves an archive that is whole.
func TestVerify(t *testing.T) {
	c := backuptest.Start(t)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	one, two := backuptest.Dir(t, "one"), backuptest.Dir(t, "two")
	a := archivetest.Open(t, c, identity, one, two)
	o := c.Options()
	o.WAL = a
	ledger := c.Keep()
	first := c.Take(a.Shelf(), o)
	c.Exec("create table later as select 1 as n")
	second := c.Take(a.Shelf(), o)
	last := ledger.Stop()
	policy := retain.Policy{Window: 365 * 24 * time.Hour}
	check := func(o verify.Options) verify.Report {
		t.Helper()
		o.Policy = policy
		r, err := verify.Run(t.Context(), a, o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := check(verify.Options{Deep: true}); !r.OK() || r.Backups != 2 || r.Objects < 5 {
		t.Fatalf("a healthy archive: %+v", r)
	}

	spoilt := map[string]bool{}
	for _, part := range []string{"/pack/" + string(first.ID) + "/00000", "/backup/" + string(second.ID) + "/manifest", "/wal/0000000"} {
		for _, file := range objects(t, one, part) {
			if !strings.HasSuffix(file, ".index") {
				spoil(t, file)
				spoilt[file] = true
				break
			}
		}
	}
	gone := objects(t, two, "/wal/00000001/")
	if err := os.Remove(gone[len(gone)/2]); err != nil {
		t.Fatal(err)
	}
	r := check(verify.Options{})
	if len(r.Problems) != len(spoilt)+1 || r.OK() || len(r.Gaps) != 0 {
		t.Errorf("%d objects were spoilt and one removed: %+v", len(spoilt), r)
	}
	for _, p := range r.Problems {
		file := filepath.Join(one, p.Key)
		if (p.What == verify.Damaged) != spoilt[file] || p.What == verify.Missing && !strings.HasSuffix(p.Store, two) {
			t.Errorf("got %+v", p)
		}
	}
	if r := check(verify.Options{Repair: true}); !r.OK() || len(r.Problems) != len(spoilt)+1 {
		t.Errorf("the repair: %+v", r)
	}
	if r := check(verify.Options{Deep: true, Backup: second.ID}); !r.OK() || len(r.Problems) != 0 || r.Backups != 1 {
		t.Errorf("after the repair: %+v", r)
	}

	// A segment that is nowhere is a gap, and a preview knows that it is needed.
	for _, dir := range []string{one, two} {
		if err := os.Rename(filepath.Join(dir, strings.TrimPrefix(gone[len(gone)/2], two)), filepath.Join(dir, "aside")); err != nil {
			t.Fatal(err)
		}
	}
	if r := check(verify.Options{}); len(r.Gaps) != 1 || r.OK() {
		t.Errorf("with a gap: %+v", r)
	}
	lost, err := segment.Parse(filepath.Base(gone[len(gone)/2]))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Repo.Missed(t.Context(), a.System, repo.Gap{First: lost, Last: lost, Count: 1}, "the slot was lost", time.Now()); err != nil {
		t.Fatal(err)
	}
	if r := check(verify.Options{}); len(r.Gaps) != 1 || r.OK() || !strings.Contains(r.Gaps[0], lost.String()+", which the server no longer had at 20") {
		t.Errorf("with a gap that a receiver has seen: %+v", r)
	}
	before := a.Size.Before(lost.Timeline, a.Size.Start(lost))
	if err := a.Repo.Lose(t.Context(), a.System, repo.Gap{First: before, Last: before, Count: 1}, "another one", time.Now()); err != nil {
		t.Fatal(err)
	}
	if r := check(verify.Options{}); len(r.Gaps) != 1 || len(r.Lost) != 0 {
		t.Errorf("with another gap acknowledged: %+v", r)
	}
	for range 2 { // the second time changes nothing
		if err := a.Repo.Lose(t.Context(), a.System, repo.Gap{First: lost, Last: lost, Count: 1}, "the disk died", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if r := check(verify.Options{}); len(r.Gaps) != 0 || len(r.Lost) != 1 || !strings.Contains(r.Lost[0], "the disk died") || !r.OK() {
		t.Errorf("with the gap acknowledged: %+v", r)
	}
	for i, want := range []int{0, 1} { // records that are damaged in one store, and in both: then nothing is acknowledged
		for _, record := range objects(t, []string{one, two}[i], "/lost/") {
			if err := os.WriteFile(record, []byte(`{"first": "x`), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if r := check(verify.Options{}); len(r.Gaps) != want || len(r.Lost) != 1-want {
			t.Errorf("with damaged records in %d stores: %+v", i+1, r)
		}
	}
	p, err := restore.Look(t.Context(), a.Shelf(), a, restore.Target{}, first.ID)
	if err != nil || len(p.Missing) != 1 && a.Size.At(1, first.Start).String() <= filepath.Base(gone[len(gone)/2]) {
		t.Errorf("the preview misses %v, %v", p.Missing, err)
	}
	for _, dir := range []string{one, two} {
		if err := os.Rename(filepath.Join(dir, "aside"), filepath.Join(dir, strings.TrimPrefix(gone[len(gone)/2], two))); err != nil {
			t.Fatal(err)
		}
	}

	// Years later only what the newest backups need is left, and that is whole.
	policy = retain.Policy{}
	later := time.Now().Add(100 * 24 * time.Hour)
	for range 2 {
		swept, err := retain.Run(t.Context(), a.Shelf(), a, policy, later, false)
		if err != nil {
			t.Fatal(err)
		}
		if len(swept.Verdicts) != 2 {
			t.Errorf("retention: %+v", swept)
		}
		later = later.Add(30 * 24 * time.Hour)
	}
	if r := check(verify.Options{Deep: true}); !r.OK() {
		t.Errorf("after retention: %+v", r)
	}
	if missed, err := a.Repo.Misses(t.Context(), a.System); err != nil || len(missed) != 0 {
		t.Errorf("after retention what is missing is still known: %+v, %v", missed, err)
	}
	to := filepath.Join(backuptest.Dir(t, "restored"), "data")
	p, err = restore.Look(t.Context(), a.Shelf(), a, restore.Target{}, "")
	if err != nil || len(p.Missing) != 0 {
		t.Fatalf("the preview: %+v, %v", p, err)
	}
	if _, err := restore.Restore(t.Context(), a.Shelf(), p.Backup, p.Choice, restore.Options{To: to, As: restore.Clone, Command: "cp " + c.WAL + "/%f %p"}); err != nil {
		t.Fatal(err)
	}
	if last == 0 {
		t.Error("nothing was written meanwhile")
	}

	blind := *a
	if blind.Repo, err = repo.Open(repo.Config{Stores: a.Repo.Stores, Recipients: a.Repo.Recipients}); err != nil {
		t.Fatal(err)
	}
	if r, err := verify.Run(t.Context(), &blind, verify.Options{}); err != nil || !r.OK() {
		t.Errorf("without an identity: %+v, %v", r, err)
	}
	if _, err := verify.Run(t.Context(), &blind, verify.Options{Deep: true}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deep without an identity: %v", err)
	}
}
