package pgq

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed consumer.sql
var consumerSQL string

// Consumers reads every consumer of every queue, those of other programs too:
// names that begin with a dot are watermarks of cascades.
var Consumers = sql.Catalog{Kind: "consumer", Text: consumerSQL}

// A Consumer is one row of [Consumers]. Members is sorted, and empty unless the
// consumer is a cooperative one.
type Consumer struct {
	Queue   string   `json:"queue"`
	Name    string   `json:"name"`
	Members []string `json:"members"`
}

// RegisterConsumer makes a consumer start reading a queue at its newest tick; one
// that is registered keeps its position.
func RegisterConsumer(queue, consumer string) sql.Stmt {
	return sql.Exec("select pgq.register_consumer($1, $2)", queue, consumer)
}

// UnregisterConsumer removes a consumer with its members and the events that wait
// to be delivered to it again.
func UnregisterConsumer(queue, consumer string) sql.Stmt {
	return sql.Exec("select pgq.unregister_consumer($1, $2)", queue, consumer)
}

// RegisterSubconsumer adds a member to a cooperative consumer. It needs pgq_coop.
func RegisterSubconsumer(queue, consumer, member string) sql.Stmt {
	return sql.Exec("select pgq_coop.register_subconsumer($1, $2, $3)", queue, consumer, member)
}

// UnregisterSubconsumer removes a member. It fails while the member has a batch
// open, for the events in there would be lost. It needs pgq_coop.
func UnregisterSubconsumer(queue, consumer, member string) sql.Stmt {
	return sql.Exec("select pgq_coop.unregister_subconsumer($1, $2, $3, 0)", queue, consumer, member)
}
