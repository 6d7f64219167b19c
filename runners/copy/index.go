package tablecopy

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// An index is what was dropped before the rows came, and how to make it again.
type index struct{ Drop, Create string }

// droppable lists a table's indexes, with the constraints that they serve, that can
// be made again exactly as they are from their definition. All others stay, which is
// slower and loses nothing: those with a comment, a tablespace, statistics targets or
// storage parameters of a constraint, the table's replica identity or clustering
// order, parts of a partitioned index, and those that views or extensions depend on.
// Only the owner may drop any.
const droppable = `
select case when k.oid is null then 'drop index ' || quote_ident(n.nspname) || '.' || quote_ident(x.relname)
            else 'alter table only ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname)
                 || ' drop constraint ' || quote_ident(k.conname) end as drop,
       case when k.oid is null then pg_get_indexdef(x.oid)
            else 'alter table only ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname)
                 || ' add constraint ' || quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid) end as create
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_index i on i.indrelid = c.oid
  join pg_class x on x.oid = i.indexrelid
  left join pg_constraint k on k.conindid = x.oid and k.conrelid = c.oid and k.contype in ('p', 'u', 'x')
 where n.nspname = $1 and c.relname = $2 and c.relkind = 'r'
   and pg_has_role(c.relowner, 'usage')
   and i.indisvalid and i.indisready and not i.indisreplident and not i.indisclustered
   and not x.relispartition and x.reltablespace = 0
   and (k.oid is null or x.reloptions is null and k.conparentid = 0)
   and obj_description(x.oid, 'pg_class') is null
   and (k.oid is null or obj_description(k.oid, 'pg_constraint') is null)
   and not exists (select 1 from pg_attribute a where a.attrelid = x.oid and a.attstattarget >= 0)
   and not exists (
        select 1 from pg_depend d
         where (d.refclassid = 'pg_class'::regclass and d.refobjid = x.oid
                or d.refclassid = 'pg_constraint'::regclass and d.refobjid = k.oid)
           and d.deptype <> 'i')
   and not exists (
        select 1 from pg_depend d
         where d.classid = 'pg_class'::regclass and d.objid = x.oid and d.deptype in ('e', 'x', 'P', 'S'))
 order by i.indisprimary desc, x.oid`

// dropIndexes drops what is quicker to make again than to keep up.
func dropIndexes(ctx context.Context, tx *pg.Tx, table sql.Name) ([]index, error) {
	// With an empty search_path every name in a definition is qualified.
	path, err := pg.One[string](ctx, tx, "select current_setting('search_path')")
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, "set local search_path = ''"); err != nil {
		return nil, err
	}
	indexes, err := pg.Structs[index](ctx, tx, droppable, table.Schema, table.Rel)
	if err != nil {
		return nil, fmt.Errorf("list the indexes of %s: %w", table, err)
	}
	if _, err := tx.Exec(ctx, "select set_config('search_path', $1, true)", path); err != nil {
		return nil, err
	}
	for _, i := range indexes {
		if _, err := tx.Exec(ctx, i.Drop); err != nil {
			return nil, fmt.Errorf("%s: %w", i.Drop, err)
		}
	}
	return indexes, nil
}

func createIndexes(ctx context.Context, tx *pg.Tx, indexes []index) error {
	for _, i := range indexes {
		if _, err := tx.Exec(ctx, i.Create); err != nil {
			return fmt.Errorf("%s: %w", i.Create, err)
		}
	}
	return nil
}
