package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/runners/wal/store/sshtest"
)

// TestSFTP: an archive on a real SFTP server alone: WAL, backups, restores, and what
// expires goes from there.
func TestSFTP(t *testing.T) {
	t.Parallel()
	ssh := sshtest.Start(t)
	c := backuptest.Start(t)
	f := newHost(t, c)
	known, err := os.ReadFile(ssh.Known)
	if err != nil {
		t.Fatal(err)
	}
	f.give("known_hosts", string(known))
	f.give("id", ssh.Key)
	ssh.Known = filepath.Join(f.dir, "known_hosts")
	f.give("shop.yaml", fmt.Sprintf(`skytools: 1
cluster: shop
databases: {hub: {dsn: {env: HUB_DSN}}}
archives:
  wal:
    of: hub
    stores: [{url: %q, private_key: {file: %s}}]
    wal: {settings: by_hand}
    retention: {min_full: 1}
`, ssh.URL(ssh.Address), filepath.Join(f.dir, "id")))
	c.Fill("orders", 1)
	f.skytools(0, "wal", "init", "wal")
	f.archives()
	f.contains(f.skytools(0, "wal", "prove", "wal"), "is in every required store")
	for range 3 {
		f.contains(f.skytools(0, "backup", "wal", "--full"), " new; ")
	}
	var list []backupLine
	if err := json.Unmarshal([]byte(f.skytools(0, "backup", "list", "--format", "json")), &list); err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	c.Exec("delete from orders where n > 100; select pg_switch_wal()")
	f.contains(f.skytools(0, "wal", "prove", "wal"), "is in every required store")
	if n := backuptest.One[int64](f.restored(), "select count(*) from orders"); n != 100 {
		t.Errorf("restored: %d orders", n)
	}

	f.contains(f.skytools(0, "backup", "expire"), "2 expired, 0 removed")
	s, err := store.Open(t.Context(), store.Config{URL: ssh.URL(ssh.Address), PrivateKey: ssh.Key})
	if err != nil {
		t.Fatal(err)
	}
	shelf := &backup.Shelf{System: c.System, Stores: []backup.Store{{Store: s, Required: true}}}
	for _, b := range list[:2] { // as if they had expired long ago
		if err := shelf.Write(t.Context(), b.ID, backup.Tombstone, retain.Mark{At: time.Now().AddDate(0, 0, -30), Why: "a test"}); err != nil {
			t.Fatal(err)
		}
	}
	packs := func(id backup.ID) int {
		found, err := filepath.Glob(filepath.Join(ssh.Root, "e", c.System, "pack", string(id), "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	f.contains(f.skytools(0, "backup", "expire"), "0 expired, 2 removed", "of WAL removed")
	if packs(list[0].ID) != 0 || packs(list[1].ID) != 0 || packs(list[2].ID) == 0 {
		t.Errorf("packs of the backups: %d, %d and %d", packs(list[0].ID), packs(list[1].ID), packs(list[2].ID))
	}
	f.contains(f.skytools(0, "verify", "--deep"), "1 backup", "0 problems, 0 gaps")
	if n := backuptest.One[int64](f.restored(), "select count(*) from orders"); n != 100 {
		t.Errorf("restored afterwards: %d orders", n)
	}
}
