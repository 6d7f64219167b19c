package spec

// A Queue is one PgQ queue: a plain one, which lives in one database, or a
// cascade, which has nodes.
type Queue struct {
	Head
	On               string   `json:"on"` // the database of a plain queue; empty for a cascade
	TickerMaxLag     Duration `json:"ticker_max_lag"`
	TickerMaxCount   int      `json:"ticker_max_count"`
	TickerIdlePeriod Duration `json:"ticker_idle_period"`
	RotationPeriod   Duration `json:"rotation_period"`
	TickerPaused     bool     `json:"ticker_paused"`
	PerTxLimit       *int     `json:"per_tx_limit"`
	CopyRate         Rate     `json:"copy_rate,omitempty"`
	State            State    `json:"state"`

	Consumers Named[Consumer] `json:"consumers"`
	Forward   Named[Forward]  `json:"forward,omitempty"`
	Capture   Named[Capture]  `json:"capture"`
	Nodes     Named[Node]     `json:"nodes"`
	Tables    Named[Table]    `json:"tables"`
	Sequences Named[Sequence] `json:"sequences"`
	Scripts   []Script        `json:"scripts,omitempty"`  // in the order in which they run
	MaskKey   *Secret         `json:"mask_key,omitempty"` // nil: none
}

// QueueDefaults are PgQ's own. Source: contract/pgq.md section 1.1.
func QueueDefaults() Queue {
	return Queue{TickerMaxLag: 3 * second, TickerMaxCount: 500, TickerIdlePeriod: 60 * second, RotationPeriod: 7200 * second}
}

const second = Duration(1e9)

func (q *Queue) about() string { return "A PgQ queue: events go in, consumers read them in batches." }

// preset gives a queue its defaults before its keys are read.
func (q *Queue) preset() {
	head := q.Head
	*q = QueueDefaults()
	q.Head = head
}

func (q *Queue) fields() []Field[Queue] {
	return []Field[Queue]{
		{Name: "on", Doc: "The database that a plain queue lives in.", Example: "hub", Refers: "database",
			Into: func(q *Queue) any { return &q.On }},
		{Name: "ticker_max_lag", Doc: "Longest wait for a tick while events are arriving.", Default: "3s", Example: "1s",
			Catalog: "pgq.queue.queue_ticker_max_lag", Into: func(q *Queue) any { return &q.TickerMaxLag }},
		{Name: "ticker_max_count", Doc: "So many new events bring a tick at once.", Default: "500", Example: "2000",
			Catalog: "pgq.queue.queue_ticker_max_count", Into: func(q *Queue) any { return &q.TickerMaxCount }},
		{Name: "ticker_idle_period", Doc: "Time between ticks while nothing happens.", Default: "1m", Example: "10s",
			Catalog: "pgq.queue.queue_ticker_idle_period", Into: func(q *Queue) any { return &q.TickerIdlePeriod }},
		{Name: "rotation_period", Doc: "How long events are kept at least after every consumer has read them.", Default: "2h", Example: "4h",
			Catalog: "pgq.queue.queue_rotation_period", Hazard: "loses-events", Into: func(q *Queue) any { return &q.RotationPeriod }},
		{Name: "ticker_paused", Doc: "Make no ticks: consumers see nothing new.", Default: "false", Example: "true",
			Catalog: "pgq.queue.queue_ticker_paused", Into: func(q *Queue) any { return &q.TickerPaused }},
		{Name: "per_tx_limit", Doc: "Most events that one transaction may insert.", Default: "no limit", Example: "100000",
			Catalog: "pgq.queue.queue_per_tx_limit", Into: func(q *Queue) any { return &q.PerTxLimit }},
		{Name: "copy_rate", Doc: "Most bytes a second of all copies of its tables to one node together, in kB, MB or GB.", Default: "no limit", Example: "40MB",
			Into: func(q *Queue) any { return rateOf{&q.CopyRate} }},
		{Name: "consumers", Doc: "Who reads the queue, by name.", Example: "{mailer: , indexer: {members: [w1, w2]}}",
			Into: func(q *Queue) any { return namedOf[Consumer, *Consumer]{&q.Consumers, "consumer", nil} }},
		{Name: "forward", Doc: "Where else its events go, by the name of the consumer that copies them.", Example: "{to_report: {on: report, to: audit}, by_table: {split: ev_extra1}}",
			Into: func(q *Queue) any { return namedOf[Forward, *Forward]{&q.Forward, "forward", nil} }},
		{Name: "capture", Doc: "Tables whose changes become events of this queue, by schema and name.", Example: "{public.invoices: {ignore: [updated_at]}}",
			Into: func(q *Queue) any { return namedOf[Capture, *Capture]{&q.Capture, "capture", relationName} }},
		{Name: "nodes", Doc: "Makes the queue a cascade: its nodes, by the name of their database.",
			Example: "{hub: {type: root}, edge1: {type: branch, provider: hub}}",
			Into:    func(q *Queue) any { return namedOf[Node, *Node]{&q.Nodes, "node", nil} }},
		{Name: "tables", Doc: "Tables replicated from the root, by schema and name; * and ? match any tables of the root.",
			Example: `{public.orders: , "public.log_*": {create: full}}`,
			Into:    func(q *Queue) any { return namedOf[Table, *Table]{&q.Tables, "table", relationName} }},
		{Name: "mask_key", Doc: "The key of the hashes that masks of its tables make. Another key makes other hashes: copy the tables again.", Example: "{env: SHOP_MASK_KEY}",
			Into: func(q *Queue) any { return maskKeyOf{&q.MaskKey} }},
		{Name: "sequences", Doc: "Sequences whose values follow the root's.", Example: "[public.orders_id_seq]",
			Into: func(q *Queue) any { return sequenceList{&q.Sequences} }},
		{Name: "scripts", Doc: "Files of SQL that run once on every node, the root first, in this order: patterns from the directory of this file. Lines --*-- at the top say where.", Example: "ddl/*.sql",
			Into: func(q *Queue) any { return scriptList{&q.Scripts} }},
		{Name: "state", Doc: "absent: drop the queue with everything in it.", Default: "present", Example: "absent", Hazard: "drops-queue",
			Into: func(q *Queue) any { return &q.State }},
	}
}

// Cascade reports whether the queue has nodes.
func (q *Queue) Cascade() bool { return len(q.Nodes) > 0 }

// Root is the cascade's root node, or nil.
func (q *Queue) Root() *Node {
	for i := range q.Nodes {
		if n := &q.Nodes[i]; n.Type == Root && n.State == Present {
			return n
		}
	}
	return nil
}

// Home is the database where events enter the queue: its root's, or its own.
func (q *Queue) Home() string {
	if q.Cascade() {
		if root := q.Root(); root != nil {
			return root.Name
		}
	}
	return q.On
}

func (q *Queue) sortInside() {
	q.Consumers.sort()
	q.Forward.sort()
	q.Capture.sort()
	q.Nodes.sort()
	q.Tables.sort()
	q.Sequences.sort()
}

// State says whether an object should exist. Taking a line away leaves the object
// alone; only absent drops it.
type State string

// The states that the YAML can ask for.
const (
	Present State = ""
	Absent  State = "absent"
)

func (s *State) choices() []string { return []string{"present", "absent"} }

func (s *State) set(text string) {
	if *s = State(text); text == "present" {
		*s = Present
	}
}
