package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// A host has all that the user of a server needs: the program, and what is given to it.
type host struct {
	*field
	cluster *backuptest.Cluster
	program string
	secrets []string // of the environment
}

func newHost(t *testing.T, c *backuptest.Cluster, secrets ...string) *host {
	t.Helper()
	secrets = append(secrets, "SKYTOOLS_EXEC=1", "HUB_DSN="+c.DSN("postgres"))
	dir := backuptest.Dir(t, "host")
	h := &host{&field{T: t, dir: dir, env: append(os.Environ(), secrets...)}, c, filepath.Join(dir, "skytools"), secrets}
	if err := copyProgram(os.Args[0], h.program); err != nil {
		t.Fatal(err)
	}
	return h
}

// give writes a file that the server's user may read.
func (h *host) give(name, content string) {
	h.Helper()
	name = filepath.Join(h.dir, name)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		h.Fatal(err)
	}
	if err := sandbox.Give(name); err != nil {
		h.Fatal(err)
	}
}

// command is "skytools wal" as the server runs it.
func (h *host) command(what string) string {
	environment := ""
	for _, s := range h.secrets {
		name, value, _ := strings.Cut(s, "=")
		environment += fmt.Sprintf(`%s="%s" `, name, value)
	}
	return fmt.Sprintf("%s%s wal %s -s %s", environment, h.program, what, filepath.Join(h.dir, "shop.yaml"))
}

// archives has the server archive with it.
func (h *host) archives() {
	h.Helper()
	h.cluster.Exec(fmt.Sprintf("alter system set archive_command = '%s'", strings.ReplaceAll(h.command("push wal %p"), "'", "''")))
	h.cluster.Exec("select pg_reload_conf()")
}

// restored restores to a target, and returns the server there, which has recovered.
func (h *host) restored(target ...string) *backuptest.Cluster {
	h.Helper()
	to := filepath.Join(backuptest.Dir(h, "restored"), "data")
	h.skytools(0, append([]string{"restore", "wal", "--to", to, "--restore-command", h.command("get wal %f %p")}, target...)...)
	server, err := sandbox.Start(h.Context(), sandbox.Options{Data: to})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { server.Stop() })
	r := h.cluster.At(server)
	r.Recovered()
	return r
}
