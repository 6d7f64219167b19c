package replay

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

// A Table says how the changes of one table are applied here.
type Table struct {
	Name  string   // global, schema.rel
	Dest  sql.Name // the table here
	Where string   // SQL condition over the root's row: only rows that meet it are kept here; empty: all
	Seen  Snapshot // events that are visible in it were copied with the table; zero: none
	londiste.Handling
	Mapping
	key []byte // of the mask's hashes
}

// A Column is a column of a table here.
type Column struct {
	Name      string
	Type      string // without length and precision, as in a cast
	Base      string // base type's name if it is a built-in one; enum; or empty
	Generated bool
	Always    bool // identity ALWAYS
	Exact     bool // texts are equal where values are, as far as collation goes
	KeyPlace  int  // in the primary key, from 1; 0: not in it
}

// A Relation is a table as the catalog describes it.
type Relation struct {
	Partitioned bool
	Copyable    bool // COPY FROM does to it what INSERT does: no rules, and no row security, which it refuses
	Columns     []Column
}

// Column finds a column by name; nil when there is none.
func (r *Relation) Column(name string) *Column {
	for i := range r.Columns {
		if r.Columns[i].Name == name {
			return &r.Columns[i]
		}
	}
	return nil
}

const describeSQL = `
with recursive rel as (
    select c.oid, c.relkind, not c.relhasrules and not c.relrowsecurity as copyable
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p')
), base as (
    select a.attnum, a.atttypid as typ
      from rel
      join pg_catalog.pg_attribute a on a.attrelid = rel.oid and a.attnum > 0 and not a.attisdropped
     union all
    select base.attnum, t.typbasetype
      from base
      join pg_catalog.pg_type t on t.oid = base.typ and t.typtype = 'd'
)
select a.attname::text as name,
       pg_catalog.format_type(a.atttypid, -1) as type,
       case when t.typtype = 'e' then 'enum'
            when t.typnamespace = 'pg_catalog'::regnamespace and t.typtype <> 'c' then t.typname::text
            else '' end as base,
       a.attgenerated <> '' as generated,
       a.attidentity = 'a' as always,
       coalesce(co.collisdeterministic, true) as exact,
       coalesce(array_position(k.conkey, a.attnum), 0)::int4 as key_place,
       rel.relkind = 'p' as partitioned,
       rel.copyable
  from rel
  join pg_catalog.pg_attribute a on a.attrelid = rel.oid and a.attnum > 0 and not a.attisdropped
  join base on base.attnum = a.attnum
  join pg_catalog.pg_type t on t.oid = base.typ and t.typtype <> 'd'
  left join pg_catalog.pg_collation co on co.oid = a.attcollation
  left join pg_catalog.pg_constraint k on k.conrelid = rel.oid and k.contype = 'p'
 order by a.attnum`

// Describe reads what a table looks like now. A table that does not exist is an error.
func Describe(ctx context.Context, q pg.Queryer, name sql.Name) (*Relation, error) {
	type row struct {
		Name, Type, Base         string
		Generated, Always, Exact bool
		KeyPlace                 int32
		Partitioned, Copyable    bool
	}
	rows, err := pg.Structs[row](ctx, q, describeSQL, name.Schema, name.Rel)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", name, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("table %s is registered and does not exist here, or has no columns", name)
	}
	r := &Relation{Partitioned: rows[0].Partitioned, Copyable: rows[0].Copyable}
	for _, c := range rows {
		r.Columns = append(r.Columns, Column{c.Name, c.Type, c.Base, c.Generated, c.Always, c.Exact, int(c.KeyPlace)})
	}
	return r, nil
}

// From is the table as DML and COPY name it: without its descendants, which are
// tables of their own, unless they are its partitions.
func (r *Relation) From(name sql.Name) string {
	if r.Partitioned {
		return name.Ident()
	}
	return "only " + name.Ident()
}

// A Snapshot is a txid_snapshot: the transactions that were visible at one moment.
type Snapshot struct {
	xmin, xmax int64
	running    map[int64]bool
}

// ParseSnapshot reads xmin:xmax:xip,xip.
// Source: PostgreSQL documentation, 9.27.10 Transaction ID and Snapshot Information.
func ParseSnapshot(text string) (s Snapshot, err error) {
	parts := strings.Split(text, ":")
	if len(parts) == 3 {
		s.xmin, err = strconv.ParseInt(parts[0], 10, 64)
		if err == nil {
			s.xmax, err = strconv.ParseInt(parts[1], 10, 64)
		}
		for xid := range strings.SplitSeq(parts[2], ",") {
			if xid == "" || err != nil {
				continue
			}
			var id int64
			if id, err = strconv.ParseInt(xid, 10, 64); s.running == nil {
				s.running = map[int64]bool{}
			}
			s.running[id] = true
		}
	}
	if err != nil || len(parts) != 3 {
		return Snapshot{}, fmt.Errorf("not a snapshot: %q", text)
	}
	return s, nil
}

// Visible reports whether the transaction had committed when the snapshot was taken,
// given that it has by now.
func (s Snapshot) Visible(txid int64) bool {
	return txid < s.xmin || txid < s.xmax && !s.running[txid]
}
