package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/cmd/skytools/internal/term"
)

// TestManualPages has a page for every command that says what the command is for.
func TestManualPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	var out bytes.Buffer
	if code := Main([]string{"man", dir}, term.Stdio{In: &out, Out: &out, Err: &out, Env: os.LookupEnv}); code != 0 {
		t.Fatal(out.String())
	}
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		page, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		if err != nil {
			t.Error(err)
		} else if first, _, _ := strings.Cut(c.Short, " "); c.Short == "" || !bytes.Contains(page, []byte(first)) {
			t.Errorf("%s: its page does not say what it is for", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	a := &app{Stdio: term.Stdio{In: &out, Out: &out, Err: &out, Env: os.LookupEnv}}
	check(a.root())
}
