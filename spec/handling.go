package spec

import "cmp"

// Handling is how a table's changes are applied on the nodes that follow the root. A
// node's own words go before the table's.
type Handling struct {
	OnMissing  OnMissing  `json:"on_missing,omitempty"`
	OnConflict OnConflict `json:"on_conflict,omitempty"`
	Truncate   Truncate   `json:"truncate,omitempty"`
}

// said reports whether anything is said.
func (h Handling) said() bool { return h != Handling{} }

// How is the handling on one node. Words that stand for the default are left out.
func (t *Table) How(node string) Handling {
	on := t.On[node].Handling
	h := Handling{
		OnMissing:  cmp.Or(on.OnMissing, t.OnMissing),
		OnConflict: cmp.Or(on.OnConflict, t.OnConflict),
		Truncate:   cmp.Or(on.Truncate, t.Truncate),
	}
	if h.OnMissing == "error" {
		h.OnMissing = ""
	}
	if h.OnConflict == "error" {
		h.OnConflict = ""
	}
	if h.Truncate == "yes" {
		h.Truncate = ""
	}
	return h
}

// handlingFields are the keys that tables and their nodes share.
func handlingFields[T any](of func(*T) *Handling) []Field[T] {
	return []Field[T]{
		{Name: "on_missing", Doc: "What to do about an update or delete of a row that is not there. error: stop, so that somebody compares the tables; warn: go on, and log how many; ignore: go on. Metrics count them.",
			Default: "error", Example: "warn", Into: func(t *T) any { return &of(t).OnMissing }},
		{Name: "on_conflict", Doc: "What to do about an insert of a row whose key is there. error: stop; overwrite: the event wins; keep: the row there stays. Metrics count them. Other unique constraints are not meant.",
			Default: "error", Example: "overwrite", Into: func(t *T) any { return &of(t).OnConflict }},
		{Name: "truncate", Doc: "What TRUNCATE of the root's table does. yes: it empties the table there, and stops where a foreign key of another table refers to it; cascade: it empties such tables, too; no: nothing.",
			Default: "yes", Example: "no", Into: func(t *T) any { return &of(t).Truncate }},
	}
}

// OnMissing says what to do without a row. Empty: nothing is said.
type OnMissing string

func (m *OnMissing) choices() []string { return []string{"error", "warn", "ignore"} }
func (m *OnMissing) set(s string)      { *m = OnMissing(s) }

// OnConflict says what to do about a row that is in the way. Empty: nothing is said.
type OnConflict string

func (c *OnConflict) choices() []string { return []string{"error", "overwrite", "keep"} }
func (c *OnConflict) set(s string)      { *c = OnConflict(s) }

// Truncate says what TRUNCATE does. Empty: nothing is said.
type Truncate string

func (t *Truncate) choices() []string { return []string{"yes", "no", "cascade"} }
func (t *Truncate) set(s string)      { *t = Truncate(s) }
