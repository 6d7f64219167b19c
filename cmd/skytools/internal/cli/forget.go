package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/meta"
)

func (a *app) forget() *cobra.Command {
	var paths []string
	cmd := &cobra.Command{
		Use: "forget ADDRESS...", Short: "Stop managing objects, and keep them", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			for _, text := range args {
				address, err := planner.ParseAddress(text)
				if err != nil {
					return usage("forget: %v", err)
				}
				if err := a.forgetOne(cmd.Context(), set, address); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.ValidArgsFunction = a.addresses(&paths)
	cmd.Flags().StringArrayVarP(&paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	return cmd
}

func (a *app) forgetOne(ctx context.Context, set *spec.Set, address planner.Address) error {
	home := address.Database
	if b := set.Standbys.Get(home); b != nil { // nobody can write there: it is recorded on its primary
		home = b.Of
	}
	conn, err := a.dialNode(ctx, set, home)
	if err != nil {
		return err
	}
	defer conn.Close()
	stmt := meta.Forget(address.String(), set.Cluster)
	n, err := conn.Exec(ctx, stmt.Text, stmt.Args...)
	if err != nil {
		return fmt.Errorf("forget %s: %w", address, err)
	}
	if n == 0 {
		return &codeError{code: exitError, message: fmt.Sprintf("forget %s: cluster %s does not manage it", address, set.Cluster), hint: "skytools plan lists what it manages and what not"}
	}
	a.talk("%s is no longer managed; it was not changed. Take it out of the YAML, or plan will adopt it again.", address)
	return nil
}
