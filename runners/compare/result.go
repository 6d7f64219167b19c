package compare

import "slices"

// A Result is what was found out about one table.
type Result struct {
	Provider    string       `json:"provider"`
	Subscriber  string       `json:"subscriber"`
	Tick        int64        `json:"tick"` // that the subscriber was at
	Source      string       `json:"source"`
	Dest        string       `json:"dest"`
	Rows        int64        `json:"rows"`            // compared, on the provider
	Here        int64        `json:"subscriber_rows"` // compared, on the subscriber
	Rechecked   int          `json:"rechecked"`       // rows that were changed meanwhile and looked at again
	Rounds      int          `json:"rounds"`
	Differences []Difference `json:"differences"`
	More        bool         `json:"more"`      // there are more differences, which were not looked for
	Unsettled   []Key        `json:"unsettled"` // keys of rows that were changed during every look
	Notes       []string     `json:"notes"`
	Seconds     float64      `json:"seconds"`

	here    *server  // of the last round
	parents []string // tables that foreign keys of Dest refer to
}

// Equal reports whether all rows were looked at and none differs.
func (r *Result) Equal() bool { return len(r.Differences) == 0 && len(r.Unsettled) == 0 }

// A Difference is a row of the subscriber that is not as it should be.
type Difference struct {
	Kind   string  `json:"kind"` // missing, extra, changed
	Key    []Cell  `json:"key"`
	Values []Pair  `json:"values"` // of a changed row those that differ; else all
	Tick   int64   `json:"tick"`
	Row    Key     `json:"-"`
	want   []value // nil: no such row
	have   []value
}

// A Cell is a column of a key.
type Cell struct {
	Column string `json:"column"`
	Value  string `json:"value"`
}

// A Pair is a column's value on both sides. Nil is NULL, or no row.
type Pair struct {
	Column     string  `json:"column"`
	Provider   *string `json:"provider"`
	Subscriber *string `json:"subscriber"`
}

func (p *point) difference(kind string, key Key, want, have []value) Difference {
	s := p.provider.shape
	d := Difference{Kind: kind, Row: key, Tick: p.tick, want: want, have: have, Values: []Pair{}}
	for i, name := range s.key {
		d.Key = append(d.Key, Cell{name, key[i]})
	}
	of := func(row []value, i int) value {
		if row == nil {
			return value{}
		}
		return row[i]
	}
	for i, name := range s.filled {
		a, b := of(want, i), of(have, i)
		if want != nil && have != nil && (!slices.Contains(s.compared, name) || same(a, b)) {
			continue
		}
		d.Values = append(d.Values, Pair{name, a.text, b.text})
	}
	return d
}

func same(a, b value) bool {
	if a.canonical == nil || b.canonical == nil {
		return a.canonical == b.canonical
	}
	return *a.canonical == *b.canonical
}
