package cascade

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/sql/pg"
)

// A Node is a node that a database is.
type Node struct {
	Queue, Name, Type, Worker string
}

// Discover lists the nodes of a database, by queue. A database without pgq_node
// has none.
func Discover(ctx context.Context, dsn string) ([]Node, error) {
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "skytools discover"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	installed, err := pg.One[bool](ctx, conn, "select to_regclass('pgq_node.node_info') is not null")
	if err != nil || !installed {
		return nil, err
	}
	nodes, err := pg.Structs[Node](ctx, conn, `
		select queue_name as queue, node_name as name, node_type as type, coalesce(worker_name, '') as worker
		  from pgq_node.node_info order by queue_name`)
	if err != nil {
		return nil, fmt.Errorf("list the nodes of the database: %w", err)
	}
	return nodes, nil
}
