package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/sql/pg"
)

// clusterQuery is what an archive must know of a cluster. A row.
const clusterQuery = `
select s.system_identifier as system,
       current_setting('server_version_num')::int / 10000 as major,
       (select setting::bigint from pg_catalog.pg_settings where name = 'wal_segment_size') as size
  from pg_catalog.pg_control_system() s`

func (r *archived) init() *cobra.Command {
	return &cobra.Command{
		Use: "init ARCHIVE", Short: "Make the stores ready for the cluster of an archive; changes nothing where they are",
		Long: `Writes into every store which archive it belongs to, and that it takes the WAL of the
cluster which the archive is of. WAL of any other cluster is refused, so a copy of the
cluster cannot write into its archive. After an upgrade with pg_upgrade, run it again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs(cmd, args, "ARCHIVE"); err != nil {
				return err
			}
			ctx := cmd.Context()
			opened, set, err := r.open(ctx, args[0], false)
			if err != nil {
				return err
			}
			place, err := dsn(set)(ctx, set.Archives.Get(args[0]).Of)
			if err != nil {
				return err
			}
			conn, err := pg.Dial(ctx, place, pg.Options{App: "skytools wal"})
			if err != nil {
				return err
			}
			defer conn.Close()
			type row struct {
				System int64
				Major  int
				Size   int64
			}
			c, err := pg.Struct[row](ctx, conn, clusterQuery)
			if err != nil {
				return fmt.Errorf("look at the cluster: %w", err)
			}
			cluster := segment.Cluster{System: uint64(c.System), Major: c.Major, Size: segment.Size(c.Size)}
			if err := opened.Init(ctx, cluster, time.Now()); err != nil {
				return err
			}
			fmt.Fprintf(r.app.Out, "archive %s takes the WAL of cluster %d (PostgreSQL %d, segments of %d MB)\n", args[0], cluster.System, cluster.Major, cluster.Size>>20)
			return nil
		},
	}
}
