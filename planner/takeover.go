package planner

import (
	"maps"
	"slices"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// Moving a node is a small protocol over several databases, because the position
// of a reader stands on two of them and must never be lost in between. Each line
// is one step; an arrow says which step of another node comes first.
//
// A node reads from another provider (M leaves P for Q):
//
//	M  pause       the worker stops after the batch in hand; no copy may be half done
//	Q  subscribe   <- M pause       at the tick that M has completed
//	M  switch      <- Q subscribe   provider and resume, in one transaction
//	P  dismiss     <- M switch
//
// The root moves from O to the branch N, both alive:
//
//	O  close       no more inserts (queue_disable_insert), no more own ticks
//	O  stop        only where other queues are merged into this one: their workers pause
//	O  drain       waits for writers, makes the last tick; then N must complete it
//	N  pause       <- O drain
//	N  promote     N opens its queue; O is subscribed at the last tick
//	O  demote      <- N promote
//
// The root O is dead: N pauses, is promoted, and keeps a gravestone, which is a
// subscription of O at the tick where it was lost.
//
// In all three, what was done survives a kill at any point: every step leaves a
// mark in the node's settings by which the next attempt knows it.
//
// Source: contract/pgq.md sections 6.3 and 6.8, contract/londiste.md section 2.6.
func moveNode(s *Scene, o Object[nodeState]) []Draft[nodeState] {
	switch {
	case o.Want.Type == pgqnode.Root:
		return promote(s, o)
	case o.Have.Type == pgqnode.Root:
		return demote(s, o)
	}
	return repoint(s, o)
}

// Labels of steps that other nodes' steps follow.
const (
	pauseStep     = "pause"
	subscribeStep = "subscribe"
	drainStep     = "drain"
	promoteStep   = "promote"
)

// repoint moves a node to another provider.
func repoint(s *Scene, o Object[nodeState]) []Draft[nodeState] {
	w := o.Want
	paused := o.Have.clone()
	paused.Paused = true
	moved := paused.clone()
	moved.Provider, moved.ProviderLocation, moved.Paused = w.Provider, w.ProviderLocation, w.Paused
	drafts := []Draft[nodeState]{
		pause(o, paused),
		{
			Title: "read from " + w.Provider, After: &moved, Follows: []Ref{{Address{"node", o.Name, w.Provider}, subscribeStep}},
			Do: []sql.Stmt{
				pgqnode.RegisterLocation(o.Name, w.Provider, w.ProviderLocation, false),
				pgqnode.ChangeConsumerProvider(o.Name, w.Worker, w.Provider),
				pgqnode.SetConsumerPaused(o.Name, w.Worker, w.Paused),
			},
		},
	}
	return append(drafts, updateNode(s, o, moved)...)
}

// pause stops the node's worker and waits until it has said so, and until no copy
// depends on the provider's transaction ids any more.
func pause(o Object[nodeState], after nodeState) Draft[nodeState] {
	return Draft[nodeState]{
		Title: "pause the worker", Label: pauseStep, After: &after,
		Do: []sql.Stmt{pgqnode.SetConsumerPaused(o.Name, o.Have.Worker, true)},
		Wait: &Wait{Node: o.Database, Inputs: []Input{}, EveryMS: 500, LimitMS: 300_000, Stmt: sql.Exec(`
select w.uptodate and c.pending = 0 as done,
       case when w.uptodate then 0.5 else 0.0 end::float8 as progress,
       case when not w.uptodate then 'the worker has not answered yet; is skytools run running?'
            when c.pending > 0 then c.pending || ' tables are being copied'
            else '' end as note
  from pgq_node.get_consumer_state($1, $2) w,
       (select count(*) as pending
          from londiste.table_info
         where queue_name = $1 and local and (custom_snapshot is not null or merge_state like '%:%' or merge_state in ('in-copy', 'catching-up'))) c`,
			o.Name, o.Have.Worker)},
	}
}

// demote makes the old root a branch, after another has taken over.
func demote(s *Scene, o Object[nodeState]) []Draft[nodeState] {
	w, successor := o.Want, rootOf(s, o.Name)
	closed := o.Have.clone()
	closed.Closed = true
	drained := closed.clone()
	drained.Paused = true
	parts := partsOn(s, o.Name, o.Database)
	demoted := nodeState{
		Node: w.Node, Type: w.Type, Provider: successor, Worker: w.Worker, Location: o.Have.Location, Paused: w.Paused, Dead: o.Have.Dead,
		ProviderLocation: o.Have.Locations[successor], RotationPeriod: queueRotation(s, o.Database, o.Name),
		Subscribers: maps.Clone(o.Have.Subscribers), Locations: map[string]string{},
	}
	drafts := []Draft[nodeState]{{Title: "close the queue", After: &closed, Do: []sql.Stmt{pgqnode.DemoteRoot(o.Name, 1, successor)}}}
	done, inputs, args := "", []Input{}, []any{}
	if len(parts) > 0 {
		stopped := closed.clone()
		stopped.Stopped, drained.Stopped = parts, parts
		drafts = append(drafts, stopParts(s, o, parts, stopped))
		done, inputs, args = arrived(s, o, parts, 3)
	}
	drafts = append(drafts,
		Draft[nodeState]{
			Title: "make the last tick", Label: drainStep, After: &drained,
			Do: []sql.Stmt{pgqnode.SetConsumerPaused(o.Name, w.Worker, true), pgqnode.DemoteRoot(o.Name, 2, successor)},
			Wait: &Wait{Node: successor, EveryMS: 500, LimitMS: 600_000,
				Inputs: append([]Input{{Name: "last", Node: o.Database, Stmt: newestTick(o.Name)}}, inputs...),
				// Who has become the root says what all nodes have passed, instead of what it has completed.
				Stmt: sql.Exec(`
select (n.node_type = 'root' or completed_tick >= $2)`+done+` as done,
       0.0::float8 as progress,
       'at tick ' || completed_tick || ' of ' || $2::int8 as note
  from pgq_node.get_node_info($1) n, pgq_node.get_consumer_state($1, n.worker_name)`, append([]any{o.Name, InputArg("last")}, args...)...)},
		},
		Draft[nodeState]{
			Title: "become a branch of " + successor, After: &demoted, Follows: []Ref{{Address{"node", o.Name, successor}, promoteStep}},
			Do: append([]sql.Stmt{pgqnode.DemoteRoot(o.Name, 3, successor), pgqnode.SetConsumerPaused(o.Name, w.Worker, w.Paused)}, resumeParts(s, o.Database, parts)...),
		})
	return append(drafts, updateNode(s, o, demoted)...)
}

func newestTick(queue string) sql.Stmt {
	return sql.Exec("select last_tick_id from pgq.get_queue_info($1)", queue)
}

func queueRotation(s *Scene, database, queue string) *float64 {
	if q, ok := queuesIn(s, database)[queue]; ok {
		return &q.RotationPeriod
	}
	return nil
}

// promote makes a branch the root.
func promote(s *Scene, o Object[nodeState]) []Draft[nodeState] {
	w, old := o.Want, oldRoot(s, o.Name)
	paused := o.Have.clone()
	paused.Paused = true
	stop := pause(o, paused)
	root := nodeState{
		Node: w.Node, Type: pgqnode.Root, Provider: o.Database, Worker: w.Worker, Location: o.Have.Location, Paused: w.Paused,
		Subscribers: maps.Clone(o.Have.Subscribers), Locations: map[string]string{}, Dead: slices.Clone(o.Have.Dead),
	}
	take := Draft[nodeState]{Title: "become the root", Label: promoteStep, After: &root, Do: []sql.Stmt{pgqnode.PromoteBranch(o.Name)}}
	for _, name := range slices.Sorted(maps.Keys(w.Locations)) {
		take.Do = append(take.Do, pgqnode.RegisterLocation(o.Name, name, w.Locations[name], slices.Contains(w.Dead, name)))
		root.Locations[name] = w.Locations[name]
	}
	root.Dead = w.Dead
	switch {
	case old == "":
	case s.isDead(old):
		stop.Do = append([]sql.Stmt{pgqnode.RegisterLocation(o.Name, old, "", true)}, stop.Do...)
		paused.Dead = w.Dead
		take.Do = append(take.Do, withArg(pgqnode.RegisterSubscriber(o.Name, old, gravestone(old), 0), 3, InputArg("last")))
		take.Inputs = []Input{{Name: "last", Node: o.Database, Stmt: newestTick(o.Name)}}
		root.Subscribers[old] = gravestone(old)
	default:
		stop.Follows = []Ref{{Address{"node", o.Name, old}, drainStep}}
		worker := nodesIn(s, old)[o.Name].Worker
		take.Do = append(take.Do, withArg(pgqnode.RegisterSubscriber(o.Name, old, worker, 0), 3, InputArg("last")))
		take.Inputs = []Input{{Name: "last", Node: old, Stmt: newestTick(o.Name)}}
		root.Subscribers[old] = worker
	}
	take.Do = append(take.Do, pgqnode.SetConsumerPaused(o.Name, w.Worker, w.Paused))
	stop.After = &paused
	return append([]Draft[nodeState]{stop, take}, updateNode(s, o, root)...)
}

// gravestone is the name of the worker that marks where a dead root was lost.
// Source: contract/pgq.md section 6.1.
func gravestone(node string) string { return node + ".gravestone" }

// oldRoot is the node that is root now, dead or alive; empty when nobody knows.
func oldRoot(s *Scene, queue string) string {
	for _, database := range slices.Sorted(maps.Keys(s.Live.Databases)) {
		if n, ok := nodesIn(s, database)[queue]; ok && n.Type == pgqnode.Root && !s.isDead(database) {
			return database
		}
	}
	q := s.Set.Queues.Get(queue)
	for _, n := range q.Nodes { // the dead one is where the chain of providers ends
		have, ok := nodesIn(s, n.Name)[queue]
		if ok && s.isDead(have.Provider) && q.Root() != nil && have.Provider != q.Root().Name {
			return have.Provider
		}
	}
	return ""
}

// moveNeeds are the needs of a node that moves. The order among nodes is told step
// by step, so only its new provider has to be a node at all.
func moveNeeds(s *Scene, o Object[nodeState]) []Address {
	needs := append(home(o.Address), Address{"schema", "pgq_node", o.Database}, Address{"schema", "londiste", o.Database})
	if o.Want.Type == pgqnode.Root {
		needs = append(needs, Address{"queue", o.Name, o.Database})
	}
	return needs
}

// behind warns when a dead root is replaced by a node that others are ahead of.
func behind(s *Scene, o Object[nodeState]) *Hazard {
	old := oldRoot(s, o.Name)
	if old == "" || !s.isDead(old) {
		return nil
	}
	mine, ok := completedTick(s, o.Database, o.Name)
	if !ok {
		return nil
	}
	for _, n := range s.Set.Queues.Get(o.Name).Nodes {
		if n.State != spec.Present || s.isDead(n.Name) || n.Name == o.Database {
			continue
		}
		if theirs, ok := completedTick(s, n.Name, o.Name); ok && theirs > mine {
			h := hazard("loses-events", "%s has replayed up to tick %d and %s only up to %d: what lies between would be lost; let %s read from %s first, or make %s the root",
				n.Name, theirs, o.Database, mine, o.Database, n.Name, n.Name)
			return &h
		}
	}
	return nil
}
