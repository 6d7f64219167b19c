package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/archive"
	"github.com/skytools-go/skytools/sql/pg"
)

func (r *archived) prove() *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{
		Use: "prove ARCHIVE", Short: "Prove that WAL arrives: end a segment on the server, and wait for it in every required store",
		Long: `Writes a restore point, has the server begin a new segment, and waits until every required
store has the one that ended. What archive_command answers is not asked: the stores are.

The role needs execute on pg_create_restore_point and pg_switch_wal.
Exit code 0 when it has arrived, 10 when it has not within --limit.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.app.needFormat("text", "json"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args, "ARCHIVE"); err != nil {
				return err
			}
			return r.doProve(cmd.Context(), args[0], limit)
		},
	}
	cmd.Flags().DurationVar(&limit, "limit", time.Minute, "how long to wait")
	return cmd
}

// ended is a segment that the server has ended.
type ended struct {
	Segment  string
	At       string // a position in it
	Timeline int32
}

// proof is what became of it.
type proof struct {
	Segment string  `json:"segment"`
	Seconds float64 `json:"seconds"` // since it ended
	Arrived bool    `json:"arrived"`
}

func (r *archived) doProve(ctx context.Context, name string, limit time.Duration) error {
	opened, set, err := r.open(ctx, name, false)
	if err != nil {
		return err
	}
	of := set.Archives.Get(name).Of
	place, err := dsn(set)(ctx, of)
	if err != nil {
		return err
	}
	conn, err := pg.Dial(ctx, place, pg.Options{App: "skytools wal"})
	if err != nil {
		return err
	}
	defer conn.Close()
	system, err := pg.One[int64](ctx, conn, "select system_identifier from pg_catalog.pg_control_system()")
	if err != nil {
		return err
	}
	if _, err := opened.Epoch(ctx, uint64(system)); err != nil {
		return hinted{err, "skytools wal init " + name + " makes the stores ready"}
	}
	e, err := pg.Struct[ended](ctx, conn, archive.EndSegment)
	if err != nil {
		return fmt.Errorf("end a segment of %s: %w", of, err)
	}
	at, err := sql.ParseLSN(e.At)
	if err != nil {
		return err
	}
	began := time.Now()
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = opened.Wait(waiting, uint64(system), uint32(e.Timeline), at, at+1)
	if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return err
	}
	return r.printProof(ctx, conn, of, proof{e.Segment, time.Since(began).Seconds(), err == nil}, err)
}

func (r *archived) printProof(ctx context.Context, conn *pg.Conn, of string, e proof, late error) error {
	if r.app.format == "json" {
		if err := r.app.encode(e); err != nil {
			return err
		}
	} else if e.Arrived {
		fmt.Fprintf(r.app.Out, "%s is in every required store, %s after it ended.\n", e.Segment, time.Duration(e.Seconds*float64(time.Second)).Round(time.Millisecond))
	}
	if e.Arrived {
		return nil
	}
	hint := "look into the log of the server of " + of
	if a, err := pg.Struct[archive.Archiver](ctx, conn, archive.ArchiverQuery); err == nil {
		hint += ": " + a.String()
	}
	return &codeError{code: exitDiffers, message: fmt.Sprintf("%s has not arrived within %.0f s: %v", e.Segment, e.Seconds, late), hint: hint}
}
