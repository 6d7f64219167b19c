package planner

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pgq"
)

// consumerState is what is compared of a consumer.
type consumerState struct {
	Members []string `json:"members"`
}

var consumerKind = Kind[consumerState]{
	Name:    "consumer",
	Catalog: pgq.Consumers,
	Read: func(raw json.RawMessage) (string, consumerState, bool, error) {
		var row pgq.Consumer
		err := json.Unmarshal(raw, &row)
		return row.Queue + "/" + row.Name, consumerState{notNil(row.Members)}, err == nil && !internalConsumer(row), err
	},
	Declared: func(s *Scene) []Declared[consumerState] {
		var all []Declared[consumerState]
		for _, q := range s.Set.Queues {
			for _, c := range q.Consumers {
				database := consumerPlace(&q, &c)
				if s.Set.Database(database) == nil || s.Set.Database(database).State == spec.Dead {
					continue
				}
				d := Declared[consumerState]{Database: database, Name: q.Name + "/" + c.Name, At: c.At}
				if c.State == spec.Present && q.State == spec.Present {
					members := slices.Clone(c.Members)
					slices.Sort(members)
					d.Want = &consumerState{notNil(members)}
				}
				all = append(all, d)
			}
			all = append(all, declaredForwards(s, &q)...)
		}
		return all
	},
	Steps: consumerSteps,
	Needs: func(s *Scene, o Object[consumerState]) []Address {
		queue, _ := splitName(o.Name)
		needs := []Address{{"queue", queue, o.Database}, {"node", queue, o.Database}}
		if q, f := forwardOf(s, o.Database, o.Name); f != nil && f.To != "" {
			needs = append(needs, Address{"queue", f.To, f.Target(q)})
		}
		if o.Want != nil && len(o.Want.Members) > 0 {
			needs = append(needs, Address{"schema", "pgq_coop", o.Database})
		}
		return needs
	},
	Hazards: func(s *Scene, o Object[consumerState]) []Hazard {
		if o.Want != nil {
			return nil
		}
		return []Hazard{hazard("drops-consumer", "%s", unread(s, o.Database, o.Name))}
	},
	Notes: func(s *Scene, o Object[consumerState]) []string {
		if o.Want == nil {
			return []string{unread(s, o.Database, o.Name)}
		}
		if q, f := forwardOf(s, o.Database, o.Name); f != nil && o.Have == nil {
			return []string{"skytools run copies its events to " + forwardGoal(q, f)}
		}
		return nil
	},
	Hidden: isWorker,
	Adopt:  adoptConsumer,
}

// internalConsumer reports the consumers that cascades register for themselves:
// watermarks of nodes, and copies of tables.
// Source: contract/pgq.md section 6.1, contract/londiste.md section 2.4.
func internalConsumer(row pgq.Consumer) bool {
	return strings.HasPrefix(row.Name, ".") || strings.Contains(row.Name, ".copy.")
}

// isWorker reports the consumers through which the nodes below read.
func isWorker(s *Scene, database, name string) bool {
	queue, consumer := splitName(name)
	for _, worker := range nodesIn(s, database)[queue].Subscribers {
		if worker == consumer {
			return true
		}
	}
	return strings.HasSuffix(consumer, ".gravestone")
}

// consumerPlace is the database whose queue a consumer reads.
func consumerPlace(q *spec.Queue, c *spec.Consumer) string {
	if c.On != "" {
		return c.On
	}
	return q.Home()
}

// splitName takes apart a name such as orders/mailer. Queue names may hold
// slashes; what a queue has (consumers, tables) is what follows the first.
func splitName(name string) (queue, rest string) {
	queue, rest, _ = strings.Cut(name, "/")
	return queue, rest
}

func consumerSteps(s *Scene, o Object[consumerState]) []Draft[consumerState] {
	queue, name := splitName(o.Name)
	if o.Want == nil {
		return []Draft[consumerState]{{Title: "drop", Gone: true, Do: []sql.Stmt{pgq.UnregisterConsumer(queue, name)}}}
	}
	var do []sql.Stmt
	var have []string
	title := "register"
	if o.Have == nil {
		do = append(do, pgq.RegisterConsumer(queue, name))
	} else {
		have, title = o.Have.Members, "change members"
	}
	for _, m := range o.Want.Members {
		if !slices.Contains(have, m) {
			do = append(do, pgq.RegisterSubconsumer(queue, name, m))
		}
	}
	for _, m := range have {
		if !slices.Contains(o.Want.Members, m) {
			do = append(do, pgq.UnregisterSubconsumer(queue, name, m))
		}
	}
	return []Draft[consumerState]{{Title: title, Do: do}}
}

// unread says what a consumer that goes has not read.
func unread(s *Scene, database, name string) string {
	queue, consumer := splitName(name)
	if f := queueFacts(s, database, queue); f != nil {
		for _, c := range f.Consumers {
			if c.Name == consumer {
				text := fmt.Sprintf("%s events unread, %s behind", amount(c.Pending), span(c.Lag))
				if c.Slowest && len(f.Consumers) > 1 {
					text += "; it is the slowest reader and decides when " + "queue/" + queue + " may rotate"
				}
				return text
			}
		}
	}
	return "what it has not read it will never see"
}
