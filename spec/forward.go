package spec

import "gopkg.in/yaml.v3"

// A Forward copies the events of a queue into another one, or into several. It is a
// consumer of the queue, whose name is the forward's.
type Forward struct {
	Head
	From    string     `json:"from"`    // the node whose queue it reads; empty: the queue's home
	On      string     `json:"on"`      // the database that it writes to; empty: the one it reads
	To      string     `json:"to"`      // the queue that gets the events; empty: Split decides
	Split   EventField `json:"split"`   // the field that names the queue of each event
	Missing Missing    `json:"missing"` // what to do with an event whose queue is not there
	Types   []string   `json:"types"`
	Tables  []string   `json:"tables"`
	Where   string     `json:"where"`
	State   State      `json:"state"`
}

func (f *Forward) about() string {
	return "Copies events into other queues, exactly once; skytools run does it. Its name is that of its consumer: one that is there already, such as queue_mover's, is taken over where it stands."
}

func (f *Forward) fields() []Field[Forward] {
	return []Field[Forward]{
		{Name: "from", Doc: "The node of a cascade whose copy of the queue it reads.", Default: "the root", Example: "edge1", Refers: "node",
			Into: func(f *Forward) any { return &f.From }},
		{Name: "on", Doc: "The database that it writes to. Schemas pgq and pgq_ext are installed there.", Default: "the database that it reads", Example: "report", Refers: "database",
			Into: func(f *Forward) any { return &f.On }},
		{Name: "to", Doc: "The queue that gets the events, with their type, data and extra fields; ids and times are new.", Example: "audit",
			Into: func(f *Forward) any { return &f.To }},
		{Name: "split", Doc: "Instead of to: each event goes to the queue that this field of it names.", Example: "ev_extra1",
			Into: func(f *Forward) any { return &f.Split }},
		{Name: "missing", Doc: "With split, what becomes of an event that names no queue there is. error: it stops the forward until somebody acts; skip: it is counted and left out.",
			Default: "error", Example: "skip", Into: func(f *Forward) any { return &f.Missing }},
		{Name: "types", Doc: "Only events of these types (ev_type).", Default: "all", Example: "[order.paid, order.sent]",
			Into: func(f *Forward) any { return &f.Types }},
		{Name: "tables", Doc: "Only events of these tables (ev_extra1, where triggers write it).", Default: "all", Example: "[public.orders]",
			Into: func(f *Forward) any { return relationList{&f.Tables} }},
		{Name: "where", Doc: "Only events that meet this SQL condition over ev_id, ev_time, ev_type, ev_data, ev_extra1 to ev_extra4.", Default: "all",
			Example: `"ev_data like '%urgent%'"`, Into: func(f *Forward) any { return &f.Where }},
		{Name: "state", Doc: "absent: unregister it; what it has not copied yet it never will.", Default: "present", Example: "absent",
			Hazard: "drops-consumer", Into: func(f *Forward) any { return &f.State }},
	}
}

// Place is the database whose queue it reads.
func (f *Forward) Place(q *Queue) string {
	if f.From != "" {
		return f.From
	}
	return q.Home()
}

// Target is the database that it writes to.
func (f *Forward) Target(q *Queue) string {
	if f.On != "" {
		return f.On
	}
	return f.Place(q)
}

// filtered reports whether some events stay behind.
func (f *Forward) filtered() bool {
	return len(f.Types)+len(f.Tables) > 0 || f.Where != ""
}

// EventField is a text of an event.
type EventField string

func (e *EventField) choices() []string {
	return []string{"ev_type", "ev_extra1", "ev_extra2", "ev_extra3", "ev_extra4"}
}

func (e *EventField) set(text string) { *e = EventField(text) }

// Missing says what to do without a queue.
type Missing string

// The ways.
const (
	MissingError Missing = ""
	MissingSkip  Missing = "skip"
)

func (m *Missing) choices() []string { return []string{"error", "skip"} }

func (m *Missing) set(text string) {
	if *m = Missing(text); text == "error" {
		*m = MissingError
	}
}

// relationList reads names of tables.
type relationList struct{ into *[]string }

func (l relationList) shape() shape { return shape{kind: "relations"} }

func (l relationList) decode(d *decoder, n *yaml.Node) {
	d.names(&yaml.Node{Value: "tables"}, n, func(item *yaml.Node, name string) {
		if relationName(d, item) {
			*l.into = append(*l.into, name)
		}
	})
}

