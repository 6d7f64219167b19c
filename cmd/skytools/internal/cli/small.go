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

func (a *app) schema() *cobra.Command {
	return &cobra.Command{
		Use: "schema [plan]", Short: "Print the JSON Schema of the YAML, or of saved plans, for editors and checks", ValidArgs: []string{"plan"},
		Args: cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				_, err := a.Out.Write(planner.JSONSchema())
				return err
			}
			_, err := a.Out.Write(spec.JSONSchema())
			return err
		},
	}
}

func (a *app) explain() *cobra.Command {
	return &cobra.Command{
		Use: "explain [KIND[.FIELD]]", Short: "Print the manual entry of a key of the YAML, such as queue.rotation_period", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return spec.Topics(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				for _, t := range spec.Topics() {
					fmt.Fprintln(a.Out, t)
				}
				return nil
			}
			text, err := spec.Explain(args[0])
			if err != nil {
				return usage("%v", err)
			}
			fmt.Fprint(a.Out, text)
			return nil
		},
	}
}

func (a *app) completion() *cobra.Command {
	cmd := &cobra.Command{
		Use: "completion SHELL", Short: "Print shell completion for bash, zsh or fish", ValidArgs: []string{"bash", "zsh", "fish"},
		Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(a.Out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(a.Out)
			}
			return cmd.Root().GenFishCompletion(a.Out, true)
		},
	}
	return cmd
}

func (a *app) observe() *cobra.Command {
	var out string
	var parallel int
	cmd := &cobra.Command{
		Use: "observe [PATH...]", Short: "Save what plan would see, for plan --live; reads only",
		RunE: func(cmd *cobra.Command, paths []string) error {
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			live, err := a.observeSet(cmd.Context(), set, "", parallel)
			if err != nil {
				return err
			}
			if err := writeJSON(a.Out, out, live); err != nil {
				return err
			}
			for name, d := range live.Databases {
				if d.Error != "" {
					a.talk("%s: %s", name, d.Error)
					return &codeError{code: exitIncomplete}
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write to this file instead of stdout")
	cmd.Flags().IntVar(&parallel, "parallel", 8, "databases read at a time")
	return cmd
}
