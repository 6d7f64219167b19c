package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/push"
	"github.com/skytools-go/skytools/runners/wal/serve"
)

type pushFlags struct {
	within  time.Duration
	dataDir string
	running bool
}

func (r *archived) push() *cobra.Command {
	var f pushFlags
	cmd := &cobra.Command{
		Use: "push ARCHIVE PATH | push ARCHIVE --from-datadir DIR", Short: "Archive a WAL file, as archive_command does, or all that a data directory has",
		Long: `Exit code 0 says that every required store has the file, with this very content. The
same file again is fine; another content under its name is refused with exit code 2 and
replaces nothing. Any other failure is 1, and PostgreSQL tries again.

With --from-datadir it archives what a server that is dead has left: every complete
segment that the archive does not have, and the last one as far as it goes. With
--running as well, a server may run there: what is complete is archived, such as what
was streamed to it before it was promoted.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := r.doPush(cmd, args, &f)
			if err == nil {
				return nil
			}
			return coded{err, serve.PushCode(err)}
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return coded{flagError(cmd, err), serve.PushCode(err)} })
	cmd.Flags().DurationVar(&f.within, "within", 50*time.Second, "give up after this long; PostgreSQL tries again")
	cmd.Flags().StringVar(&f.dataDir, "from-datadir", "", "archive all that this data directory has")
	cmd.Flags().BoolVar(&f.running, "running", false, "with --from-datadir: a server may run there")
	return cmd
}

func (r *archived) doPush(cmd *cobra.Command, args []string, f *pushFlags) error {
	ctx := cmd.Context()
	if f.dataDir != "" {
		if err := exactArgs(cmd, args, "ARCHIVE"); err != nil {
			return err
		}
		return r.rescue(ctx, args[0], f)
	}
	if err := exactArgs(cmd, args, "ARCHIVE", "PATH"); err != nil {
		return err
	}
	base, err := os.Getwd()
	if err != nil {
		return err
	}
	opened, set, err := r.open(ctx, args[0], false)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.within)
	defer cancel()
	return push.New(push.Config{Repo: opened, Log: r.app.logger(), Overflow: overflowOf(set.Archives.Get(args[0]))}).Push(ctx, ctx, base, args[1])
}

func (r *archived) rescue(ctx context.Context, name string, f *pushFlags) error {
	opened, _, err := r.open(ctx, name, false)
	if err != nil {
		return err
	}
	if f.running {
		sent, err := push.Backfill(ctx, opened, wal.DataDir(f.dataDir))
		for _, n := range sent {
			fmt.Fprintln(r.app.Out, n)
		}
		return err
	}
	sent, upTo, err := push.Rescue(ctx, opened, wal.DataDir(f.dataDir))
	for _, n := range sent {
		fmt.Fprintln(r.app.Out, n)
	}
	if err == nil {
		fmt.Fprintf(r.app.Err, "the archive has what there is, up to %s\n", upTo)
	}
	return err
}
