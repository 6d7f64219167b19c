package planner

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// nodeState is what is compared of a node. It holds the node's whole side of its
// relations: who reads from it, and on the root where every node is.
type nodeState struct {
	Node             string            `json:"node"` // its name in the cascade
	Type             string            `json:"type"`
	Provider         string            `json:"provider"`
	Combined         string            `json:"combined,omitempty"` // leaf: the queue here that it is merged into
	Worker           string            `json:"worker"`
	Location         string            `json:"location"`
	ProviderLocation string            `json:"provider_location,omitempty"`
	RotationPeriod   *float64          `json:"rotation_period"`  // seconds; of a branch's copy of the queue
	Subscribers      map[string]string `json:"subscribers"`      // node -> worker
	Locations        map[string]string `json:"locations"`        // of the other nodes; root only
	Dead             []string          `json:"dead,omitempty"`   // nodes tagged dead
	Closed           bool              `json:"closed,omitempty"` // a root that is being demoted
	Paused           bool              `json:"paused,omitempty"`
	Stopped          []string          `json:"stopped,omitempty"` // closed root: the queues merged into it whose workers stand still

	known map[string]string // locations of all nodes as they are stored here; not compared
}

func (n nodeState) clone() nodeState {
	n.Subscribers, n.Locations, n.Dead, n.Stopped = maps.Clone(n.Subscribers), maps.Clone(n.Locations), slices.Clone(n.Dead), slices.Clone(n.Stopped)
	return n
}

var nodeKind = Kind[nodeState]{
	Name:     "node",
	Catalog:  pgqnode.Nodes,
	Read:     readNode,
	Declared: declaredNodes,
	Steps:    nodeSteps,
	Needs: func(s *Scene, o Object[nodeState]) []Address {
		if moves(o) {
			return moveNeeds(s, o)
		}
		needs := append(home(o.Address), Address{"schema", "pgq_node", o.Database}, Address{"schema", "londiste", o.Database})
		if o.Want == nil {
			if o.Have != nil && o.Have.Type != pgqnode.Root {
				return append(append(needs, Address{"node", o.Name, o.Have.Provider}), mergeHome(o.Have.Combined, o.Database)...)
			}
			return append(needs, Address{"queue", o.Name, o.Database})
		}
		if o.Want.Type == pgqnode.Root {
			return append(needs, Address{"queue", o.Name, o.Database})
		}
		return append(append(needs, Address{"node", o.Name, o.Want.Provider}), mergeHome(o.Want.Combined, o.Database)...)
	},
	Hazards: func(s *Scene, o Object[nodeState]) []Hazard {
		switch {
		case o.Want == nil:
			unique := ""
			if s.returned(o.Name, o.Database) {
				unique = "; what it wrote last is on no other node: skytools queue lost " + o.Name + "@" + o.Database + " saves it"
			}
			return []Hazard{hazard("drops-node", "the node leaves the cascade with its registrations%s; tables keep their rows%s", heldBy(o.Have), unique)}
		case o.Have != nil && o.Want.Type == pgqnode.Root && o.Have.Type != o.Want.Type && s.isLost(oldRoot(s, o.Name)):
			all := []Hazard{hazard("moves-root", "%s becomes root in place of %s, which is dead: what it has not replayed is lost to the cascade", o.Database, oldRoot(s, o.Name))}
			if h := behind(s, o); h != nil {
				all = append(all, *h)
			}
			return all
		case o.Have != nil && o.Have.Type != o.Want.Type && (o.Have.Type == pgqnode.Root || o.Want.Type == pgqnode.Root):
			return []Hazard{hazard("moves-root", "%s becomes %s: writes to the replicated tables move to %s", o.Database, o.Want.Type, rootOf(s, o.Name))}
		case o.Have != nil && o.Have.Provider != o.Want.Provider && o.Want.Type != pgqnode.Root:
			return []Hazard{hazard("moves-root", "it reads from %s instead of %s; its worker pauses meanwhile", o.Want.Provider, o.Have.Provider)}
		}
		return nil
	},
	Adopt: adoptNode,
}

