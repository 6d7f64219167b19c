package pgqnode

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed node.sql
var nodeSQL string

// Nodes reads the node of every queue in the database: settings only. Locations
// are connection strings as they are stored, so a row can hold a password.
var Nodes = sql.Catalog{Kind: "node", Text: nodeSQL}

// Types of a node.
const (
	Root   = "root"
	Branch = "branch"
	Leaf   = "leaf"
)

// Node is one row of [Nodes].
type Node struct {
	Queue    string `json:"queue"`
	Name     string `json:"name"`
	Type     string `json:"type"`
	Provider string `json:"provider"` // a root's provider is itself
	Worker   string `json:"worker"`
	Combined string `json:"combined,omitempty"` // leaf: the queue here that it is merged into
	Paused   bool   `json:"paused"`             // the worker

	Stopped []string `json:"stopped,omitempty"` // queues with a leaf here that is merged into this one, and whose worker is paused

	// How the queue is closed: a branch has both, a root neither, and a root that
	// has them is being demoted. Always false on a leaf, which has no queue.
	InsertDisabled bool `json:"insert_disabled,omitempty"`
	ExternalTicker bool `json:"external_ticker,omitempty"`

	RotationPeriod *float64 `json:"rotation_period,omitempty"` // seconds; nil on a leaf

	Attrs       map[string]*string    `json:"attrs"` // nil is SQL's NULL
	Locations   map[string]Location   `json:"locations"`
	Subscribers map[string]Subscriber `json:"subscribers"` // by node
	Consumers   map[string]Consumer   `json:"consumers"`   // cascaded, beside the worker
}

// Location says where a node is reached.
type Location struct {
	Location string `json:"location"`
	Dead     bool   `json:"dead"`
}

// Subscriber names the two consumers of a node that reads from this one.
type Subscriber struct {
	Worker    string `json:"worker"`
	Watermark string `json:"watermark"`
}

// Consumer is a cascaded consumer that is not the worker.
type Consumer struct {
	Provider string `json:"provider"`
	Paused   bool   `json:"paused"`
}

// RegisterLocation stores where a node is reached and whether it is dead. On a
// root the other nodes hear of it. Without location the known one is kept.
func RegisterLocation(queue, node, location string, dead bool) sql.Stmt {
	return sql.Exec("select * from pgq_node.register_location($1, $2, $3, $4)", queue, node, text(location), dead)
}

// UnregisterLocation forgets a node and its subscription. On a root the other
// nodes hear of it.
func UnregisterLocation(queue, node string) sql.Stmt {
	return sql.Exec("select * from pgq_node.unregister_location($1, $2)", queue, node)
}

// CreateRoot makes the database the root of a queue, which is created if need be.
// The node's own location must be registered.
func CreateRoot(queue, node, worker string) sql.Stmt {
	return createNode(queue, Root, node, worker, nil, nil, nil)
}

// CreateBranch makes the database a branch below provider. The watermark is the
// global one, as [RegisterSubscriber] on the provider answered it.
func CreateBranch(queue, node, worker, provider string, watermark int64) sql.Stmt {
	return createNode(queue, Branch, node, worker, provider, watermark, nil)
}

// CreateLeaf makes the database a leaf below provider, merged into the queue
// combined of the same database unless that is empty.
func CreateLeaf(queue, node, worker, provider string, watermark int64, combined string) sql.Stmt {
	return createNode(queue, Leaf, node, worker, provider, watermark, text(combined))
}

func createNode(args ...any) sql.Stmt {
	return sql.Exec("select * from pgq_node.create_node($1, $2, $3, $4, $5, $6, $7)", args...)
}

// DropNode removes a node: the local one with its queue and all that depends on
// it, another one with its subscription and location.
func DropNode(queue, node string) sql.Stmt {
	return sql.Exec("select * from pgq_node.drop_node($1, $2)", queue, node)
}

// RegisterSubscriber lets a node read from this one, from the tick given or, for
// 0, from the global watermark. It answers the global watermark.
func RegisterSubscriber(queue, node, worker string, tick int64) sql.Stmt {
	return sql.Exec("select * from pgq_node.register_subscriber($1, $2, $3, $4)", queue, node, worker, position(tick))
}

