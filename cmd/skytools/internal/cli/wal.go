package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/spec"
)

// archived says where the archives are declared.
type archived struct {
	app   *app
	paths []string
}

func (a *app) wal() *cobra.Command {
	r := &archived{app: a}
	cmd := &cobra.Command{
		Use: "wal", Short: "Archive WAL and bring it back: init, prove, push, get, serve, list, gaps, ack-gap, verify", Args: cobra.ArbitraryArgs,
		Long: `Works on the stores of a declared archive. For PostgreSQL there is skytools-wal, which
starts quickly and asks "skytools wal serve", or runs these commands where nobody serves:

  archive_command = 'skytools-wal push ARCHIVE %p -- --spec /etc/skytools'
  restore_command = 'skytools-wal get ARCHIVE %f %p -- --spec /etc/skytools'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.PersistentFlags().StringArrayVarP(&r.paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	for _, add := range []func(*archived) *cobra.Command{
		(*archived).init, (*archived).push, (*archived).get, (*archived).serve, (*archived).list, (*archived).gaps, (*archived).ackGap, (*archived).verify, (*archived).prove,
	} {
		cmd.AddCommand(add(r))
	}
	return cmd
}

// coded gives an error its exit code.
type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }
func (c coded) ExitCode() int { return c.code }

// open returns the repository of a declared archive. Only what reads needs an identity.
func (r *archived) open(ctx context.Context, name string, reads bool) (*repo.Repo, *spec.Set, error) {
	set, err := r.app.load(r.paths)
	if err != nil {
		return nil, nil, err
	}
	a := set.Archives.Get(name)
	if a == nil {
		err := fmt.Errorf("archive %q is not declared", name)
		if near := spec.Nearest(name, set.Archives.Names()); near != "" {
			err = hinted{err, "did you mean " + near + "?"}
		}
		return nil, nil, err
	}
	opened, err := repoOf(ctx, a, reads, r.app.logger())
	return opened, set, err
}

// cluster opens the repository of a declared archive to look at one cluster in it; see
// [archived.open] and [systemOf].
func (r *archived) cluster(ctx context.Context, name string, system uint64, reads bool) (*repo.Repo, repo.Epoch, error) {
	opened, _, err := r.open(ctx, name, reads)
	if err != nil {
		return nil, repo.Epoch{}, err
	}
	epoch, err := systemOf(ctx, opened, system)
	return opened, epoch, err
}

// repoOf opens the repository of an archive.
func repoOf(ctx context.Context, a *spec.Archive, reads bool, log hclog.Logger) (*repo.Repo, error) {
	c := repo.Config{Codec: repo.Codec(a.WAL.Compression), Log: log.Named(a.Name)}
	for _, s := range a.Stores {
		opened, err := openStore(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("archive %q: %w", a.Name, err)
		}
		c.Stores = append(c.Stores, repo.Store{Store: opened, Required: s.Required})
	}
	var err error
	if c.Recipients, err = repo.Recipients(a.Encrypt.Recipients); err != nil {
		return nil, fmt.Errorf("archive %q: %w", a.Name, err)
	}
	if reads && !a.Encrypt.Identity.IsZero() {
		text, err := a.Encrypt.Identity.Reveal(ctx)
		if err == nil {
			c.Identities, err = repo.Identities(text)
		}
		if err != nil {
			return nil, &identityError{fmt.Errorf("archive %q: identity from %s: %w", a.Name, a.Encrypt.Identity.Ref(), err)}
		}
	}
	return repo.Open(c)
}

// An identityError says that the declared identity is not to be had here. What can do
// without goes on.
type identityError struct{ error }

func (e *identityError) Unwrap() error { return e.error }

func openStore(ctx context.Context, s spec.ArchiveStore) (store.Store, error) {
	c := store.Config{URL: s.URL}
	for _, secret := range []struct {
		from spec.Secret
		into *string
	}{
		{s.AccessKey, &c.AccessKey}, {s.SecretKey, &c.SecretKey}, {s.Session, &c.SessionToken}, {s.PrivateKey, &c.PrivateKey}, {s.Passphrase, &c.Passphrase},
	} {
		if secret.from.IsZero() {
			continue
		}
		var err error
		if *secret.into, err = secret.from.Reveal(ctx); err != nil {
			return nil, err
		}
	}
	return store.Open(ctx, c)
}

// systemOf is the cluster that the archive keeps, if there is one; with several, the
// one that was asked for.
func systemOf(ctx context.Context, r *repo.Repo, asked uint64) (repo.Epoch, error) {
	if asked != 0 {
		return r.Epoch(ctx, asked)
	}
	all, err := r.Systems(ctx)
	switch {
	case err != nil:
		return repo.Epoch{}, err
	case len(all) == 0:
		return repo.Epoch{}, hinted{fmt.Errorf("the archive keeps no cluster yet"), "skytools wal init makes it ready for one"}
	case len(all) > 1:
		return repo.Epoch{}, hinted{fmt.Errorf("the archive keeps %d clusters: %s", len(all), strings.Trim(fmt.Sprint(all), "[]")), "name one with --system"}
	}
	return r.Epoch(ctx, all[0])
}
