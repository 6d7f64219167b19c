package londiste

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed table.sql
var tableSQL string

// Tables reads every table that a queue's set knows: settings only. It works with
// the originals, too.
var Tables = sql.Catalog{Kind: "table", Text: tableSQL}

// Table is one row of [Tables].
type Table struct {
	Queue    string    `json:"queue"`
	Name     string    `json:"name"`  // global, the same on every node
	Local    bool      `json:"local"` // replicated on this node
	Dest     string    `json:"dest"`  // the table on this node
	Attrs    Dict      `json:"attrs"`
	Triggers []Trigger `json:"triggers"` // that publish to the queue, by name

	Rebuilding bool `json:"rebuilding,omitempty"` // a copy has dropped indexes, its primary key perhaps, and makes them again
}

// Trigger is a trigger that publishes changes, or on a leaf refuses them.
type Trigger struct {
	Name      string   `json:"name"`
	Function  string   `json:"function"` // schema.name
	Timing    string   `json:"timing"`   // before, after
	Events    []string `json:"events"`   // insert, update, delete; or truncate
	Args      []string `json:"args"`     // the first is the queue
	Enabled   bool     `json:"enabled"`
	Generated bool     `json:"generated"`  // the function was made for this table
	IsCurrent bool     `json:"is_current"` // false: generated, and not known to be what would be generated now
}

// AddTable is what [LocalAddTable] can be asked for beside the name.
type AddTable struct {
	// Args go to the trigger (ignore=a,b, backup, ev_extra1=...) or steer the
	// registration: expect_sync, skip_truncate, no_triggers, merge_all, no_merge,
	// virtual_table, skip, tgflags=...
	Args  []string
	Attrs Dict
	Dest  string // the table here, when it is called otherwise
}

// LocalAddTable starts to replicate a table on a node: below the root it needs a
// copy, unless expect_sync is among the arguments.
func LocalAddTable(queue, table string, o AddTable) sql.Stmt {
	return sql.Exec("select * from londiste.local_add_table($1, $2, $3, $4, $5)",
		queue, table, list(o.Args), text(o.Attrs.String()), text(o.Dest))
}

// LocalRemoveTable stops to replicate a table on a node; on the root it leaves the
// set, everywhere.
func LocalRemoveTable(queue, table string) sql.Stmt {
	return sql.Exec("select * from londiste.local_remove_table($1, $2)", queue, table)
}

// LocalChangeHandler replaces a local table's attributes and makes its triggers
// for args. Rows that are replicated already are not touched.
func LocalChangeHandler(queue, table string, args []string, attrs Dict) sql.Stmt {
	return sql.Exec("select * from londiste.local_change_handler($1, $2, $3, $4)",
		queue, table, list(args), text(attrs.String()))
}

// GlobalAddTable tells a node that the set has a table.
func GlobalAddTable(queue, table string) sql.Stmt {
	return sql.Exec("select * from londiste.global_add_table($1, $2)", queue, table)
}

// GlobalRemoveTable tells a node that the set has a table no more.
func GlobalRemoveTable(queue, table string) sql.Stmt {
	return sql.Exec("select * from londiste.global_remove_table($1, $2)", queue, table)
}

// SetTableState stores where a copy stands. Empty strings are NULL: no snapshot,
// and a table that waits for its copy.
func SetTableState(queue, table, snapshot, state string) sql.Stmt {
	return sql.Exec("select * from londiste.local_set_table_state($1, $2, $3, $4)", queue, table, text(snapshot), text(state))
}

// SetTableAttrs replaces a local table's attributes and leaves its triggers alone.
func SetTableAttrs(queue, table string, attrs Dict) sql.Stmt {
	return sql.Exec("select * from londiste.local_set_table_attrs($1, $2, $3)", queue, table, text(attrs.String()))
}

// SetTableStruct stores the DDL that ends a merge copy; empty when it has run.
func SetTableStruct(queue, table, ddl string) sql.Stmt {
	return sql.Exec("select * from londiste.local_set_table_struct($1, $2, $3)", queue, table, text(ddl))
}

// text is NULL for an empty string.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// list is NULL for an empty list.
func list(items []string) any {
	if len(items) == 0 {
		return nil
	}
	return items
}
