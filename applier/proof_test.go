package applier_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/applier"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// shelf is a server that archives by a client which does what the test says.
type shelf struct {
	*world
	client, yaml string
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := sandboxtest.Private(t, sandbox.Options{Settings: map[string]string{"wal_level": "replica", "archive_mode": "on"}})
	w := &world{T: t, dbs: map[string]*sandboxtest.DB{"hub": sandboxtest.DatabaseOn(t, s, "template1")}}
	client := filepath.Join(backuptest.Dir(t, "client"), "skytools-wal")
	return &shelf{w, client, `
archives: {wal: {of: hub, stores: [{url: "file:///srv/wal"}], wal: {client: "` + client + `"}}}
queues: {q: {on: hub}}
`}
}

// does says what the client does from now on.
func (s *shelf) does(script string) {
	s.Helper()
	if err := errors.Join(os.WriteFile(s.client+".new", []byte("#!/bin/sh\n"+script+"\n"), 0o755), os.Rename(s.client+".new", s.client)); err != nil {
		s.Fatal(err)
	}
}

// until waits for the archiver, which takes its time.
func (s *shelf) until(condition string) {
	s.Helper()
	for range 1200 {
		if sandboxtest.One[bool](s.T, s.dbs["hub"], "select "+condition+" from pg_stat_archiver") {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.Fatalf("it does not come to be that %s", condition)
}

// fails applies, and requires that the proof is what fails.
func (s *shelf) fails(p *planner.Plan, texts ...string) {
	s.Helper()
	_, err := s.applier().Apply(s.Context(), p)
	var wait *applier.WaitError
	if !errors.As(err, &wait) {
		s.Fatalf("apply: %v", err)
	}
	for _, text := range append(texts, "archive/wal@hub: ", " on hub: segment 0000") {
		if !strings.Contains(err.Error(), text) {
			s.Errorf("no %q in: %v", text, err)
		}
	}
	for _, text := range []string{"skytools wal init wal", "skytools wal prove wal"} {
		if !strings.Contains(wait.Hint(), text) {
			s.Errorf("no %q in: %s", text, wait.Hint())
		}
	}
}

func (s *shelf) only(p *planner.Plan, titles string) *planner.Plan {
	s.Helper()
	var all []string
	for _, step := range p.Steps {
		if step.Address.Kind == "archive" {
			all = append(all, step.Title)
		}
	}
	if got := strings.Join(all, ", "); got != titles {
		s.Fatalf("the plan's steps: %s; want %s", got, titles)
	}
	return p
}

// TestProof: an archive counts as made when WAL was archived, and not before; a failure
// later on is drift, and proving again ends it.
func TestProof(t *testing.T) {
	s := newShelf(t)
	s.does("exit 1") // as before skytools wal init
	p := s.only(s.plan(s.yaml), "set, prove")
	s.fails(p, " is not archived; archiving 0000", " failed at ", "nothing was archived yet")
	if n := sandboxtest.One[int64](t, s.dbs["hub"], "select count(*) from skytools.applied where address = 'archive/wal@hub'"); n != 0 {
		t.Error("what is not proven is recorded")
	}
	s.only(s.plan(s.yaml), "prove")

	s.does("exit 0")
	if o := s.apply(p); o.Done+o.Already != len(p.Steps) { // the archiver may have come first
		t.Errorf("the same plan again: %+v", o)
	}
	s.until("last_archived_wal is not null and last_failed_time < last_archived_time")
	s.empty(s.yaml)
	if o := s.apply(p); o.Already != len(p.Steps) {
		t.Errorf("applied again: %+v", o)
	}

	s.does("exit 1")
	s.dbs["hub"].Script(t, "select pg_create_restore_point('x'); select pg_switch_wal()")
	s.until("last_failed_time > last_archived_time")
	failing := s.only(s.plan(s.yaml), "prove")
	d, err := planner.FindDrift(s.set(s.yaml), s.live(), planner.Options{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	lost := sandboxtest.One[string](t, s.dbs["hub"], "select last_failed_wal from pg_stat_archiver")
	if len(d.Drifted) != 1 || len(d.Drifted[0].Fields) != 1 {
		t.Fatalf("drift: %+v", d.Drifted)
	}
	if text, _ := d.Drifted[0].Fields[0].After.(string); !strings.HasPrefix(text, "archiving fails since ") || !strings.HasSuffix(text, ": "+lost) {
		t.Errorf("drift says %q", text)
	}
	s.does("exit 0")
	s.apply(failing)
	s.empty(s.yaml)

	// Another command: what the old one has archived proves nothing. A client that is not
	// there ends the archiver itself, which counts no failure.
	moved := strings.Replace(s.yaml, `wal: {client`, `wal: {spec: "/etc/new", client`, 1)
	p = s.only(s.plan(moved), "set, prove")
	if err := os.Remove(s.client); err != nil {
		t.Fatal(err)
	}
	s.fails(p, "waited in vain", "the archiver has ended instead of counting a failure", "exit code 126 or 127")
	p = s.only(s.plan(moved), "prove")
	s.does("exit 0")
	s.apply(p)
	s.empty(moved)
}

// TestProofKilled kills who applies while it waits for the proof, and cuts its connection:
// the same plan goes on.
func TestProofKilled(t *testing.T) {
	s := newShelf(t)
	s.does("while test -e " + s.client + ".hold; do sleep 0.1; done")
	if err := os.WriteFile(s.client+".hold", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := s.only(s.plan(s.yaml), "set, prove")
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "plan.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, within := range []string{"pg_create_restore_point", "pg_switch_wal", "is not archived"} {
		s.killed(file, "APPLY_DIE_AT=1", "APPLY_DIE_IN="+within)
	}
	s.only(s.plan(s.yaml), "prove")
	if err := os.Remove(s.client + ".hold"); err != nil {
		t.Fatal(err)
	}
	if o := s.apply(p); o.Failed > 0 {
		t.Errorf("afterwards: %+v", o)
	}
	s.empty(s.yaml)
	if n := sandboxtest.One[int64](t, s.dbs["hub"], "select count(*) from skytools.step_log where outcome = 'interrupted' and address like 'archive/%'"); n == 0 {
		t.Error("no interrupted step was noticed")
	}
}
