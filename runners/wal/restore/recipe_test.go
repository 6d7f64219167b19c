package restore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"

	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// TestRecipe restores a backup whose frames lie in two packs with nothing but a shell,
// zstd and age.
func TestRecipe(t *testing.T) {
	t.Parallel()
	c := backuptest.Start(t)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	store := backuptest.Dir(t, "store")
	shelf := c.Shelf(store)
	shelf.Recipients, shelf.Identities = []string{identity.Recipient().String()}, []age.Identity{identity}
	c.Exec(fmt.Sprintf("create tablespace space location '%s'", backuptest.Dir(t, "space")))
	c.Fill("large", 3)
	c.Exec("create table ledger tablespace space as select i from generate_series(1, 1000) i")
	odd := map[string]string{"a note, {of} mine": "do not lose this\n", `back\slash & "quote"`: "nor this\n", "two\nlines": "this is left out, and said\n"}
	for name, content := range odd {
		name = filepath.Join(c.Dir, "data", name)
		if err := errors.Join(os.WriteFile(name, []byte(content), 0o600), sandbox.Give(name)); err != nil {
			t.Fatal(err)
		}
	}
	c.Take(shelf, c.Options())
	c.Exec("update large set n = -n where n % 5000 = 0; insert into ledger select 0")
	m := c.Take(shelf, c.Options())
	c.Exec("insert into ledger select 7")
	c.Exec("select pg_switch_wal()")
	c.Archived()
	want := backuptest.One[string](c, digest+" union all select sum(n)::text from large order by 1")

	above := backuptest.Dir(t, "restored")
	to, key, script := filepath.Join(above, "data"), filepath.Join(above, "key"), filepath.Join(above, "restore.sh")
	text, err := os.ReadFile("../../../examples/archive/restore.sh")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{key: identity.String(), script: string(text)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := sandbox.Give(name); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{script}, args...)...)
		cmd.Env = append(os.Environ(), "AGE_KEY="+key)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: sandbox.Credential()}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	err = filepath.WalkDir(store, func(path string, _ fs.DirEntry, err error) error { return errors.Join(err, sandbox.Give(path)) })
	if err != nil {
		t.Fatal(err)
	}
	if out, err := run("list", store); err != nil || len(out) < 2*42 {
		t.Errorf("list: %v\n%s", err, out)
	}
	out, err := run("files", store, string(m.ID), to)
	if err != nil || !strings.Contains(out, "left out, for its name: ") || strings.Count(out, "\n") != 2 {
		t.Fatalf("files: %v\n%s", err, out)
	}
	for _, name := range []string{"a note, {of} mine", `back\slash & "quote"`} {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != odd[name] {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if out, err := run("files", store, string(m.ID), to); err == nil {
		t.Errorf("a second time into the same directory: %s", out)
	}
	backuptest.Damage(t, filepath.Join(store, "e", c.System, "pack", string(m.ID), "00000"))
	if out, err := run("files", store, string(m.ID), to+"2"); err == nil || !strings.Contains(out, "00000 is damaged") {
		t.Errorf("from a damaged pack: %v %s", err, out)
	}
	conf, err := os.OpenFile(filepath.Join(to, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conf, "restore_command = '%s'\n", command(c))
	if err := conf.Close(); err != nil {
		t.Fatal(err)
	}
	r := c.At(start(t, to))
	r.Recovered()
	if got := backuptest.One[string](r, digest+" union all select sum(n)::text from large order by 1"); got != want {
		t.Errorf("the tables are others: %s", got)
	}
}