// checkForwards holds the rules of the forwards of a queue.
func (d *decoder) checkForwards(q *Queue) {
	for i := range q.Forward {
		f := &q.Forward[i]
		say := func(at Pos, rule, format string, args ...any) {
			d.problem(at, rule, "queue %q: forward %q: "+format, append([]any{q.Name, f.Name}, args...)...)
		}
		if c := q.Consumers.Get(f.Name); c != nil {
			say(f.At, "declared-twice", "a consumer of that name is declared at %s; a forward is a consumer, too", c.At)
		}
		if f.Name[0] == '.' {
			say(f.At, "bad-name", "names that begin with a dot belong to PgQ itself")
		}
		if n := q.Nodes.Get(f.From); n != nil && n.Type == Leaf {
			say(f.At, "leaf-has-no-queue", "%s is a leaf, which has no queue to read", n.Name)
		}
		if f.State == Absent || q.State == Absent {
			continue
		}
		to := d.forwardTarget(q, f)
		switch {
		case f.To == "" && f.Split == "":
			say(f.At, "missing-field", "say where events go: to: QUEUE, or split: FIELD")
		case f.To != "" && f.Split != "":
			say(f.At, "to-and-split", "to: names one queue for all events and split: one for each; write one of them")
		case f.Missing != MissingError && f.Split == "":
			say(f.At, "missing-without-split", "missing: is for split:; without it there is one queue, which must be there")
		case to == q:
			say(f.At, "forward-cycle", "it would copy the queue into itself, without end")
		case to != nil && to.State == Absent:
			say(f.At, "forward-to-absent", "queue %q is being dropped", to.Name)
		case to != nil && to.Home() != f.Target(q):
			say(f.At, "forward-not-to-root", "events enter the cascade %q at its root, %s", to.Name, to.Home())
		}
	}
}

// forwardTarget is the declared queue that a forward writes to, or nil: it splits, or
// the queue of that name in its database is somebody else's.
func (d *decoder) forwardTarget(q *Queue, f *Forward) *Queue {
	to := d.set.Queues.Get(f.To)
	if to == nil || f.Target(q) != to.Home() && to.Nodes.Get(f.Target(q)) == nil {
		return nil
	}
	return to
}

// hop is a forward that lets every event through.
type hop struct {
	from, to *Queue
	forward  *Forward
}

// checkForwardCycles reports forwards that copy what they have copied. A circle of
// one is found by [decoder.checkForwards].
func (d *decoder) checkForwardCycles() {
	var hops []hop
	for i := range d.set.Queues {
		q := &d.set.Queues[i]
		for k := range q.Forward {
			f := &q.Forward[k]
			if to := d.forwardTarget(q, f); to != nil && to != q && !f.filtered() && f.State == Present && q.State == Present {
				hops = append(hops, hop{q, to, f})
			}
		}
	}
	hops = leading(hops, func(h hop) (*Queue, *Queue) { return h.from, h.to })
	hops = leading(hops, func(h hop) (*Queue, *Queue) { return h.to, h.from })
	for _, h := range hops {
		d.problem(h.forward.At, "forward-cycle", "queue %q: forward %q: what it copies to queue %q is copied back, without end; filter it with types:, tables: or where:",
			h.from.Name, h.forward.Name, h.to.Name)
	}
}

// leading keeps the hops that lead on without end: it takes away, again and again,
// those to a queue that none leaves.
func leading(hops []hop, ends func(hop) (from, to *Queue)) []hop {
	leave, enter := map[*Queue]int{}, map[*Queue][]int{}
	for i, h := range hops {
		from, to := ends(h)
		leave[from]++
		enter[to] = append(enter[to], i)
	}
	var last []*Queue
	for q := range enter {
		if leave[q] == 0 {
			last = append(last, q)
		}
	}
	gone := map[int]bool{}
	for len(last) > 0 {
		q := last[len(last)-1]
		last = last[:len(last)-1]
		for _, i := range enter[q] {
			gone[i] = true
			from, _ := ends(hops[i])
			if leave[from]--; leave[from] == 0 {
				last = append(last, from)
			}
		}
	}
	var kept []hop
	for i, h := range hops {
		if !gone[i] {
			kept = append(kept, h)
		}
	}
	return kept
}
