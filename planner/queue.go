package planner

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// queueState is what is compared of a queue. Durations are seconds.
type queueState struct {
	TickerMaxLag     float64 `json:"ticker_max_lag"`
	TickerMaxCount   int     `json:"ticker_max_count"`
	TickerIdlePeriod float64 `json:"ticker_idle_period"`
	RotationPeriod   float64 `json:"rotation_period"`
	TickerPaused     bool    `json:"ticker_paused"`
	PerTxLimit       *int    `json:"per_tx_limit"`
}

// The queue of a branch belongs to the node, which makes and drops it: the YAML
// declares that of a plain queue or of a root alone.
var queueKind = Kind[queueState]{
	Name:    "queue",
	Catalog: pgq.Queues,
	Read:    readQueue,
	Declared: func(s *Scene) []Declared[queueState] {
		var all []Declared[queueState]
		for _, q := range s.Set.Queues {
			home := q.Home()
			if home == "" || s.Set.Database(home) == nil || s.Set.Database(home).State == spec.Dead {
				continue
			}
			d := Declared[queueState]{Database: home, Name: q.Name, At: q.At}
			if q.State == spec.Present {
				d.Want = &queueState{q.TickerMaxLag.Seconds(), q.TickerMaxCount, q.TickerIdlePeriod.Seconds(), q.RotationPeriod.Seconds(), q.TickerPaused, q.PerTxLimit}
			}
			all = append(all, d)
		}
		return all
	},
	Steps: queueSteps,
	Needs: func(s *Scene, o Object[queueState]) []Address {
		return append(home(o.Address), Address{"schema", "pgq", o.Database})
	},
	Hazards: queueHazards,
	Notes: func(s *Scene, o Object[queueState]) []string {
		if f := queueFacts(s, o.Database, o.Name); o.Want == nil && f != nil {
			return []string{fmt.Sprintf("the queue holds %s of events", byteSize(f.Bytes))}
		}
		return nil
	},
	Hidden: func(s *Scene, database, name string) bool {
		if q := s.Set.Queues.Get(name); q != nil && q.Nodes.Get(database) != nil {
			return true // on its way from root to branch, or back
		}
		n, ok := nodesIn(s, database)[name]
		return ok && n.Type != pgqnode.Root
	},
	Adopt: adoptQueue,
}

func readQueue(raw json.RawMessage) (string, queueState, bool, error) {
	var row pgq.Queue
	err := json.Unmarshal(raw, &row)
	return row.Name, queueState{row.TickerMaxLag, row.TickerMaxCount, row.TickerIdlePeriod, row.RotationPeriod, row.TickerPaused, row.PerTxLimit}, err == nil, err
}

// queuesIn are the queues of a database.
func queuesIn(s *Scene, database string) map[string]queueState {
	return objects(s, database, "queue", readQueue)
}

func queueSteps(s *Scene, o Object[queueState]) []Draft[queueState] {
	if o.Want == nil {
		return []Draft[queueState]{{Title: "drop", Gone: true, Do: []sql.Stmt{pgq.DropQueue(o.Name, true)}}}
	}
	have, title := defaultQueue(), "create"
	var do []sql.Stmt
	if o.Have == nil {
		do = append(do, pgq.CreateQueue(o.Name))
	} else {
		have, title = *o.Have, "set"
	}
	for _, set := range []struct {
		param   string
		differs bool
		value   string
	}{
		{"ticker_max_lag", have.TickerMaxLag != o.Want.TickerMaxLag, interval(o.Want.TickerMaxLag)},
		{"ticker_max_count", have.TickerMaxCount != o.Want.TickerMaxCount, strconv.Itoa(o.Want.TickerMaxCount)},
		{"ticker_idle_period", have.TickerIdlePeriod != o.Want.TickerIdlePeriod, interval(o.Want.TickerIdlePeriod)},
		{"rotation_period", have.RotationPeriod != o.Want.RotationPeriod, interval(o.Want.RotationPeriod)},
		{"ticker_paused", have.TickerPaused != o.Want.TickerPaused, strconv.FormatBool(o.Want.TickerPaused)},
	} {
		if set.differs {
			do = append(do, pgq.SetQueueConfig(o.Name, set.param, set.value))
		}
	}
	if !equal(have.PerTxLimit, o.Want.PerTxLimit) {
		do = append(do, pgq.SetPerTxLimit(o.Name, o.Want.PerTxLimit))
	}
	return []Draft[queueState]{{Title: title, Do: do}}
}

func defaultQueue() queueState {
	d := spec.QueueDefaults()
	return queueState{d.TickerMaxLag.Seconds(), d.TickerMaxCount, d.TickerIdlePeriod.Seconds(), d.RotationPeriod.Seconds(), false, nil}
}

func equal[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// interval writes seconds as an interval that reads well in a plan.
func interval(seconds float64) string {
	return spec.Duration(seconds * 1e9).String()
}

func queueHazards(s *Scene, o Object[queueState]) []Hazard {
	f := queueFacts(s, o.Database, o.Name)
	switch {
	case o.Want == nil && f != nil:
		return []Hazard{hazard("drops-queue", "the queue with %s of events and %s goes", byteSize(f.Bytes), plural(len(f.Consumers), "registered consumer"))}
	case o.Want == nil:
		return []Hazard{hazard("drops-queue", "the queue goes, with its events")}
	case o.Have != nil && f != nil && o.Want.RotationPeriod < o.Have.RotationPeriod:
		for _, c := range f.Consumers {
			if c.Lag > o.Want.RotationPeriod {
				return []Hazard{hazard("loses-events", "consumer %s is %s behind, more than the new rotation period: once it has caught up, events can no longer be read again that far back", c.Name, span(c.Lag))}
			}
		}
	}
	return nil
}
