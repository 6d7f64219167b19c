// Package standby holds the SQL of standbys: slots and synchronous names on the primary,
// replay on the standby. It does not know data directories, and installs nothing.
package standby

import "github.com/skytools-go/skytools/sql"

// CreateSlot makes a physical slot that keeps WAL from the last checkpoint on.
// Source: PostgreSQL documentation, 9.27.6, pg_create_physical_replication_slot.
func CreateSlot(name string) sql.Stmt {
	return sql.Exec("select pg_catalog.pg_create_physical_replication_slot($1, true)", name)
}

// DropSlot removes a slot that nobody uses.
func DropSlot(name string) sql.Stmt {
	return sql.Exec("select pg_catalog.pg_drop_replication_slot($1)", name)
}

// Pause asks for replay to stop. It does so when the record in hand is replayed.
func Pause() sql.Stmt { return sql.Exec("select pg_catalog.pg_wal_replay_pause()") }

// Resume lets replay go on.
func Resume() sql.Stmt { return sql.Exec("select pg_catalog.pg_wal_replay_resume()") }