// moves reports a node that changes its type or its provider.
func moves(o Object[nodeState]) bool {
	return o.Have != nil && o.Want != nil && (o.Have.Type != o.Want.Type || o.Have.Provider != o.Want.Provider)
}

// nodesIn are the nodes of a database, by queue.
func nodesIn(s *Scene, database string) map[string]nodeState {
	return objects(s, database, "node", readNode)
}

func heldBy(have *nodeState) string {
	if have != nil && have.Type != pgqnode.Leaf {
		return " and its queue"
	}
	return ""
}

func rootOf(s *Scene, queue string) string {
	if q := s.Set.Queues.Get(queue); q != nil {
		return q.Home()
	}
	return ""
}

// readNode turns a catalog row into a node. Locations of other nodes matter on
// the root alone: it tells the others by events.
func readNode(raw json.RawMessage) (string, nodeState, bool, error) {
	var row pgqnode.Node
	if err := json.Unmarshal(raw, &row); err != nil {
		return "", nodeState{}, false, err
	}
	n := nodeState{
		Node: row.Name, Type: row.Type, Provider: row.Provider, Combined: row.Combined, Worker: row.Worker, Location: row.Locations[row.Name].Location,
		Subscribers: map[string]string{}, Locations: map[string]string{}, known: map[string]string{}, Paused: row.Paused,
		Closed: row.Type == pgqnode.Root && (row.InsertDisabled || row.ExternalTicker),
	}
	if n.Closed {
		n.Stopped = row.Stopped
	}
	for name, s := range row.Subscribers {
		n.Subscribers[name] = s.Worker
	}
	for name, l := range row.Locations {
		n.known[name] = l.Location
		if l.Dead {
			n.Dead = append(n.Dead, name)
		}
		if row.Type == pgqnode.Root && name != row.Name {
			n.Locations[name] = l.Location
		}
	}
	slices.Sort(n.Dead)
	if row.Type != pgqnode.Root {
		n.ProviderLocation = row.Locations[row.Provider].Location
	}
	if row.Type == pgqnode.Branch {
		n.RotationPeriod = row.RotationPeriod
	}
	return row.Queue, n, true, nil
}

func declaredNodes(s *Scene) []Declared[nodeState] {
	var all []Declared[nodeState]
	for i := range s.Set.Queues {
		q := &s.Set.Queues[i]
		for _, n := range q.Nodes {
			if s.isDead(n.Name) {
				continue
			}
			d := Declared[nodeState]{Database: n.Name, Name: q.Name, At: n.At}
			if n.State == spec.Present && q.State == spec.Present {
				d.Want = wantedNode(s, q, &n)
				d.Refuse = refuseNode(s, d)
			}
			all = append(all, d)
		}
	}
	return all
}

// isDead reports whether the YAML says that a database is lost.
func (s *Scene) isDead(database string) bool {
	d := s.Set.Database(database)
	return d == nil || d.State == spec.Dead
}

// isLost is isDead for a node that is known at all.
func (s *Scene) isLost(node string) bool { return node != "" && s.isDead(node) }

