package cli

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agekey "filippo.io/age"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
)

// TestBucket: from nothing to a proven restore to a moment, from a bucket alone, as the
// README tells it.
func TestBucket(t *testing.T) {
	t.Parallel()
	backend := s3mem.New()
	if err := backend.CreateBucket("backups"); err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s3.Close)
	identity, err := agekey.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	c := backuptest.Start(t)

	f := newHost(t, c, "S3_KEY=key", "S3_SECRET=hunter2")
	f.give("age.key", identity.String()+"\n")
	f.give("shop.yaml", fmt.Sprintf(`skytools: 1
cluster: shop
databases: {hub: {dsn: {env: HUB_DSN}}}
archives:
  wal:
    of: hub
    stores: [{url: "s3://backups/shop?region=us-east-1&path_style=true&endpoint=%s", access_key: {env: S3_KEY}, secret_key: {env: S3_SECRET}}]
    encrypt: {recipients: [%s], identity: {file: %s}}
    wal: {settings: by_hand}
    retention: {window: 14d}
    drill: {scratch: %s, checks: ["postgres: select count(*) = 6200 from orders"]}
`, url.QueryEscape(s3.URL), identity.Recipient(), filepath.Join(f.dir, "age.key"), backuptest.Dir(t, "scratch")))
	c.Fill("orders", 1)
	f.skytools(0, "wal", "init", "wal")
	f.archives()
	f.contains(f.skytools(0, "wal", "prove", "wal"), "is in every required store")
	f.contains(f.skytools(0, "backup", "wal"), " new; ")
	c.Exec("create table later as select 1 as i; select pg_sleep(2.1)")
	moment := backuptest.One[string](c, "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
	c.Exec("drop table orders; insert into later select 2; select pg_switch_wal()")
	f.contains(f.skytools(0, "wal", "prove", "wal"), "is in every required store")

	f.contains(f.skytools(0, "restore", "wal", "--preview", "--time", moment), "target     the time "+moment[:19], "full, ended ")
	r := f.restored("--time", moment)
	if got := backuptest.One[string](r, "select (select count(*) from orders) || ' ' || (select count(*) from later)"); got != "6200 1" {
		t.Errorf("orders and later have %s rows", got)
	}
	f.contains(f.skytools(0, "drill", "wal", "--time", moment, "--restore-command", f.command("get wal %f %p"), "--bins", c.Install.Bin), "is proven")
	f.contains(f.skytools(10, "drill", "wal", "--restore-command", f.command("get wal %f %p"), "--bins", c.Install.Bin), "is proven", "the data has changed since the backup: select count(*) = 6200", "does not exist")
	f.contains(f.skytools(0, "backup", "show", "wal", "2"), "proven", "since then")
	f.contains(f.skytools(0, "verify", "--deep"), "1 backup", "0 problems, 0 gaps")

	// A bucket that is gone is said to be, and ends no recovery early.
	s3.Close()
	began := time.Now()
	got := f.skytools(1, "backup", "list", "wal")
	f.contains(got, "s3://backups/shop")
	if strings.Contains(got, "hunter2") || time.Since(began) > time.Minute {
		t.Errorf("after %s: %s", time.Since(began), got)
	}
}
