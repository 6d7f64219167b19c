package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/archive/archivetest"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/standby"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// TestStandbyCommands: a standby from the archive, a failover to it, and the old primary
// back as its standby, as a person does it.
func TestStandbyCommands(t *testing.T) {
	c := backuptest.Start(t)
	stores, place := backuptest.Dir(t, "store"), backuptest.Dir(t, "standby")
	archivetest.Open(t, c, nil, stores)
	second := fmt.Sprintf("host=%s user=%s dbname=postgres", place, sandbox.User)
	f := &field{T: t, dir: t.TempDir(), env: append(os.Environ(), "SKYTOOLS_EXEC=1")}
	write := func(primary, standbys string) {
		t.Helper()
		yaml := fmt.Sprintf("skytools: 1\ncluster: shop\ndatabases: {hub: {dsn: %q}}\narchives: {wal: {of: hub, stores: [{url: %q}]}}\nstandbys: {%s}\n", primary, "file://"+stores, standbys)
		if err := os.WriteFile(filepath.Join(f.dir, "shop.yaml"), []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(place, "data")
	t.Cleanup(func() { end(t, data) })
	write(c.DSN("postgres"), fmt.Sprintf("b: {of: hub, dsn: %q, data_dir: %s, archive: wal, settings: {unix_socket_directories: %s, work_mem: 6MB}}", second, data, place))
	c.Fill("orders", 1)
	fetch := "cp " + c.WAL + "/%f %p"
	f.contains(f.skytools(1, "standby", "create", "b", "--restore-command", fetch), "no backup leads to the latest", "skytools backup list")
	f.skytools(0, "backup")
	f.contains(f.skytools(0, "standby", "create", "b", "--restore-command", fetch), "b is in "+data, "from backup ", "It follows its primary.")
	var states []standby.State
	if err := json.Unmarshal([]byte(f.skytools(0, "standby", "status", "--format", "json")), &states); err != nil {
		t.Fatal(err)
	}
	if len(states) != 1 || states[0].Role != "standby" || states[0].Timeline != 1 || !states[0].Well() {
		t.Errorf("states: %+v", states)
	}

	f.contains(f.skytools(0, "wait", "--limit", "100s"), "1 standby in sync after")
	f.skytools(0, "standby", "pause", "b")
	c.Fill("more", 1)
	f.contains(f.skytools(15, "wait", "--limit", "2s", "standby/b@*"), "standby/b@hub is streaming (replay is paused")
	f.skytools(0, "standby", "resume", "b")
	f.contains(f.skytools(0, "wait", "--limit", "100s", "standby/*"), "1 standby in sync after")
	f.contains(f.skytools(1, "wait", "table/*"), "no replicated table and no standby matches")
	f.skytools(0, "apply", "--yes", "--only", "setting/*@b")
	f.contains(f.skytools(0, "forget", "setting/work_mem@b"), "setting/work_mem@b is no longer managed")
	f.skytools(0, "wait", "--limit", "100s", "standby/*")

	c.Kill()
	f.contains(f.skytools(0, "standby", "promote", "b", "--yes"), "b is a primary, on timeline 2 after 1")
	f.contains(f.skytools(1, "standby", "promote", "b", "--yes"), "no standby")
	old := filepath.Join(c.Dir, "data")
	t.Cleanup(func() { end(t, old) })
	write(second, fmt.Sprintf("a: {of: hub, dsn: %q, data_dir: %s, archive: wal, settings: {unix_socket_directories: %s}}", c.DSN("postgres"), old, c.Dir))
	f.contains(f.skytools(0, "standby", "rewind", "a", "--yes", "--restore-command", fetch), "a was taken back by ", "It follows its primary.")
	f.contains(f.skytools(0, "standby", "status"), "a        standby  2 ", "(streaming)")
	c.At(c.Server).Exec("select count(*) from orders")
	f.contains(f.skytools(0, "standby", "drop", "a", "--yes", "--stop", "--remove-data", "--format", "json"), `"slot_dropped": true`, `"data_removed": true`)
}

// end stops the server in a data directory, if there is one.
func end(t *testing.T, data string) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(pid, syscall.SIGQUIT)
	for range 500 {
		if running, err := wal.DataDir(data).Running(); err != nil || !running {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the server in %s does not end", data)
}
