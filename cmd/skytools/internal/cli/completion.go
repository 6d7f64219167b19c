package cli

import (
	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner"
)

// addresses completes addresses of the YAML at paths; it connects to nothing.
func (a *app) addresses(paths *[]string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		set, err := a.load(*paths)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var all []string
		for _, address := range planner.Addresses(set) {
			all = append(all, address.String())
		}
		return all, cobra.ShellCompDirectiveNoFileComp
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
