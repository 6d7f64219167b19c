package planner

import (
	"encoding/json"
	"time"
)

// Live is what was observed, as data: it can be saved, attached to a report, and
// planned from without a database.
type Live struct {
	Format    string               `json:"format"` // LiveFormat
	At        time.Time            `json:"at"`
	Databases map[string]*Database `json:"databases"` // by the name that the YAML gives them
}

// LiveFormat is the version of saved observations.
const LiveFormat = "skytools.live/1"

// A Database is what was observed in one database, in one read-only snapshot.
type Database struct {
	Error string `json:"error,omitempty"` // why it could not be reached; then everything else is empty
	Hint  string `json:"hint,omitempty"`

	Name     string `json:"database"`  // its name on the server
	Server   string `json:"server"`    // version, such as "15.18"
	SystemID string `json:"system_id"` // of the server; part of what a plan is for
	Primary  bool   `json:"primary"`
	User     string `json:"user"`
	Location string `json:"location"` // where we connected, without role and password
	Rights   Rights `json:"rights"`

	Rows       map[string][]json.RawMessage `json:"rows"`       // catalog rows, by kind
	Facts      map[string][]json.RawMessage `json:"facts"`      // progress: never compared, only told
	Unreadable map[string]string            `json:"unreadable"` // kind -> why
	Applied    []Applied                    `json:"applied"`
}

// Rights are what the observing role may do, as far as plans care.
type Rights struct {
	Superuser   bool `json:"superuser"`
	CreateRole  bool `json:"create_role"`
	CreateIn    bool `json:"create_in"`    // may create schemas in the database
	ReplicaRole bool `json:"replica_role"` // may set session_replication_role
}

// Applied is one row of skytools.applied: what was last applied to an object.
type Applied struct {
	Address  string    `json:"address"`
	Cluster  string    `json:"cluster"` // the owner
	Spec     State     `json:"spec"`
	At       time.Time `json:"at"`
	By       string    `json:"by"`
	Revision string    `json:"revision"`
}

func (d *Database) reached() bool { return d != nil && d.Error == "" }