func wantedNode(s *Scene, q *spec.Queue, n *spec.Node) *nodeState {
	have, there := nodesIn(s, n.Name)[q.Name]
	w := nodeState{
		Node: n.Name, Type: string(n.Type), Provider: n.Provider, Combined: n.Merge, Worker: workerOf(s, q, n), Location: s.location(n.Name, have.Location),
		Subscribers: map[string]string{}, Locations: map[string]string{}, Paused: n.Paused,
	}
	for name, worker := range have.Subscribers { // those that are not declared are somebody else's
		if q.Nodes.Get(name) == nil || s.isDead(name) {
			w.Subscribers[name] = worker
		}
	}
	if old := oldRoot(s, q.Name); there && n.Type == spec.Root && have.Type != pgqnode.Root && old != "" && s.isDead(old) {
		w.Subscribers[old] = gravestone(old)
	}
	for _, m := range q.Nodes {
		if m.State == spec.Present && m.Provider == n.Name && !s.isDead(m.Name) {
			w.Subscribers[m.Name] = workerOf(s, q, &m)
			if worker, lies := have.Subscribers[m.Name]; lies && s.returned(q.Name, m.Name) {
				w.Subscribers[m.Name] = worker
			}
		}
	}
	for _, m := range q.Nodes {
		if s.isDead(m.Name) && (n.Type == spec.Root || slices.Contains(have.Dead, m.Name) || there && have.Provider == m.Name) {
			w.Dead = append(w.Dead, m.Name)
		}
	}
	for _, name := range have.Dead {
		if q.Nodes.Get(name) == nil {
			w.Dead = append(w.Dead, name)
		}
	}
	slices.Sort(w.Dead)
	switch n.Type {
	case spec.Root:
		w.Provider = n.Name
		for name, location := range have.known {
			if name == n.Name {
				continue
			}
			if q.Nodes.Get(name) == nil || s.isDead(name) {
				w.Locations[name] = location
			}
		}
		for _, m := range q.Nodes {
			if m.State == spec.Present && m.Name != n.Name && !s.isDead(m.Name) {
				w.Locations[m.Name] = s.location(m.Name, have.Locations[m.Name])
			}
		}
		return &w
	case spec.Branch:
		period := q.RotationPeriod.Seconds()
		w.RotationPeriod = &period
	}
	w.ProviderLocation = s.location(n.Provider, have.ProviderLocation)
	return &w
}

// workerOf is the name of the consumer that replays a node: what the YAML says,
// or the one that is there, or QUEUE.NODE.
func workerOf(s *Scene, q *spec.Queue, n *spec.Node) string {
	if n.Worker != "" {
		return n.Worker
	}
	if have, ok := nodesIn(s, n.Name)[q.Name]; ok && have.Worker != "" {
		return have.Worker
	}
	return q.Name + "." + n.Name
}

// location is what other nodes connect to: what the YAML says, or where we have
// connected ourselves, without role and password. Where we could not connect, the
// known location stays.
func (s *Scene) location(database, known string) string {
	d := s.Set.Database(database)
	switch {
	case d == nil:
		return known
	case d.Location != "":
		return d.Location
	case s.database(database).Location != "" && !leadsTo(known, s.database(database).Location):
		return s.database(database).Location
	}
	return known
}

// leadsTo reports whether a stored conninfo names the place where we have connected,
// whatever else it says, such as a role. Then it stays as somebody wrote it.
func leadsTo(known, place string) bool {
	said := map[string]string{"port": "5432"}
	for _, pair := range strings.Fields(known) {
		if key, value, ok := strings.Cut(pair, "="); ok {
			said[key] = strings.Trim(value, "'")
		}
	}
	for _, pair := range strings.Fields(place) {
		key, value, _ := strings.Cut(pair, "=")
		if said[key] != strings.Trim(value, "'") {
			return false
		}
	}
	return known != ""
}

// refuseNode says why a node cannot be what the YAML asks for.
func refuseNode(s *Scene, d Declared[nodeState]) *Diagnostic {
	have, there := nodesIn(s, d.Database)[d.Name]
	switch {
	case s.returned(d.Name, d.Database):
		return refuseReturned(s, d.Name, d.Database)
	case there && have.Node != d.Want.Node:
		return &Diagnostic{Code: "other-name", Message: fmt.Sprintf("this database is node %q of queue %s already", have.Node, d.Name),
			Try: fmt.Sprintf("call the database %s in the YAML, too", have.Node)}
	case there && have.Worker != d.Want.Worker:
		return &Diagnostic{Code: "other-worker", Message: fmt.Sprintf("its worker is called %q, and a worker's name cannot be changed", have.Worker),
			Try: "write worker: " + have.Worker}
	case there && (have.Type == pgqnode.Leaf) != (d.Want.Type == pgqnode.Leaf):
		return &Diagnostic{Code: "leaf-and-queue", Message: fmt.Sprintf("a %s cannot become a %s: only branch and root change places", have.Type, d.Want.Type),
			Try: "take the node out with state: absent, apply, and declare it anew"}
	case there && have.Combined != d.Want.Combined:
		return refuseCombined(have, *d.Want)
	case there && d.Want.Type == pgqnode.Root && have.Type == pgqnode.Branch:
		return refuseParts(s, d.Name, d.Database)
	}
	return nil
}

