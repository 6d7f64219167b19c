// Package cli is the skytools command: one file per subcommand. It wires the other
// packages together; nothing imports it.
package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skytools-go/skytools/cmd/skytools/internal/term"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
)

// app is one invocation.
type app struct {
	term.Stdio
	format   string
	colour   string
	verbose  bool
	quiet    bool
	logLevel string
	logJSON  bool
	timeout  time.Duration

	hard context.Context // ends at the second signal
}

// Main runs the command and returns the exit code. It is the whole program: tests
// call it, too.
func Main(args []string, io term.Stdio) int {
	a := &app{Stdio: io}
	ctx, hard, stop := a.signals()
	defer stop()
	a.hard = hard
	root := a.root()
	root.SetArgs(args)
	root.SetIn(io.In)
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprint(io.Err, tell(err))
	}
	return exitCode(err)
}

// signals returns a context that ends at the first signal, and one that ends at
// the second.
func (a *app) signals() (soft, hard context.Context, stop func()) {
	soft, cancelSoft := context.WithCancel(context.Background())
	hard, cancelHard := context.WithCancel(context.Background())
	if a.Notify == nil {
		return soft, hard, func() { cancelSoft(); cancelHard() }
	}
	c := make(chan os.Signal, 2)
	unsubscribe := a.Notify(c, term.Interrupts...)
	done := make(chan struct{})
	var count atomic.Int32
	go func() {
		for {
			select {
			case <-c:
				if count.Add(1) == 1 {
					cancelSoft()
				} else {
					cancelHard()
				}
			case <-done:
				return
			}
		}
	}()
	return soft, hard, func() { unsubscribe(); close(done); cancelSoft(); cancelHard() }
}

// poked calls f whenever somebody sends SIGUSR1, until stop: long commands then say
// where they are.
func (a *app) poked(f func()) (stop func()) {
	if a.Notify == nil {
		return func() {}
	}
	c, done := make(chan os.Signal, 1), make(chan struct{})
	unsubscribe := a.Notify(c, syscall.SIGUSR1)
	go func() {
		for {
			select {
			case <-c:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() { unsubscribe(); close(done) }
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "skytools",
		Short: "PgQ queues and table replication for PostgreSQL, declared in YAML",
		Long: `skytools compares what a team has written down - PgQ queues, the nodes of each
cascade, replicated tables - with live PostgreSQL databases, shows what would
change (plan), changes it (apply), runs the loops (run) and says what changed
behind the team's back (drift).

New here? Try: skytools demo`,
		SilenceUsage: true, SilenceErrors: true,
		SuggestionsMinimumDistance: 3,
		Args:                       cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.fromEnvironment(cmd) },
	}
	f := root.PersistentFlags()
	f.StringVar(&a.format, "format", "text", "output format: text, json, and for some commands markdown, github, junit, sql, prometheus")
	f.StringVar(&a.colour, "color", "auto", "colour: auto, always, never")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "say more, such as the SQL of each step")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "say only errors and the last line")
	f.StringVar(&a.logLevel, "log-level", "info", "log level on stderr: trace, debug, info, warn, error")
	f.BoolVar(&a.logJSON, "log-json", false, "log as JSON")
	f.DurationVar(&a.timeout, "timeout", time.Minute, "longest time to read one database")
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	for _, add := range commands {
		root.AddCommand(add(a))
	}
	return root
}

// commands are all subcommands, in the order of the help.
var commands = []func(*app) *cobra.Command{
	(*app).demo, (*app).man, (*app).validate, (*app).plan, (*app).show, (*app).apply, (*app).drift, (*app).status, (*app).wait,
	(*app).compare, (*app).repair, (*app).resync, (*app).skipEvent, (*app).missing,
	(*app).adopt, (*app).forget, (*app).observe, (*app).run, (*app).unlock, (*app).queue, (*app).wal,
	(*app).backup, (*app).restore, (*app).verify, (*app).drill, (*app).standby,
	(*app).schema, (*app).explain, (*app).completion, (*app).version, (*app).sandbox, (*app).sql,
}

func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	err := usage("%s: there is no command %q", cmd.CommandPath(), name)
	if near := spec.Nearest(name, names); near != "" {
		err = usage("%s: there is no command %q; did you mean %s?", cmd.CommandPath(), name, near)
	}
	return err
}

// flagError suggests the nearest flag.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if _, name, ok := strings.Cut(text, "unknown flag: --"); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := spec.Nearest(name, names); near != "" {
			text += "; did you mean --" + near + "?"
		}
	}
	return usage("%s: %s", cmd.CommandPath(), text)
}

// fromEnvironment sets every flag that was not given from SKYTOOLS_FLAG.
func (a *app) fromEnvironment(cmd *cobra.Command) error {
	var first error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := "SKYTOOLS_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v, ok := a.Env(name); ok && !f.Changed && first == nil && name != "SKYTOOLS_NOW" { // that is the time, see planOptions
			if err := cmd.Flags().Set(f.Name, v); err != nil {
				first = usage("%s: %v", name, err)
			}
		}
	})
	return first
}

// needFormat refuses a format that the command does not have.
func (a *app) needFormat(allowed ...string) error {
	for _, f := range allowed {
		if a.format == f {
			return nil
		}
	}
	err := fmt.Sprintf("--format %s: this command has %s", a.format, strings.Join(allowed, ", "))
	if near := spec.Nearest(a.format, allowed); near != "" {
		err += "; did you mean " + near + "?"
	}
	return usage("%s", err)
}

func (a *app) paint() render.Paint {
	if a.format == "text" && a.Colour(a.colour) {
		return term.Paint
	}
	return nil
}

func (a *app) painted(what, text string) string {
	if p := a.paint(); p != nil {
		return p(what, text)
	}
	return text
}

// talk writes to stderr what is not the answer, unless asked to be quiet.
func (a *app) talk(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.Err, format+"\n", args...)
	}
}

// load reads the YAML at paths, by default that of the working directory.
func (a *app) load(paths []string) (*spec.Set, error) {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	set, problems, err := spec.Load(paths...)
	if err != nil {
		return nil, hinted{err, "name the directory or file that holds the YAML"}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return set, nil
}

// rootOf names the YAML in messages.
func rootOf(paths []string) string {
	if len(paths) == 0 {
		return "."
	}
	return strings.Join(paths, " ")
}

// by says who is acting: user@host, or what SKYTOOLS_BY says.
func (a *app) by() string {
	if by, ok := a.Env("SKYTOOLS_BY"); ok && by != "" {
		return by
	}
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname()
	return name + "@" + host
}

// revision is the commit of the YAML, when it lies in a git work tree.
func (a *app) revision(paths []string) string {
	if r, ok := a.Env("SKYTOOLS_REVISION"); ok {
		return r
	}
	dir := "."
	if len(paths) > 0 {
		if dir = paths[0]; filepath.Ext(dir) != "" {
			dir = filepath.Dir(dir)
		}
	}
	out, err := exec.Command("git", "-C", dir, "log", "-1", "--format=%h", "--", ".").Output()
	commit := strings.TrimSpace(string(out))
	if err != nil || commit == "" {
		return ""
	}
	if dirty, _ := exec.Command("git", "-C", dir, "status", "--porcelain", "--", ".").Output(); len(dirty) > 0 {
		commit += "-dirty"
	}
	return "git:" + commit
}
