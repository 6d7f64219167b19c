package spec

import (
	"fmt"

	"gopkg.in/yaml.v3"
)

// A Copying says how the rows of a new table are copied.
type Copying struct {
	From    string      `json:"from,omitempty"` // node; empty: the provider, or the nearest node above that has the table
	Rate    Rate        `json:"rate,omitempty"`
	Indexes CopyIndexes `json:"indexes,omitempty"`
}

func (c *Copying) about() string { return "How the rows of a new table are copied." }

func (c *Copying) fields() []Field[Copying] {
	return []Field[Copying]{
		{Name: "from", Doc: "The node to copy from. It must hold the table; a node that is below another does not serve that one.", Default: "the provider, or the nearest node above that has the table", Example: "edge1",
			Refers: "node", Catalog: "londiste.table_info.table_attrs: copy_node", Into: func(c *Copying) any { return &c.From }},
		{Name: "rate", Doc: "Most bytes a second, in kB, MB or GB.", Default: "no limit", Example: "20MB",
			Catalog: "londiste.table_info.table_attrs: skytools_rate", Into: func(c *Copying) any { return rateOf{&c.Rate} }},
		{Name: "indexes", Doc: "rebuild: drop them for the copy and make them again after it, which is quicker; keep: leave them alone.", Default: "rebuild", Example: "keep",
			Catalog: "londiste.table_info.table_attrs: skytools_indexes", Into: func(c *Copying) any { return &c.Indexes }},
	}
}

// copyOf reads yes, no, or how.
type copyOf struct{ into *Table }

func (c copyOf) shape() shape {
	var zero Copying
	return shape{kind: "object", doc: zero.about(), fields: describe[Copying, *Copying](), oneOf: c.into.Copy.choices()}
}

func (c copyOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	key := &yaml.Node{Value: "copy", Line: n.Line, Column: n.Column}
	if n.Kind != yaml.MappingNode {
		d.value(key, n, &c.into.Copy)
		return
	}
	decodeObject[Copying, *Copying](d, key, n, &c.into.Copying)
}

// CopyIndexes says what becomes of a table's indexes during its copy.
type CopyIndexes string

// The ways.
const (
	IndexesRebuild CopyIndexes = ""
	IndexesKeep    CopyIndexes = "keep"
)

func (c *CopyIndexes) choices() []string { return []string{"rebuild", "keep"} }

func (c *CopyIndexes) set(s string) {
	if *c = CopyIndexes(s); s == "rebuild" {
		*c = IndexesRebuild
	}
}

// A Rate is a number of bytes a second; 0: no limit.
type Rate int64

// ParseRate reads a text such as 20MB.
func ParseRate(text string) (Rate, error) {
	if n, ok := parseBytes(text); ok {
		return Rate(n), nil
	}
	return 0, fmt.Errorf("%q is no rate; write a whole number of kB, MB or GB a second, such as 20MB", text)
}

// String is the text that [ParseRate] reads.
func (r Rate) String() string { return bytesText(int64(r)) }

// rateOf reads a rate.
type rateOf struct{ into *Rate }

func (r rateOf) shape() shape { return shape{kind: "text"} }

func (r rateOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	var text string
	if !d.text(&yaml.Node{Value: "rate"}, n, &text) {
		return
	}
	rate, err := ParseRate(text)
	if err != nil {
		d.fail(n, "bad-rate", "%v", err)
		return
	}
	*r.into = rate
}
