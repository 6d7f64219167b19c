package cascade

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// event applies one event of a batch.
// Source: contract/londiste.md section 3.4 and contract/pgq.md section 6.5.
func (w *Worker) event(ctx context.Context, tx *pg.Tx, s *state, e *replay.Event, queue *relay) error {
	if w.skips.Has(e) {
		if err := w.applier.Flush(ctx); err != nil { // what comes before it is applied before
			return err
		}
		return w.skips.Leave(ctx, tx, e, w.applier.Batch.Tick)
	}
	if e.IsData() {
		if !w.londiste {
			w.Stats.Ignored.Add(1)
			return nil
		}
		return w.applier.Add(ctx, e)
	}
	// What was collected comes first: the event may change what tables are.
	if err := w.applier.Flush(ctx); err != nil {
		return err
	}
	w.applier.Forget()
	if err := w.systemEvent(ctx, tx, s, e, queue); err != nil {
		return fmt.Errorf("event %d (%s): %w", e.ID, e.Type, err)
	}
	return nil
}

func (w *Worker) systemEvent(ctx context.Context, tx *pg.Tx, s *state, e *replay.Event, queue *relay) error {
	kind, data, about := string(e.Type), string(e.Data), string(e.Extra[0])
	if strings.HasPrefix(kind, "pgq.") {
		if (about == w.Queue) == (kind == "pgq.tick-id") {
			return fmt.Errorf("it is about queue %q, which cannot be", about)
		}
		return w.nodeEvent(ctx, tx, s, kind, data, e)
	}
	if !w.londiste && (strings.HasPrefix(kind, "londiste.") || kind == "EXECUTE") {
		return nil
	}
	switch kind {
	case "londiste.add-table":
		return call(ctx, tx, londiste.GlobalAddTable(w.Queue, data))
	case "londiste.remove-table":
		return tolerate(call(ctx, tx, londiste.GlobalRemoveTable(w.Queue, data)), 400) // is gone already
	case "londiste.update-seq":
		value, err := strconv.ParseInt(data, 10, 64)
		if err != nil {
			return fmt.Errorf("value of the sequence: %w", err)
		}
		return call(ctx, tx, sql.Exec("select * from londiste.global_update_seq($1, $2, $3)", w.Queue, about, value))
	case "londiste.remove-seq":
		return tolerate(call(ctx, tx, sql.Exec("select * from londiste.global_remove_seq($1, $2)", w.Queue, data)), 400)
	case "EXECUTE":
		return w.execute(ctx, tx, e, queue)
	}
	return fmt.Errorf("nobody knows what to do with an event of this type")
}

func (w *Worker) nodeEvent(ctx context.Context, tx *pg.Tx, s *state, kind, data string, e *replay.Event) error {
	switch kind {
	case "pgq.location-info":
		return call(ctx, tx, pgqnode.RegisterLocation(w.Queue, data, string(e.Extra[1]), string(e.Extra[2]) == "true"))
	case "pgq.unregister-location":
		// 403: this node or its provider is being dropped; the one who drops it says so here too.
		return tolerate(call(ctx, tx, pgqnode.UnregisterLocation(w.Queue, data)), 403)
	case "pgq.global-watermark", "pgq.tick-id":
		tick, err := strconv.ParseInt(data, 10, 64)
		if err != nil {
			return fmt.Errorf("tick: %w", err)
		}
		if s.Type != pgqnode.Branch {
			return nil
		}
		if kind == "pgq.tick-id" {
			return call(ctx, tx, pgqnode.SetPartitionWatermark(w.Queue, string(e.Extra[0]), tick))
		}
		return call(ctx, tx, pgqnode.SetGlobalWatermark(w.Queue, tick))
	}
	return fmt.Errorf("nobody knows what to do with an event of this type")
}

func call(ctx context.Context, tx *pg.Tx, s sql.Stmt) error {
	_, err := tx.Run(ctx, s)
	return err
}

// tolerate forgives a refusal that means that there is nothing to do.
func tolerate(err error, code int) error {
	if reply := replyOf(err); reply != nil && reply.Code == code {
		return nil
	}
	return err
}
