package spec

// A Consumer reads a queue.
type Consumer struct {
	Head
	On      string   `json:"on"`               // the node whose queue it reads; empty: the queue's home
	Members []string `json:"members"`          // of a cooperative consumer
	Target  string   `json:"target,omitempty"` // the database that it writes to; empty: the queue's
	State   State    `json:"state"`
}

func (c *Consumer) about() string { return "A registered reader of the queue." }

func (c *Consumer) fields() []Field[Consumer] {
	return []Field[Consumer]{
		{Name: "on", Doc: "The node of a cascade whose copy of the queue it reads.", Default: "the root", Example: "edge1", Refers: "node",
			Into: func(c *Consumer) any { return &c.On }},
		{Name: "members", Doc: "Makes the consumer cooperative: its members share the batches among them.", Example: "[w1, w2]",
			Catalog: "pgq.subscription", Into: func(c *Consumer) any { return &c.Members }},
		{Name: "target", Doc: "The database that it writes to, when that is not the queue's: schema pgq_ext is installed there to remember what was done.",
			Example: "report", Refers: "database", Catalog: "pgq_ext", Into: func(c *Consumer) any { return &c.Target }},
		{Name: "state", Doc: "absent: unregister it; what it has not read yet it will never see.", Default: "present", Example: "absent",
			Hazard: "drops-consumer", Into: func(c *Consumer) any { return &c.State }},
	}
}
