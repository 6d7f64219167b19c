package cli

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/fetch"
	"github.com/skytools-go/skytools/runners/wal/push"
	"github.com/skytools-go/skytools/runners/wal/serve"
	"github.com/skytools-go/skytools/spec"
)

type serveFlags struct {
	dir, spool string
	ahead      int
}

func (r *archived) serve() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use: "serve ARCHIVE", Short: "Answer skytools-wal on the host of a database until told to stop",
		Long: `Archives files and brings them back for the skytools-wal that PostgreSQL starts, over the
socket DIR/ARCHIVE.sock. It sends ahead what PostgreSQL will want archived next, and in
recovery fetches ahead what it will ask for. It may be killed at any time: PostgreSQL
keeps what it was not told about. Run it as the user that PostgreSQL runs as.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs(cmd, args, "ARCHIVE"); err != nil {
				return err
			}
			return r.doServe(cmd.Context(), args[0], &f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.dir, "wal-dir", "/run/skytools", "where the socket is, also SKYTOOLS_WAL_DIR, which skytools-wal reads, too")
	fl.StringVar(&f.spool, "spool", "", "fetch ahead into this directory, outside pg_wal; default: nothing is fetched ahead")
	fl.IntVar(&f.ahead, "ahead", 4, "files to send ahead at a time, beside the one that was asked for")
	return cmd
}

func (r *archived) doServe(ctx context.Context, name string, f *serveFlags) error {
	opened, set, err := r.open(ctx, name, true)
	if err != nil {
		return err
	}
	overflow := overflowOf(set.Archives.Get(name))
	log := r.app.logger().Named(name)
	s := &serve.Server{
		Socket: filepath.Join(f.dir, name+".sock"), Log: log,
		Pusher: push.New(push.Config{Repo: opened, Ahead: f.ahead, Log: log, Overflow: overflow}),
		Getter: fetch.New(fetch.Config{Repo: opened, Spool: f.spool, Log: log}),
	}
	log.Info("serving", "socket", s.Socket, "version", Version())
	defer log.Info("stopped")
	ctx, stop := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { s.Pusher.Keep(ctx) })
	defer keeping.Wait()
	defer stop()
	return s.Run(ctx)
}

// overflowOf says what becomes of WAL while too much of it waits; nil: it waits.
func overflowOf(a *spec.Archive) *push.Overflow {
	if a.WAL.OnOverflow != spec.OverflowDrops {
		return nil
	}
	return &push.Overflow{Limit: int64(a.WAL.QueueAlert), Ledger: push.LedgerOf(a.WAL.State(), a.Name)}
}
