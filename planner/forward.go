package planner

import (
	"fmt"

	"github.com/skytools-go/skytools/spec"
)

// declaredForwards are the consumers of a queue that "skytools run" serves: they
// copy its events into other queues.
func declaredForwards(s *Scene, q *spec.Queue) []Declared[consumerState] {
	var all []Declared[consumerState]
	for i := range q.Forward {
		f := &q.Forward[i]
		database := f.Place(q)
		if s.Set.Database(database) == nil || s.Set.Database(database).State == spec.Dead {
			continue
		}
		d := Declared[consumerState]{Database: database, Name: q.Name + "/" + f.Name, At: f.At}
		if f.State == spec.Present && q.State == spec.Present {
			d.Want = &consumerState{[]string{}}
			d.Refuse = refuseForward(s, q, f)
		}
		all = append(all, d)
	}
	return all
}

// forwardOf is the forward behind a consumer, or nil.
func forwardOf(s *Scene, database, name string) (*spec.Queue, *spec.Forward) {
	queue, consumer := splitName(name)
	q := s.Set.Queues.Get(queue)
	if q == nil {
		return nil, nil
	}
	if f := q.Forward.Get(consumer); f != nil && f.Place(q) == database {
		return q, f
	}
	return nil, nil
}

// forwardGoal says where the events of a forward go.
func forwardGoal(q *spec.Queue, f *spec.Forward) string {
	if f.Split != "" {
		return fmt.Sprintf("the queues of %s that %s names", f.Target(q), f.Split)
	}
	return Address{"queue", f.To, f.Target(q)}.String()
}

// refuseForward says why a forward has nowhere to write to: its queue is neither
// declared nor there. Which queues a split needs only its events tell.
func refuseForward(s *Scene, q *spec.Queue, f *spec.Forward) *Diagnostic {
	target := f.Target(q)
	db := s.database(target)
	to := s.Set.Queues.Get(f.To)
	if f.To == "" || to != nil && to.Home() == target || !db.reached() || db.Unreadable["queue"] != "" {
		return nil
	}
	there := queuesIn(s, target)
	if _, ok := there[f.To]; ok {
		return nil
	}
	refused := &Diagnostic{Code: "no-queue", Message: fmt.Sprintf("queue %s is neither declared for %s nor there", f.To, target)}
	if to != nil {
		refused.Try = fmt.Sprintf("it is declared for %s: write on: %s, or give the queue on %s another name", to.Home(), to.Home(), target)
		return refused
	}
	var names []string
	for name := range there {
		names = append(names, name)
	}
	for _, other := range s.Set.Queues {
		if other.Home() == target {
			names = append(names, other.Name)
		}
	}
	if refused.Try = near(f.To, names); refused.Try == "" {
		refused.Try = fmt.Sprintf("declare it: queues: {%s: {on: %s}}", spec.Scalar(f.To), target)
	}
	return refused
}
