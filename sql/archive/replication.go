package archive

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed replication.sql
var replicationSQL string

// Replicating reads what a server has for replication: one row.
var Replicating = sql.Catalog{Kind: "replication", Text: replicationSQL}

// Replication is the row of [Replicating].
//
// Source: PostgreSQL documentation, 20.6.1 and pg_replication_slots.
type Replication struct {
	Role     string   `json:"role"`  // of the session that looked
	May      bool     `json:"may"`   // it may replicate
	Roles    []string `json:"roles"` // who else may, but for superusers
	Senders  int      `json:"senders"`
	Sending  int      `json:"sending"`
	MaxSlots int      `json:"max_slots"`
	Slots    []Slot   `json:"slots"`
}

// A Slot keeps WAL for somebody.
type Slot struct {
	Name   string  `json:"name"`
	Type   string  `json:"type"`   // physical, logical
	Status *string `json:"status"` // reserved, extended, unreserved, lost; nil: it keeps nothing yet
	Active bool    `json:"active"`
}

// Slot is the one of that name; nil: there is none.
func (r Replication) Slot(name string) *Slot {
	for i := range r.Slots {
		if r.Slots[i].Name == name {
			return &r.Slots[i]
		}
	}
	return nil
}

// Replicator is a role that may replicate, or should.
func (r Replication) Replicator() string {
	if !r.May && len(r.Roles) > 0 {
		return r.Roles[0]
	}
	return r.Role
}

//go:embed hba.sql
var hbaSQL string

// Admits reads whether pg_hba.conf lets replication in: one row, and none for a role that
// may not know.
var Admits = sql.Catalog{Kind: "hba", Text: hbaSQL}

// Admission is the row of [Admits].
type Admission struct {
	Lets bool `json:"lets"`
}
