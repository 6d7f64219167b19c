package spec

import (
	"cmp"
	"fmt"
)

// Pos is a place in a YAML file. Lines and columns start at 1; columns count
// characters. The zero Pos is no place.
type Pos struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

func (p Pos) compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// Head is what every declared object has: its name and where it was written.
type Head struct {
	Name string `json:"name"`
	At   Pos    `json:"-"`
}

func (h *Head) head() *Head { return h }
