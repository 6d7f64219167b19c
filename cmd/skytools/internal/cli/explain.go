package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/spec"
)

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
