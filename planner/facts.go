package planner

import (
	"encoding/json"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/archive"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/standby"
)

// FactCatalogs are the queries about progress that notes and hazards quote. What
// they answer never enters a comparison or a digest.
func FactCatalogs() []sql.Catalog {
	return []sql.Catalog{
		named("queue", pgq.QueueFacts), named("consumer", pgq.ConsumerFacts), named("node", pgqnode.NodeFacts), named("table", londiste.TableFacts), standby.Connected, archive.Progressed, archive.Replicating, archive.Admits, sizes,
	}
}

func named(kind string, c sql.Catalog) sql.Catalog { c.Kind = kind; return c }

// queueFact is what is known of a queue's progress.
type queueFact struct {
	Bytes     int64
	Consumers []consumerFact
}

type consumerFact struct {
	Name    string
	Pending int64
	Lag     float64
	Slowest bool
}

// completedTick is the tick up to which a node has replayed, where that is known.
func completedTick(s *Scene, database, queue string) (int64, bool) {
	for _, raw := range s.database(database).Facts["node"] {
		var row pgqnode.Facts
		if json.Unmarshal(raw, &row) == nil && row.Queue == queue && row.CompletedTick != nil {
			return *row.CompletedTick, true
		}
	}
	return 0, false
}

// queueFacts returns nil where facts were not observed: they are a courtesy.
func queueFacts(s *Scene, database, queue string) *queueFact {
	var found *queueFact
	for _, raw := range s.database(database).Facts["queue"] {
		var row pgq.QueueFact
		if json.Unmarshal(raw, &row) == nil && row.Name == queue {
			found = &queueFact{}
			if row.Bytes != nil {
				found.Bytes = *row.Bytes
			}
		}
	}
	if found == nil {
		return nil
	}
	for _, raw := range s.database(database).Facts["consumer"] {
		var row pgq.ConsumerFact
		if json.Unmarshal(raw, &row) != nil || row.Queue != queue || row.Lag == nil || row.Name[0] == '.' {
			continue
		}
		c := consumerFact{Name: row.Name, Lag: *row.Lag, Slowest: row.Slowest}
		if row.Pending != nil {
			c.Pending = *row.Pending
		}
		found.Consumers = append(found.Consumers, c)
	}
	return found
}
