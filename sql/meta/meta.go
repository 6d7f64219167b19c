// Package meta is the SQL of schema skytools, where a managed database keeps what
// was applied to it, and of what every plan reads beside its objects: schemas and
// their functions, roles, and who and where we are.
package meta

import (
	"embed"
	"encoding/json"
	"hash/fnv"

	"github.com/skytools-go/skytools/sql"
)

//go:embed schema/*.sql
var files embed.FS

//go:embed *.sql
var queries embed.FS

// Schema is schema skytools.
var Schema = sql.NewSchema(sql.Schema{Name: "skytools", Version: "1"}, files, "schema/applied.sql", "schema/step_log.sql", "schema/skipped_event.sql")

//go:embed schema/skipped_event.sql
var skippedEvent string

// SkippedEvents makes the table skytools.skipped_event where an older version of the
// schema lacks it, and grants its use to the roles that are there by now.
var SkippedEvents = sql.Exec(skippedEvent)

func query(name string) string {
	text, err := queries.ReadFile(name)
	if err != nil {
		panic("meta: " + err.Error())
	}
	return string(text)
}

// Schemas reads the schemas that skytools installs or adopts.
var Schemas = sql.Catalog{Kind: "schema", Text: query("schemas.sql")}

// A SchemaRow is one row of [Schemas].
type SchemaRow struct {
	Name      string            `json:"name"`
	Comment   string            `json:"comment"`   // begins with [sql.Mark] when we installed it
	Extension *string           `json:"extension"` // version of the extension that owns it
	Functions map[string]string `json:"functions"` // digests as [sql.Schema.Functions] makes them
}

// Roles reads the group roles of the server that skytools knows.
var Roles = sql.Catalog{Kind: "role", Text: query("roles.sql")}

// Applied reads skytools.applied; it fails where the schema is missing.
var Applied = sql.Catalog{Kind: "applied", Text: query("applied.sql")}

// Context reads one row about the session's database, server and role.
var Context = sql.Catalog{Kind: "context", Text: query("context.sql")}

// MaySetReplicaRole asks a server of version 15 or newer whether the session may
// set session_replication_role; before that only superusers may.
// Source: PostgreSQL documentation, GRANT (SET ON PARAMETER).
const MaySetReplicaRole = "select has_parameter_privilege('session_replication_role', 'set')"

// A ContextRow is the row of [Context].
type ContextRow struct {
	Database    string `json:"database"`
	User        string `json:"user"`
	SystemID    string `json:"system_id"`
	Primary     bool   `json:"primary"`
	Superuser   bool   `json:"superuser"`
	CreateRole  bool   `json:"create_role"`
	CreateIn    bool   `json:"create_in"`
	ReplicaRole bool   `json:"replica_role"`
	Installed   bool   `json:"installed"` // schema skytools is there
}

// Sizes reads how large tables are: a fact, never compared.
var Sizes = sql.Catalog{Kind: "size", Text: query("sizes.sql")}

// A Size is one row of [Sizes].
type Size struct {
	Name  string `json:"name"`  // schema.rel, unquoted
	Bytes int64  `json:"bytes"` // of the rows
	Rows  int64  `json:"rows"`  // about; 0 also when nobody has counted
}

// Record says what was applied to an object; a second one replaces the first.
func Record(address, cluster string, spec any, digest, by, revision, plan string) (sql.Stmt, error) {
	text, err := json.Marshal(spec)
	return sql.Exec(`insert into skytools.applied (address, cluster, spec, digest, by, revision, plan)
values ($1, $2, $3::text::jsonb, $4, $5, $6, $7)
on conflict (address) do update
   set cluster = excluded.cluster, spec = excluded.spec, digest = excluded.digest, at = now(),
       by = excluded.by, revision = excluded.revision, plan = excluded.plan`,
		address, cluster, string(text), digest, by, revision, plan), err
}

// Forget removes what was recorded of an object.
func Forget(address, cluster string) sql.Stmt {
	return sql.Exec("delete from skytools.applied where address = $1 and cluster = $2", address, cluster)
}

// Begin logs that a step is about to run and answers the row's id.
func Begin(plan, step, address, title, by string) sql.Stmt {
	return sql.Exec("insert into skytools.step_log (plan, step, address, title, by) values ($1, $2, $3, $4, $5) returning id",
		plan, step, address, title, by)
}

// End logs the outcome of a step.
func End(id int64, outcome, failure string) sql.Stmt {
	return sql.Exec("update skytools.step_log set finished = clock_timestamp(), outcome = $2, error = nullif($3, '') where id = $1",
		id, outcome, failure)
}

// LockKey is the advisory lock that belongs to what: "apply shop", "tick" and so
// on. Different programs that use skytools' names for the same cluster agree on it.
func LockKey(what string) int64 {
	h := fnv.New64a()
	h.Write([]byte("skytools " + what))
	return int64(h.Sum64())
}
