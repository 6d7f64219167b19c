package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/applier"
	"github.com/skytools-go/skytools/sql/pg"
)

func (a *app) unlock() *cobra.Command {
	var paths []string
	var yes bool
	cmd := &cobra.Command{
		Use: "unlock DATABASE", Short: "End the session that holds the apply lock, after naming it", Args: cobra.ExactArgs(1),
		Long: `An apply that died gives its lock back by itself. When its machine vanished, the
server notices within seconds; this is for the rest. It names the session that holds
the lock, and with --yes ends it. What that apply had done stays done.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			conn, err := a.dialNode(ctx, set, args[0])
			if err != nil {
				return err
			}
			defer conn.Close()
			holder := applier.Holder(ctx, conn, set.Cluster)
			if holder == "" {
				fmt.Fprintf(a.Out, "%s is not locked.\n", args[0])
				return nil
			}
			fmt.Fprintf(a.Out, "%s is locked by %s.\n", args[0], holder)
			if !yes {
				return &codeError{code: exitApproval, message: "not unlocked", hint: "if that apply is really gone: skytools unlock --yes " + args[0]}
			}
			ended, err := pg.One[bool](ctx, conn, applier.EndHolder, applier.LockKey(set.Cluster))
			if err != nil && !errors.Is(err, pg.ErrNoRows) {
				return fmt.Errorf("end that session: %w", err)
			}
			if !ended {
				return fmt.Errorf("end that session: it had gone already, or the role may not signal it")
			}
			fmt.Fprintln(a.Out, "Its session was ended.")
			return nil
		},
	}
	cmd.Flags().StringArrayVarP(&paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "end the session")
	return cmd
}
