package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	agekey "filippo.io/age"

	"github.com/skytools-go/skytools/runners/wal/archive/archivetest"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/segment"
)

// TestArchiveCommands: the life of an archive, as a person sees it.
func TestArchiveCommands(t *testing.T) {
	c := backuptest.Start(t)
	identity, err := agekey.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	one, two := backuptest.Dir(t, "one"), backuptest.Dir(t, "two")
	archivetest.Open(t, c, identity, one, two)
	f := &field{T: t, dir: t.TempDir(), env: append(os.Environ(), "SKYTOOLS_EXEC=1", "HUB_DSN="+c.DSN("postgres"), "AGE_KEY="+identity.String())}
	scratch := backuptest.Dir(t, "scratch")
	yaml := fmt.Sprintf(`skytools: 1
cluster: shop
databases: {hub: {dsn: {env: HUB_DSN}}}
standbys: {spare: {of: hub, dsn: "host=/nowhere user=postgres", data_dir: /nowhere/data}}
archives:
  wal:
    of: hub
    stores: [{url: "file://%s"}, {url: "file://%s"}]
    encrypt: {recipients: [%s], identity: {env: AGE_KEY}}
    backup: {full: "Sun 02:00", rate: 500MB, from: spare}
    retention: {window: 14d}
    drill: {scratch: %s, checks: ["postgres: select count(*) = 6200 from orders"]}
`, one, two, identity.Recipient(), scratch)
	if err := os.WriteFile(filepath.Join(f.dir, "shop.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Fill("orders", 1)
	f.contains(f.skytools(0, "wal", "prove", "wal"), " is in every required store, ")
	f.contains(f.skytools(10, "wal", "prove", "wal", "--limit", "1ns"), "has not arrived within", "archive")
	f.contains(f.skytools(0, "backup", "--full", "--label", "before the sale"), " new; ")
	f.contains(f.skytools(0, "backup", "wal"), " new; ", "taken from the primary", "spare", "/nowhere")
	var list []backupLine
	if err := json.Unmarshal([]byte(f.skytools(0, "backup", "list", "--format", "json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Kind != "full" || list[1].Kind != "incremental" || list[1].Parent != list[0].ID {
		t.Fatalf("listed: %+v", list)
	}
	first, second := string(list[0].ID), string(list[1].ID)
	f.contains(f.skytools(0, "backup", "list"), first+"  full", "before the sale")
	f.contains(f.skytools(0, "backup", "hold", "wal", first, "--because", "audit 2026"), "is held")
	f.contains(f.skytools(0, "backup", "show", "wal", first), "held", "audit 2026", "PostgreSQL ")
	f.skytools(2, "backup", "hold", "wal", first)
	f.contains(f.skytools(1, "backup", "show", "wal", "1999"), "no backup 1999")
	f.contains(f.skytools(0, "backup", "expire", "--dry-run"), "kept: held", "the newest", "Would be done: 0 expired")

	fetch := "cp " + c.WAL + "/%f %p"
	f.contains(f.skytools(0, "drill", "--restore-command", fetch, "--bins", c.Install.Bin), second+" is proven", "1 check")
	f.contains(f.skytools(0, "backup", "show", "wal", second), "proven")

	f.contains(f.skytools(0, "restore", "--preview"), "backup     "+second, "timelines  1")
	f.contains(f.skytools(1, "restore", "--preview", "--time", "2020-01-01T00:00:00Z"), "no backup leads to the time")
	f.skytools(2, "restore", "--preview", "--time", "2020-01-01 00:00:00")
	f.skytools(2, "restore")
	to := filepath.Join(scratch, "data")
	f.contains(f.skytools(0, "restore", "wal", "--to", to, "--backup", first), first+" is in "+to)
	conf, err := os.ReadFile(filepath.Join(to, "postgresql.auto.conf"))
	if err != nil {
		t.Fatal(err)
	}
	f.contains(string(conf), "restore_command = '''", "wal get ''wal'' %f %p --spec", "archive_mode = 'off'")
	f.contains(f.skytools(1, "restore", "wal", "--to", to), "not empty")
	f.contains(f.skytools(0, "restore", "wal", "--to", to, "--delta"), " were there")
	if out, err := exec.Command(filepath.Join(c.Install.Bin, "pg_controldata"), to).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}

	f.contains(f.skytools(0, "verify", "--deep"), "2 backups", "0 problems, 0 gaps")
	backuptest.Damage(t, filepath.Join(one, "e", c.System, "pack", first, "00000"))
	f.contains(f.skytools(10, "verify"), "pack/"+first+"/00000", "damaged")
	f.contains(f.skytools(0, "verify", "--repair"), "damaged, repaired")
	f.skytools(0, "verify")

	// A segment that is gone from one store, and then from both.
	segments, err := filepath.Glob(filepath.Join(one, "e", c.System, "wal", "00000001", "*", "*"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("%v, %v", segments, err)
	}
	lost := segments[len(segments)-2]
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(lost)
	f.contains(f.skytools(10, "wal", "gaps", "wal"), "1 missing, "+name)
	f.contains(f.skytools(1, "wal", "ack-gap", "wal", name, "--because", "x"), "no gap begins with "+name, "verify --repair")
	if err := os.Remove(strings.Replace(lost, one, two, 1)); err != nil {
		t.Fatal(err)
	}
	f.skytools(2, "wal", "ack-gap", "wal", name)
	f.contains(f.skytools(1, "wal", "ack-gap", "wal", "0000000900000000000000FF", "--because", "x"), "what every store lacks: "+name)
	f.contains(f.skytools(0, "wal", "ack-gap", "wal", name, "--because", "the disk died"), "no store has "+name)
	f.contains(f.skytools(0, "wal", "gaps", "wal"), "1 missing, "+name, "acknowledged, because the disk died")

	// Pages that are damaged on the server: no backup, unless that is asked for.
	c.Exec("checkpoint")
	relation := filepath.Join(c.Dir, "data", backuptest.One[string](c, "select pg_relation_filepath('orders')"))
	backuptest.Damage(t, relation)
	f.contains(f.skytools(1, "backup", "wal"), "bad pages", "on_bad_page: warn")
	yaml = strings.Replace(yaml, "from: spare}", "from: spare, on_bad_page: warn}", 1)
	if err := os.WriteFile(filepath.Join(f.dir, "shop.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	f.contains(f.skytools(0, "backup", "wal"), "pages are damaged on the server", " new; ")
	f.contains(f.skytools(0, "backup", "list"), "  bad pages")
	f.contains(f.skytools(0, "backup", "expire", "--dry-run"), "the last without bad pages")
	newest := []string{"restore", "--preview", "--immediate", "--format"} // the lost segment is before it
	f.contains(f.skytools(0, append(newest, "text")...), "bad page   ", filepath.Base(relation))
	f.contains(f.skytools(0, append(newest, "json")...), `"bad_pages": [`, filepath.Base(relation))
	f.contains(f.skytools(0, "restore", "wal", "--immediate", "--to", filepath.Join(scratch, "bad")), "damaged on the server already: ", filepath.Base(relation))
	f.contains(f.skytools(0, "verify"), "has pages that were damaged on the server: ", filepath.Base(relation))

	// Without any backup, the first one is due at once.
	if err := os.RemoveAll(filepath.Join(one, "e", c.System, "backup")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(two, "e", c.System, "backup")); err != nil {
		t.Fatal(err)
	}
	p := f.run("--only", "backup")
	for range 600 {
		if strings.Contains(f.skytools(0, "backup", "list"), "  full ") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.contains(f.skytools(0, "backup", "list"), "  full ")
	p.end(syscall.SIGTERM)
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Errorf("run ended with %d", code)
	}
}

// TestExpireWithoutIdentity: the host of a database takes backups and lets them expire
// without the private key, also after a failover.
func TestExpireWithoutIdentity(t *testing.T) {
	c := backuptest.Start(t)
	identity, err := agekey.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	store := backuptest.Dir(t, "store")
	a := archivetest.Open(t, c, identity, store)
	f := &field{T: t, dir: t.TempDir(), env: append(os.Environ(), "SKYTOOLS_EXEC=1", "HUB_DSN="+c.DSN("postgres"))}
	yaml := fmt.Sprintf(`skytools: 1
cluster: shop
databases: {hub: {dsn: {env: HUB_DSN}}}
archives:
  wal:
    of: hub
    stores: [{url: "file://%s"}]
    encrypt: {recipients: [%s], identity: {file: %s/nothing}}
    retention: {window: 14d}
`, store, identity.Recipient(), store)
	if err := os.WriteFile(filepath.Join(f.dir, "shop.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	f.contains(f.skytools(0, "backup", "--full"), " new; ")
	history := segment.Name{Kind: segment.History, Timeline: 2}
	if _, err := a.Repo.Put(t.Context(), a.System, history, strings.NewReader("1\t0/7000000\tno recovery target specified\n")); err != nil {
		t.Fatal(err)
	}
	f.contains(f.skytools(0, "backup", "expire"), "kept: the newest", "Done: 0 expired")
	f.contains(f.skytools(1, "restore", "--preview"), "identity from")
}
