package cli

import (
	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
)

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
