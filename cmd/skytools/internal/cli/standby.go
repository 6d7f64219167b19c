package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/runners/wal/standby"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/pg"
)

// standbyFlags are those of all commands for standbys.
type standbyFlags struct {
	archiveFlags
	command  string
	owner    string
	patience time.Duration
}

func (a *app) standby() *cobra.Command {
	var f standbyFlags
	cmd := &cobra.Command{
		Use: "standby", Short: "Make standbys and look after them: create, status, pause, resume, delay, promote, rewind, drop", Args: cobra.ArbitraryArgs,
		Long: `Works on the standbys that are declared. create, rewind and drop run on the standby's own
host, as the user of its server or as root; the others run anywhere.

  skytools standby create b      restore a backup, follow the primary
  skytools standby status        how far they are, what is wrong
  skytools standby promote b     make it a primary
  skytools standby rewind a      let the old primary follow the new one`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	f.add(a, cmd)
	for _, add := range []func(*app, *standbyFlags) *cobra.Command{
		(*app).standbyCreate, (*app).standbyStatus, (*app).standbyPause, (*app).standbyResume, (*app).standbyDelay,
		(*app).standbyPromote, (*app).standbyRewind, (*app).standbyDrop,
	} {
		cmd.AddCommand(add(a, &f))
	}
	return cmd
}

// onHost adds the flags of what works on the data directory.
func (f *standbyFlags) onHost(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.command, "restore-command", "", "how the server fetches WAL; default: this program")
	fl.StringVar(&f.owner, "owner", "", "as root: whose the files are; default: who owns the directory, or what is above it")
	f.waits(cmd)
}

func (f *standbyFlags) waits(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.patience, "patience", time.Hour, "how long the server may take to do what it is asked")
}

// one reads the YAML and makes the standby that args name.
func (f *standbyFlags) one(cmd *cobra.Command, args []string) (*standby.Standby, error) {
	if err := f.app.needFormat("text", "json"); err != nil {
		return nil, err
	}
	if err := exactArgs(cmd, args, "STANDBY"); err != nil {
		return nil, err
	}
	set, err := f.app.load(f.paths)
	if err != nil {
		return nil, err
	}
	declared := set.Standbys.Get(args[0])
	if declared == nil {
		err := fmt.Errorf("standby %q is not declared", args[0])
		if near := spec.Nearest(args[0], set.Standbys.Names()); near != "" {
			err = hinted{err, "did you mean " + near + "?"}
		}
		return nil, err
	}
	s, err := standbyOf(cmd.Context(), set, declared)
	if err != nil {
		return nil, err
	}
	s.Owner, s.Command, s.Patience = f.owner, f.command, f.patience
	return s, nil
}

// standbyOf is a declared standby as its runner wants it, without its archive.
func standbyOf(ctx context.Context, set *spec.Set, d *spec.Standby) (*standby.Standby, error) {
	s := &standby.Standby{
		Name: d.Name, Data: d.DataDir, Tablespaces: d.Tablespaces, Follow: standby.Follow(d.Follows()), Delay: time.Duration(d.Delay), Holds: d.Replay == spec.ReplayPaused,
		Settings: d.Settings, Conninfo: d.Conninfo, Bin: d.BinDir, Start: d.Start, Stop: d.Stop,
	}
	var err error
	if s.DSN, err = d.DSN.Reveal(ctx); err != nil {
		return nil, fmt.Errorf("standby %s: %w", d.Name, err)
	}
	if s.Primary, err = direct(set)(ctx, d.Of); err != nil {
		return nil, err
	}
	if location := set.Database(d.Of).Location; s.Conninfo == "" && location != "" { // which says no role
		s.Conninfo, _, err = pg.Conceal(location, map[string]string{"user": pg.User(s.Primary)})
	}
	return s, err
}

// standbysOf are the standbys of the set, to report on.
func standbysOf(set *spec.Set) []status.Followed {
	var all []status.Followed
	for i := range set.Standbys {
		if d := &set.Standbys[i]; d.State == spec.Present {
			all = append(all, status.Followed{Of: d.Of, Name: d.Name, Standby: func(ctx context.Context) (*standby.Standby, error) { return standbyOf(ctx, set, d) }})
		}
	}
	return all
}

// stored gives a standby the archive that it is declared to have.
func (f *standbyFlags) stored(cmd *cobra.Command, s *standby.Standby) error {
	set, err := f.app.load(f.paths)
	if err != nil {
		return err
	}
	name := set.Standbys.Get(s.Name).Archive
	if name == "" {
		s.Command = ""
		return nil
	}
	opened, err := f.whole(cmd.Context(), cmd, []string{name}, true)
	if err != nil {
		return err
	}
	s.Archive = &standby.Stored{Shelf: opened.shelf, WAL: opened.Archive}
	switch {
	case s.Follow == standby.Stream:
		s.Command = ""
	case s.Command == "":
		s.Command, err = f.restoreCommand(name)
	}
	return err
}

// stages tells of them when asked to say more.
func (a *app) stages(name string) {
	if a.verbose {
		a.talk("%s", name)
	}
}

// standbyNames completes the first argument.
func (a *app) standbyNames(f *standbyFlags) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(_ *cobra.Command, args []string, typed string) (names []string, _ cobra.ShellCompDirective) {
		set, err := a.load(f.paths)
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, name := range set.Standbys.Names() {
			if strings.HasPrefix(name, typed) {
				names = append(names, name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