func nodeSteps(s *Scene, o Object[nodeState]) []Draft[nodeState] {
	switch {
	case o.Want == nil:
		return []Draft[nodeState]{{Title: "drop", Gone: true, Do: []sql.Stmt{pgqnode.DropNode(o.Name, o.Database)}}}
	case o.Have == nil:
		return []Draft[nodeState]{createNode(s, o)}
	case moves(o):
		return moveNode(s, o)
	}
	return updateNode(s, o, *o.Have)
}

// createNode is one transaction: the node, where the others are, and the
// subscriptions of those that will read from it.
// Source: contract/pgq.md sections 6.3 and 6.8.
func createNode(s *Scene, o Object[nodeState]) Draft[nodeState] {
	w := o.Want
	d := Draft[nodeState]{Title: "create " + w.Type, Do: []sql.Stmt{pgqnode.RegisterLocation(o.Name, o.Database, w.Location, false)}}
	if w.Type == pgqnode.Root {
		d.Do = append(d.Do, pgqnode.CreateRoot(o.Name, o.Database, w.Worker))
		for _, name := range slices.Sorted(maps.Keys(w.Locations)) {
			d.Do = append(d.Do, pgqnode.RegisterLocation(o.Name, name, w.Locations[name], false))
		}
	} else {
		q := s.Set.Queues.Get(o.Name)
		for _, m := range q.Nodes {
			if m.Name != o.Database && m.State == spec.Present && !s.isDead(m.Name) {
				d.Do = append(d.Do, pgqnode.RegisterLocation(o.Name, m.Name, s.location(m.Name, ""), false))
			}
		}
		d.Inputs = []Input{{Name: "watermark", Node: w.Provider, Stmt: positionOn(o.Name, w.Worker)}}
		create := pgqnode.CreateLeaf(o.Name, o.Database, w.Worker, w.Provider, 0, w.Combined)
		if w.Type == pgqnode.Branch {
			create = pgqnode.CreateBranch(o.Name, o.Database, w.Worker, w.Provider, 0)
		}
		d.Do = append(d.Do, withArg(create, 5, InputArg("watermark")))
		if w.RotationPeriod != nil {
			d.Do = append(d.Do, pgq.SetQueueConfig(o.Name, "rotation_period", interval(*w.RotationPeriod)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.Subscribers)) {
		d.Do = append(d.Do, pgqnode.RegisterSubscriber(o.Name, name, w.Subscribers[name], 0))
	}
	return d
}

// positionOn asks a provider where a worker that reads from it stands.
func positionOn(queue, worker string) sql.Stmt {
	return sql.Exec("select last_tick from pgq.get_consumer_info($1, $2)", queue, worker)
}

// withArg returns the statement with one argument replaced.
func withArg(s sql.Stmt, i int, value any) sql.Stmt {
	s.Args = slices.Clone(s.Args)
	s.Args[i] = value
	return s
}

// updateNode brings what is there up to date, and afterwards ends subscriptions
// and forgets locations of nodes that have left or read from elsewhere.
func updateNode(s *Scene, o Object[nodeState], have nodeState) []Draft[nodeState] {
	w, mid := o.Want, have.clone()
	var do []sql.Stmt
	locate := func(name, location string) {
		do = append(do, pgqnode.RegisterLocation(o.Name, name, location, slices.Contains(w.Dead, name)))
	}
	if have.Location != w.Location {
		locate(o.Database, w.Location)
		mid.Location = w.Location
	}
	if have.ProviderLocation != w.ProviderLocation {
		locate(w.Provider, w.ProviderLocation)
		mid.ProviderLocation = w.ProviderLocation
	}
	for _, name := range slices.Sorted(maps.Keys(w.Locations)) {
		if have.Locations[name] != w.Locations[name] {
			locate(name, w.Locations[name])
			mid.Locations[name] = w.Locations[name]
		}
	}
	for _, name := range w.Dead {
		if !slices.Contains(have.Dead, name) {
			do = append(do, pgqnode.RegisterLocation(o.Name, name, "", true))
		}
	}
	for _, name := range have.Dead {
		if !slices.Contains(w.Dead, name) {
			do = append(do, pgqnode.RegisterLocation(o.Name, name, "", false))
		}
	}
	mid.Dead = w.Dead
	if w.RotationPeriod != nil && !equal(have.RotationPeriod, w.RotationPeriod) {
		do = append(do, pgq.SetQueueConfig(o.Name, "rotation_period", interval(*w.RotationPeriod)))
		mid.RotationPeriod = w.RotationPeriod
	}
	if have.Paused != w.Paused {
		do = append(do, pgqnode.SetConsumerPaused(o.Name, w.Worker, w.Paused))
		mid.Paused = w.Paused
	}
	var movers []string
	for _, name := range slices.Sorted(maps.Keys(w.Subscribers)) {
		if _, ok := have.Subscribers[name]; ok {
			continue
		}
		if _, there := nodesIn(s, name)[o.Name]; there {
			movers = append(movers, name)
			continue
		}
		if w.Type != pgqnode.Root {
			locate(name, s.location(name, ""))
		}
		do = append(do, pgqnode.RegisterSubscriber(o.Name, name, w.Subscribers[name], 0)) // a new node begins at the global watermark
		mid.Subscribers[name] = w.Subscribers[name]
	}
	var drafts []Draft[nodeState]
	if len(do) > 0 {
		now := mid.clone()
		drafts = append(drafts, Draft[nodeState]{Title: "update", Do: do, After: &now})
	}
	if len(movers) > 0 {
		drafts = append(drafts, subscribeMovers(s, o, &mid, movers))
	}
	return append(drafts, dismiss(s, o, mid)...)
}

// subscribeMovers registers nodes that read from elsewhere until now, at the tick
// that each has completed. They stand still meanwhile.
func subscribeMovers(s *Scene, o Object[nodeState], mid *nodeState, movers []string) Draft[nodeState] {
	d := Draft[nodeState]{Title: "subscribe", Label: subscribeStep}
	for _, name := range movers {
		worker, input := o.Want.Subscribers[name], "completed_"+name
		d.Inputs = append(d.Inputs, Input{Name: input, Node: name, Stmt: completedOn(o.Name, worker)})
		d.Do = append(d.Do, pgqnode.RegisterLocation(o.Name, name, s.location(name, ""), false),
			withArg(pgqnode.RegisterSubscriber(o.Name, name, worker, 0), 3, InputArg(input)))
		d.Follows = append(d.Follows, Ref{Address{"node", o.Name, name}, pauseStep})
		mid.Subscribers[name] = worker
	}
	after := mid.clone()
	d.After = &after
	return d
}

// completedOn asks a node which tick its worker has completed.
func completedOn(queue, worker string) sql.Stmt {
	return sql.Exec("select completed_tick from pgq_node.get_consumer_state($1, $2)", queue, worker)
}

// dismiss is the step that ends subscriptions, after the subscribers have been
// dropped or read from somewhere else.
func dismiss(s *Scene, o Object[nodeState], have nodeState) []Draft[nodeState] {
	var do []sql.Stmt
	var follows []Ref
	mid := have.clone()
	for _, name := range slices.Sorted(maps.Keys(have.Subscribers)) {
		if _, keep := o.Want.Subscribers[name]; !keep {
			do = append(do, pgqnode.UnregisterSubscriber(o.Name, name))
			follows = append(follows, Ref{Address{"node", o.Name, name}, ""})
			delete(mid.Subscribers, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Locations)) {
		if _, keep := o.Want.Locations[name]; !keep {
			do = append(do, pgqnode.UnregisterLocation(o.Name, name))
			follows = append(follows, Ref{Address{"node", o.Name, name}, ""})
			delete(mid.Locations, name)
		}
	}
	if len(do) == 0 {
		return nil
	}
	return []Draft[nodeState]{{Title: "dismiss", Do: do, After: &mid, Follows: follows}}
}