// UnregisterSubscriber ends a node's subscription. Events that it has not read
// may be lost to it.
func UnregisterSubscriber(queue, node string) sql.Stmt {
	return sql.Exec("select * from pgq_node.unregister_subscriber($1, $2)", queue, node)
}

// RegisterConsumer keeps the position of a cascaded consumer on this node. One
// that exists is moved.
func RegisterConsumer(queue, consumer, provider string, tick int64) sql.Stmt {
	return sql.Exec("select * from pgq_node.register_consumer($1, $2, $3, $4)", queue, consumer, provider, tick)
}

// UnregisterConsumer forgets a cascaded consumer's position.
func UnregisterConsumer(queue, consumer string) sql.Stmt {
	return sql.Exec("select * from pgq_node.unregister_consumer($1, $2)", queue, consumer)
}

// SetConsumerPaused asks a consumer to pause or to go on. It has done so when it
// is uptodate again.
func SetConsumerPaused(queue, consumer string, paused bool) sql.Stmt {
	return sql.Exec("select * from pgq_node.set_consumer_paused($1, $2, $3)", queue, consumer, paused)
}

// SetConsumerUptodate is the consumer's answer that it has seen the last change.
func SetConsumerUptodate(queue, consumer string, uptodate bool) sql.Stmt {
	return sql.Exec("select * from pgq_node.set_consumer_uptodate($1, $2, $3)", queue, consumer, uptodate)
}

// SetConsumerCompleted stores the end tick of a batch, in the transaction that
// applied it.
func SetConsumerCompleted(queue, consumer string, tick int64) sql.Stmt {
	return sql.Exec("select * from pgq_node.set_consumer_completed($1, $2, $3)", queue, consumer, tick)
}

// SetConsumerError stores what stops a consumer; empty clears it.
func SetConsumerError(queue, consumer, message string) sql.Stmt {
	return sql.Exec("select * from pgq_node.set_consumer_error($1, $2, $3)", queue, consumer, text(message))
}

// ChangeConsumerProvider points a paused consumer at another provider, where its
// position must be registered already.
func ChangeConsumerProvider(queue, consumer, provider string) sql.Stmt {
	return sql.Exec("select * from pgq_node.change_consumer_provider($1, $2, $3)", queue, consumer, provider)
}

// SetSubscriberWatermark moves the oldest tick that a subscriber still needs.
func SetSubscriberWatermark(queue, node string, tick int64) sql.Stmt {
	return sql.Exec("select * from pgq_node.set_subscriber_watermark($1, $2, $3)", queue, node, tick)
}

// SetGlobalWatermark moves the tick that all nodes have passed. On a root 0 means
// what its subscribers report.
func SetGlobalWatermark(queue string, tick int64) sql.Stmt {
	return sql.Exec("select * from pgq_node.set_global_watermark($1, $2)", queue, position(tick))
}

// SetPartitionWatermark moves the worker of a leaf that waits for the combined
// root to apply its part.
func SetPartitionWatermark(combined, part string, tick int64) sql.Stmt {
	return sql.Exec("select * from pgq_node.set_partition_watermark($1, $2, $3)", combined, part, tick)
}

// SetNodeAttrs replaces the node's attributes: an urlencoded dictionary, NULL
// when it is empty.
func SetNodeAttrs(queue, attrs string) sql.Stmt {
	return sql.Exec("select * from pgq_node.set_node_attrs($1, $2)", queue, text(attrs))
}

// DemoteRoot takes one of three steps from root to branch, each in a transaction
// of its own: 1 closes the queue, 2 makes the last tick and answers it, 3 makes
// it a branch of provider.
func DemoteRoot(queue string, step int, provider string) sql.Stmt {
	return sql.Exec("select * from pgq_node.demote_root($1, $2, $3)", queue, step, text(provider))
}

// PromoteBranch makes a branch the root.
func PromoteBranch(queue string) sql.Stmt {
	return sql.Exec("select * from pgq_node.promote_branch($1)", queue)
}

// text is NULL for an empty string.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// position is NULL for 0: ticks count from 1.
func position(tick int64) any {
	if tick == 0 {
		return nil
	}
	return tick
}
