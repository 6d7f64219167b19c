package replay

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/sql/pg"
)

// Dial opens a session whose texts do not depend on settings of server, database
// or role. The settings are made by statements, as poolers refuse them at start-up.
func Dial(ctx context.Context, dsn string, o pg.Options) (*pg.Conn, error) {
	conn, err := pg.Dial(ctx, dsn, o)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, `
		select set_config('DateStyle', 'ISO, YMD', false), set_config('IntervalStyle', 'postgres', false),
		       set_config('TimeZone', 'UTC', false), set_config('bytea_output', 'hex', false),
		       set_config('extra_float_digits', '3', false), set_config('xmloption', 'content', false),
		       set_config('statement_timeout', '0', false), set_config('idle_in_transaction_session_timeout', '0', false),
		       set_config('jit', 'off', false), set_config('client_encoding', 'UTF8', false)`)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("set up the session: %w", err)
	}
	return conn, nil
}

// Become makes the session one that replays: triggers and foreign keys are quiet,
// and the closed queue of a branch takes its events. It reports false when nobody
// may set session_replication_role here: then our own triggers and queues know by
// the setting skytools.replaying, and all others do not. It names the queue, or is a
// star where triggers of other queues have to be quiet, too: a leaf's table may have
// several sources, and be captured for the queue that they are merged into.
//
// Source: contract/londiste.md section 3.7.
func Become(ctx context.Context, conn *pg.Conn, queue string) (replica bool, err error) {
	for _, text := range []string{
		"set session_replication_role = replica",
		"select londiste.set_session_replication_role('replica', false)",
	} {
		_, err := conn.Exec(ctx, text)
		switch pg.Code(err) {
		case "42501", "42883", "3F000": // no right, no such function, no such schema
			continue
		}
		if err != nil {
			return false, fmt.Errorf("set session_replication_role: %w", err)
		}
		return true, nil
	}
	_, err = conn.Exec(ctx, `
		select set_config('skytools.replaying', case when exists (
		           select 1
		             from pgq_node.node_info n
		             join pgq_node.node_info o on o.queue_name <> n.queue_name and (o.node_type = 'leaf' or o.queue_name = n.combined_queue)
		            where n.queue_name = $1 and n.node_type = 'leaf') then '*' else $1 end, false)`, queue)
	if err != nil {
		return false, fmt.Errorf("set skytools.replaying: %w", err)
	}
	return false, nil
}
