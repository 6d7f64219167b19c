package londiste

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

var (
	//go:embed structure.sql
	structureSQL string
	//go:embed sequences.sql
	sequencesSQL string
)

// Structures reads what every table of users looks like, in any database: the
// schema londiste is not needed. The transaction must have search_path = ”, or
// definitions depend on the session, and should have jit = off, which costs more
// than it gives here.
var Structures = sql.Catalog{Kind: "structure", Text: structureSQL}

// Sequences reads the name of every sequence of users, in any database.
var Sequences = sql.Catalog{Kind: "sequence", Text: sequencesSQL}

// SequenceName is one row of [Sequences].
type SequenceName struct {
	Name string `json:"name"`
}

// Kinds of a table.
const (
	PlainTable       = "table"
	PartitionedTable = "partitioned"
)

// Structure is one row of [Structures]. Types, expressions and definitions are SQL
// as the server prints it, every name in them with its schema.
type Structure struct {
	Name        string          `json:"name"` // schema.rel, unquoted
	Kind        string          `json:"kind"`
	Columns     []Column        `json:"columns"` // in table order
	PrimaryKey  *PrimaryKey     `json:"primary_key,omitempty"`
	Constraints []Constraint    `json:"constraints"` // unique, check, exclusion; by name
	Fkeys       []Fkey          `json:"fkeys"`       // that the table has, by name
	Indexes     []Index         `json:"indexes"`     // not those of constraints; by name
	Sequences   []TableSequence `json:"sequences"`   // in the order of columns
	PartitionBy string          `json:"partition_by,omitempty"`
	PartitionOf *PartitionOf    `json:"partition_of,omitempty"`
}

// Column is a column that is not dropped.
type Column struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	NotNull   bool   `json:"not_null,omitempty"`
	Default   string `json:"default,omitempty"`   // of a generated column, its expression
	Identity  string `json:"identity,omitempty"`  // always, by default
	Generated string `json:"generated,omitempty"` // stored, virtual
	Collation string `json:"collation,omitempty"` // quoted; where it is not the type's own
}

// PrimaryKey is a primary key. Def is there when the columns do not say all.
type PrimaryKey struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
	Def     string   `json:"def,omitempty"`
}

// Constraint is a constraint other than primary key, foreign key and NOT NULL.
type Constraint struct {
	Name string `json:"name"`
	Type string `json:"type"` // unique, check, exclusion
	Def  string `json:"def"`
}

// Fkey is a foreign key.
type Fkey struct {
	Name       string `json:"name"`
	Def        string `json:"def"`
	References string `json:"references"` // schema.rel, unquoted
}

// Index is an index that belongs to no constraint. Def begins at USING.
type Index struct {
	Name   string `json:"name"`
	Unique bool   `json:"unique,omitempty"`
	Def    string `json:"def"`
}

// TableSequence is a sequence that a column's default or identity uses.
type TableSequence struct {
	Name      string `json:"name"` // schema.rel, unquoted
	Column    string `json:"column"`
	Owned     bool   `json:"owned,omitempty"` // goes with the column
	Identity  bool   `json:"identity,omitempty"`
	Type      string `json:"type"`
	Start     int64  `json:"start"`
	Increment int64  `json:"increment"`
	Min       int64  `json:"min"`
	Max       int64  `json:"max"`
	Cache     int64  `json:"cache"`
	Cycle     bool   `json:"cycle,omitempty"`
}

// PartitionOf says which partitioned table a table is a part of.
type PartitionOf struct {
	Name  string `json:"name"`  // schema.rel, unquoted
	Bound string `json:"bound"` // FOR VALUES ..., or DEFAULT
}
