package cli

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
)

// release is set by the linker: -X ...cli.release=1.2.3.
var release string

// Version is the program's version: the release, or the commit that it was built
// from.
func Version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 7 {
			return "0-" + s.Value[:7]
		}
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "0-dev"
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the program's version, and those of its schemas and formats", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(a.Out, "skytools %s\n", Version())
			fmt.Fprintf(a.Out, "  yaml format %d, %s, %s\n", spec.Format, planner.PlanFormat, planner.LiveFormat)
			for _, s := range planner.Schemas {
				fmt.Fprintf(a.Out, "  schema %-9s %s\n", s.Name, s.Version)
			}
			return nil
		},
	}
}
