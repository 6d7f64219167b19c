package spec

// A Node is a database's part in a cascade. Its name is that of its database.
type Node struct {
	Head
	Type     NodeType `json:"type"`
	Provider string   `json:"provider"`
	Merge    string   `json:"merge,omitempty"` // leaf: the queue of its database that it is merged into
	Worker   string   `json:"worker"`          // empty: the planner's name for it
	Paused   bool     `json:"paused"`
	State    State    `json:"state"`
}

func (n *Node) about() string { return "A database's part in a cascade." }

func (n *Node) fields() []Field[Node] {
	return []Field[Node]{
		{Name: "type", Must: true, Doc: "root: where events enter; branch: a full copy of the queue that others can read from; leaf: tables only.", Example: "branch",
			Catalog: "pgq_node.node_info.node_type", Hazard: "moves-root", Into: func(n *Node) any { return &n.Type }},
		{Name: "provider", Doc: "The root or branch that it reads from.", Default: "none, for the root", Example: "hub", Refers: "node",
			Catalog: "pgq_node.local_state.provider_node", Into: func(n *Node) any { return &n.Provider }},
		{Name: "merge", Doc: "Leaf: the queue of the same database that its events go into, too. That queue's node there is root or branch; below a branch the leaf waits for what the root's leaf has done.",
			Default: "none", Example: "all_shops", Catalog: "pgq_node.node_info.combined_queue", Into: func(n *Node) any { return &n.Merge }},
		{Name: "worker", Doc: "Name of the consumer that replays this node. Set it only to match an existing installation.", Default: "QUEUE.NODE", Example: "shop_edge1_worker",
			Catalog: "pgq_node.node_info.worker_name", Into: func(n *Node) any { return &n.Worker }},
		{Name: "paused", Doc: "true: the worker stands still, and events collect on the provider.", Default: "false", Example: "true",
			Catalog: "pgq_node.local_state.paused", Into: func(n *Node) any { return &n.Paused }},
		{Name: "state", Doc: "absent: take the node out of the cascade; tables keep their rows.", Default: "present", Example: "absent", Hazard: "drops-node",
			Into: func(n *Node) any { return &n.State }},
	}
}

// NodeType is root, branch or leaf. Source: contract/pgq.md section 6.3.
type NodeType string

// The types of node.
const (
	Root   NodeType = "root"
	Branch NodeType = "branch"
	Leaf   NodeType = "leaf"
)

func (t *NodeType) choices() []string { return []string{"root", "branch", "leaf"} }
func (t *NodeType) set(s string)      { *t = NodeType(s) }
