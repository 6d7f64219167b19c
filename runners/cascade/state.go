package cascade

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// A state is what the node is and what its worker is asked to do.
type state struct {
	Code      int32
	Note      string
	Type      string
	Node      string
	Worker    string
	Completed int64 // tick
	Provider  string
	Location  string // of the provider
	Paused    bool
	Uptodate  bool
	Error     string
	Top       int64  // newest tick of the node's own queue; 0: it has none
	Combined  string // queue that a leaf is merged into
	Into      string // what this database is of that queue: root, branch; empty: no node
}

// readState asks the node. Source: contract/pgq.md section 5, get_worker_state.
func readState(ctx context.Context, conn *pg.Conn, queue string) (*state, error) {
	s, err := pg.Struct[state](ctx, conn, `
		select ret_code as code, coalesce(ret_note, '') as note, coalesce(node_type, '') as type,
		       coalesce(node_name, '') as node, coalesce(worker_name, '') as worker,
		       coalesce(completed_tick, 0) as completed, coalesce(provider_node, '') as provider,
		       coalesce(provider_location, '') as location, coalesce(paused, false) as paused,
		       coalesce(uptodate, false) as uptodate, coalesce(cur_error, '') as error,
		       coalesce(local_queue_top, 0) as top, coalesce(combined_queue, '') as combined,
		       coalesce(combined_type, '') as into
		  from pgq_node.get_worker_state($1)`, queue)
	if err != nil {
		return nil, fmt.Errorf("read the state of the node: %w", err)
	}
	if s.Code >= 400 {
		return nil, fmt.Errorf("read the state of the node: %d %s", s.Code, s.Note)
	}
	return &s, s.checkMerge()
}

// acknowledge answers that the worker has seen its orders, paused or not, and
// clears the error of a round that has been repeated with success. Until then it stays
// where status shows it: while the round is tried again, and while the node is paused.
func (w *Worker) acknowledge(ctx context.Context, s *state) error {
	if !s.Uptodate {
		if err := replay.Call(ctx, w.here, pgqnode.SetConsumerUptodate(w.Queue, s.Worker, true)); err != nil {
			return fmt.Errorf("acknowledge the node's state: %w", err)
		}
	}
	if s.Error != "" && !w.failed {
		if err := replay.Call(ctx, w.here, pgqnode.SetConsumerError(w.Queue, s.Worker, "")); err != nil {
			return fmt.Errorf("clear the worker's error: %w", err)
		}
	}
	return nil
}
