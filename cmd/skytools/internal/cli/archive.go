package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/archive"
	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/pg"
)

// archiveFlags are those of all commands that work on an archive as a whole.
type archiveFlags struct {
	archived
	system uint64
}

func (f *archiveFlags) add(a *app, cmd *cobra.Command) {
	f.app = a
	fl := cmd.PersistentFlags()
	fl.StringArrayVarP(&f.paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	fl.Uint64Var(&f.system, "system", 0, "system identifier of the cluster, where the archive keeps several")
}

// opened is a declared archive, with what it holds of one cluster.
type opened struct {
	*archive.Archive
	shelf    *backup.Shelf
	declared *spec.Archive
	set      *spec.Set
	log      hclog.Logger
}

// whole opens the archive that args name, or the only one. reads: an identity is
// wanted.
func (f *archiveFlags) whole(ctx context.Context, cmd *cobra.Command, args []string, reads bool) (*opened, error) {
	if len(args) == 0 {
		set, err := f.app.load(f.paths)
		if err != nil {
			return nil, err
		}
		if names := set.Archives.Names(); len(names) != 1 {
			return nil, usage("%s: name one of the %d archives that are declared: %s", cmd.CommandPath(), len(names), strings.Join(names, ", "))
		}
		args = set.Archives.Names()
	}
	r, set, err := f.open(ctx, args[0], reads)
	if err != nil {
		return nil, err
	}
	epoch, err := systemOf(ctx, r, f.system)
	if err != nil {
		return nil, err
	}
	o := &opened{Archive: &archive.Archive{Repo: r, System: epoch.System, Size: epoch.Size}, declared: set.Archives.Get(args[0]), set: set, log: f.app.logger()}
	o.shelf = o.Shelf()
	return o, nil
}

// options are those of a backup of the cluster, as declared.
func (o *opened) options(ctx context.Context) (backup.Options, error) {
	primary, err := direct(o.set)(ctx, o.declared.Of)
	rate := int(o.declared.Backup.Rate >> 10)
	if rate > 0 { // what BASE_BACKUP accepts
		rate = min(max(rate, 32), 1<<20)
	}
	options := backup.Options{DSN: primary, App: "skytools backup", WAL: o.Archive, Rate: rate, BadPages: o.declared.Backup.OnBadPage == spec.BadPageWarns}
	if from := o.declared.Backup.From; from != "" && err == nil {
		standby, why := answering(ctx, o.set, from)
		if why != nil {
			o.log.Warn("the backup is taken from the primary: the standby that is declared cannot give it", "standby", from, "error", why)
		} else {
			options.DSN, options.Primary = standby, primary
		}
	}
	return options, err
}

// answering is where a standby is, if it answers and is one.
func answering(ctx context.Context, set *spec.Set, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	place, err := dsn(set)(ctx, name)
	if err != nil {
		return "", err
	}
	conn, err := pg.Dial(ctx, place, pg.Options{App: "skytools backup"})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	follows, err := pg.One[bool](ctx, conn, "select pg_catalog.pg_is_in_recovery()")
	if err == nil && !follows {
		err = errors.New("it follows nobody any more: it was promoted")
	}
	return place, err
}

// policy is what is declared to be kept; nil: everything.
func policyOf(a *spec.Archive) *retain.Policy {
	if !a.Retention.Any() {
		return nil
	}
	p := &retain.Policy{Window: time.Duration(a.Retention.Window), MinFull: a.Retention.MinFull, Weekly: a.Retention.Weekly, Monthly: a.Retention.Monthly}
	if a.Retention.PreExpire != "" {
		p.Veto = retain.Command(a.Retention.PreExpire, a.Name)
	}
	return p
}

// find is the backup that a person means: its name, or the beginning of one only.
func (o *opened) find(ctx context.Context, name string) (backup.ID, error) {
	entries, err := o.shelf.List(ctx)
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if e.Complete && strings.HasPrefix(string(e.ID), name) {
			found = append(found, string(e.ID))
		}
	}
	switch len(found) {
	case 0:
		return "", hinted{fmt.Errorf("archive %q has no backup %s", o.declared.Name, name), "skytools backup list shows what there is"}
	case 1:
		return backup.ID(found[0]), nil
	}
	return "", fmt.Errorf("archive %q has %d backups whose names begin with %s: %s", o.declared.Name, len(found), name, strings.Join(found, ", "))
}

// restoreCommand is what a restored server runs to fetch WAL: the small client where it
// lies beside us, or ourselves.
func (f *archiveFlags) restoreCommand(archive string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	var specs string
	for _, p := range f.paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return "", err
		}
		specs += " --spec " + word(abs)
	}
	if len(f.paths) == 0 {
		dir, err := os.Getwd()
		if err != nil {
			return "", err
		}
		specs = " --spec " + word(dir)
	}
	if small := filepath.Join(filepath.Dir(self), "skytools-wal"); executable(small) {
		return fmt.Sprintf("%s get %s %%f %%p --%s", word(small), word(archive), specs), nil
	}
	return fmt.Sprintf("%s wal get %s %%f %%p%s", word(self), word(archive), specs), nil
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// word quotes a word for the shell that PostgreSQL starts, in which % is special.
func word(s string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "%", "%%").Replace(s) + "'"
}
