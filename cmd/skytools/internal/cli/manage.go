package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/applier"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pg"
)

// writeJSON writes v to a file, or to out when the name is empty.
func writeJSON(out io.Writer, file string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if file == "" {
		_, err = out.Write(text)
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

func (a *app) adopt() *cobra.Command {
	var all bool
	var dir, from string
	var paths []string
	cmd := &cobra.Command{
		Use: "adopt ADDRESS... | --all", Short: "Write the YAML of what exists and is not declared; reads only",
		Long: `Writes YAML for objects that exist in the declared databases and that the YAML does
not mention. Put it beside the rest: plan then shows them as adopted, and apply
records them as managed without changing them.`,
		RunE: func(cmd *cobra.Command, globs []string) error {
			if len(globs) == 0 && !all {
				return usage("adopt: name an ADDRESS (globs are fine), or use --all")
			}
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			live, err := a.observeSet(cmd.Context(), set, from, 0)
			if err != nil {
				return err
			}
			text, n, err := planner.AdoptYAML(set, live, a.planOptions(paths), globs)
			if err != nil {
				return err
			}
			if n == 0 {
				a.talk("Nothing to adopt: everything that exists and matches is declared.")
				return nil
			}
			if dir == "" {
				fmt.Fprint(a.Out, text)
			} else {
				file := filepath.Join(dir, "adopted.yaml")
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					return err
				}
				a.talk("Wrote %s.", file)
			}
			a.talk("%d objects. Put this beside your YAML, then: skytools plan", n)
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "everything that is not declared")
	f.StringVar(&dir, "out", "", "write adopted.yaml into this directory instead of stdout")
	f.StringVar(&from, "live", "", "adopt from this observation instead of live databases")
	f.StringArrayVarP(&paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	return cmd
}

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
	cmd.Flags().StringArrayVarP(&paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	return cmd
}

func (a *app) forgetOne(ctx context.Context, set *spec.Set, address planner.Address) error {
	conn, err := a.dialNode(ctx, set, address.Database)
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

func (a *app) dialNode(ctx context.Context, set *spec.Set, node string) (*pg.Conn, error) {
	place, err := dsn(set)(ctx, node)
	if err != nil {
		return nil, err
	}
	conn, err := pg.Dial(ctx, place, pg.Options{App: "skytools " + a.by()})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", node, err)
	}
	return conn, nil
}

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
