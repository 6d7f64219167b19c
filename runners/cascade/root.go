package cascade

import (
	"context"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// root does what a root's worker has to: it tells the cascade the tick that all
// nodes have passed, and how far sequences are.
func (w *Worker) root(ctx context.Context) error {
	if time.Since(w.reported) < w.Watermark {
		return nil
	}
	if err := replay.Call(ctx, w.here, pgqnode.SetGlobalWatermark(w.Queue, 0)); err != nil {
		return fmt.Errorf("publish the global watermark: %w", err)
	}
	if w.londiste {
		if err := replay.Call(ctx, w.here, sql.Exec("select * from londiste.root_check_seqs($1)", w.Queue)); err != nil {
			return fmt.Errorf("publish sequences: %w", err)
		}
	}
	w.reported = time.Now()
	return nil
}

// report tells the provider which tick this node and those below it still need.
// Source: contract/pgq.md section 6.7, step 12.
func (w *Worker) report(ctx context.Context, s *state, completed int64) error {
	if time.Since(w.reported) < w.Watermark {
		return nil
	}
	mark, err := pg.One[*int64](ctx, w.here, "select local_watermark from pgq_node.get_node_info($1)", w.Queue)
	if err != nil {
		return fmt.Errorf("read the local watermark: %w", err)
	}
	w.reported = time.Now()
	if mark == nil {
		return nil
	}
	err = replay.Call(ctx, w.above, pgqnode.SetSubscriberWatermark(w.Queue, s.Node, min(*mark, completed)))
	if reply := replyOf(err); reply != nil && reply.Code == 405 {
		return nil // a node below was attached at an older tick: what the provider has is kept
	}
	if err != nil {
		return fmt.Errorf("report the watermark to provider %s: %w", s.Provider, err)
	}
	return nil
}
