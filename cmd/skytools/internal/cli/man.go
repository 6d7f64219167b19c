package cli

import (
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) man() *cobra.Command {
	return &cobra.Command{
		Use: "man DIRECTORY", Short: "Write manual pages of all commands, for section 1",
		Example: "skytools man /usr/local/share/man/man1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs(cmd, args, "DIRECTORY"); err != nil {
				return err
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			day := built()
			if err := doc.GenManTree(root, &doc.GenManHeader{Title: "SKYTOOLS", Section: "1", Source: "skytools " + Version(), Date: &day}, args[0]); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			return nil
		},
	}
}

// built is the day of the commit that this program was built from: two builds of it
// write the same pages. Today where that is not known.
func built() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return at
			}
		}
	}
	return time.Now()
}
