package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/sql/sandbox"
)

// sandboxDir holds the servers that "sandbox up" has started, one folder each. It
// is short, because a socket's path is limited to about a hundred bytes.
func sandboxDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("skytools-sandbox-%d", os.Getuid()))
}

var sandboxName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,24}$`)

func (a *app) sandbox() *cobra.Command {
	cmd := &cobra.Command{
		Use: "sandbox", Short: "Throwaway PostgreSQL servers from installed binaries",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	cmd.AddCommand(a.sandboxUp(), a.sandboxDown(), a.sandboxPsql(), a.sandboxList())
	return cmd
}

func (a *app) sandboxUp() *cobra.Command {
	var tcp bool
	var bin string
	cmd := &cobra.Command{
		Use: "up [NAME...]", Short: "Start servers; they run until down",
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 {
				names = []string{"pg"}
			}
			if bin != "" {
				os.Setenv("PG_BIN", bin)
			}
			if err := os.MkdirAll(sandboxDir(), 0o755); err != nil {
				return err
			}
			for _, name := range names {
				if err := a.startSandbox(cmd.Context(), name, tcp); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&tcp, "tcp", false, "listen on a free port of 127.0.0.1, too")
	cmd.Flags().StringVar(&bin, "bin", "", "directory with postgres and initdb; default: PG_BIN, or the newest installed")
	return cmd
}

func (a *app) startSandbox(ctx context.Context, name string, tcp bool) error {
	if !sandboxName.MatchString(name) {
		return usage("sandbox up: %q: use up to 24 letters, digits, - and _", name)
	}
	dir := filepath.Join(sandboxDir(), name)
	if s, err := sandbox.Open(dir); err == nil && s.Running() {
		fmt.Fprintf(a.Out, "%s runs already\n  %s\n", name, s.DSN("postgres"))
		return nil
	}
	os.RemoveAll(dir) // of a server that a reboot ended
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := sandbox.Start(ctx, sandbox.Options{Dir: dir, Detached: true, TCP: tcp})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s runs PostgreSQL %s\n  %s\n", name, s.Install.Version, s.DSN("postgres"))
	return nil
}

func (a *app) sandboxDown() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "down [NAME...] | --all", Short: "Stop servers and remove everything in them",
		RunE: func(_ *cobra.Command, names []string) error {
			if all {
				names = sandboxNames()
			}
			if len(names) == 0 && !all {
				names = []string{"pg"}
			}
			for _, name := range names {
				s, err := openSandbox(name)
				if err != nil {
					return err
				}
				if err := s.Stop(); err != nil {
					return err
				}
				fmt.Fprintf(a.Out, "%s has gone\n", name)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	return cmd
}

func openSandbox(name string) (*sandbox.Server, error) {
	if !sandboxName.MatchString(name) {
		return nil, usage("sandbox: %q is no name of a sandbox server", name)
	}
	s, err := sandbox.Open(filepath.Join(sandboxDir(), name))
	if err != nil {
		return nil, hinted{fmt.Errorf("there is no sandbox server %q", name), "skytools sandbox list, or start it: skytools sandbox up " + name}
	}
	return s, nil
}

func sandboxNames() []string {
	var names []string
	entries, _ := os.ReadDir(sandboxDir())
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (a *app) sandboxList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the servers", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			for _, name := range sandboxNames() {
				s, err := openSandbox(name)
				if err != nil {
					continue
				}
				state := "stopped"
				if s.Running() {
					state = "running"
				}
				fmt.Fprintf(a.Out, "%-12s %-8s %-8s %s\n", name, s.Install.Version, state, s.DSN("postgres"))
			}
			return nil
		},
	}
}

func (a *app) sandboxPsql() *cobra.Command {
	return &cobra.Command{
		Use: "psql [NAME] [-- ARG...]", Short: "Open psql on a server",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, rest := "pg", args
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				name, rest = args[0], args[1:]
			}
			s, err := openSandbox(name)
			if err != nil {
				return err
			}
			psql := exec.CommandContext(cmd.Context(), "psql", append([]string{s.DSN("postgres")}, rest...)...)
			psql.Stdin, psql.Stdout, psql.Stderr = a.In, a.Out, a.Err
			if err := psql.Run(); err != nil {
				return hinted{fmt.Errorf("psql: %w", err), "psql comes with the PostgreSQL client package"}
			}
			return nil
		},
	}
}
