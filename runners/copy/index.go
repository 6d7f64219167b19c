package tablecopy

import (
	"context"
	"fmt"
	"sync"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// An index is what was dropped before the rows came, and how to make it again. The
// statements may run twice.
type index struct {
	Name   string `json:"name"`
	Drop   string `json:"drop"`
	Create string `json:"create,omitempty"` // the index; several are made at a time
	Attach string `json:"attach,omitempty"` // the constraint that it serves: locks the table, and is quick
}

// droppable lists a table's indexes, with the constraints that they serve, that can
// be made again exactly as they are from their definition. All others stay, which is
// slower and loses nothing: those with a comment, a tablespace, statistics targets or
// storage parameters of a constraint, the table's replica identity or clustering
// order, parts of a partitioned index, and those that views or extensions depend on.
// Only the owner may drop any.
//
// Primary and unique keys take an index that was made before: making it needs no
// lock that keeps another index of the table from being made meanwhile.
//
// Source: PostgreSQL documentation, ALTER TABLE (ADD table_constraint_using_index).
const droppable = `
select x.relname::text as name,
       case when k.oid is null then 'drop index ' || quote_ident(n.nspname) || '.' || quote_ident(x.relname)
            else 'alter table only ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname)
                 || ' drop constraint ' || quote_ident(k.conname) end as drop,
       case when k.oid is null or uses.it
            then regexp_replace(pg_get_indexdef(x.oid), '^CREATE (UNIQUE )?INDEX ', 'CREATE \1INDEX IF NOT EXISTS ')
            else '' end as create,
       case when k.oid is null then '' else format(
            'do %1$s begin if not exists (select from pg_catalog.pg_constraint where conrelid = %2$L::regclass and conname = %3$L) then execute %4$L; end if; end %1$s',
            '$s' || md5(x.oid || k.conname || pg_get_constraintdef(k.oid)) || '$', quote_ident(n.nspname) || '.' || quote_ident(c.relname), k.conname,
            'alter table only ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname) || ' add constraint ' || quote_ident(k.conname) || ' '
            || case when uses.it
                    then case k.contype when 'p' then 'primary key' else 'unique' end || ' using index ' || quote_ident(x.relname)
                         || case when k.condeferrable then ' deferrable' else '' end
                         || case when k.condeferred then ' initially deferred' else '' end
                    else pg_get_constraintdef(k.oid) end) end as attach
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_index i on i.indrelid = c.oid
  join pg_class x on x.oid = i.indexrelid
  join pg_am m on m.oid = x.relam
  left join pg_constraint k on k.conindid = x.oid and k.conrelid = c.oid and k.contype in ('p', 'u', 'x')
 cross join lateral (select k.contype in ('p', 'u') and i.indisunique and m.amname = 'btree' and k.conname = x.relname as it) uses
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

// createIndexes makes them one after the other in the transaction of the rows.
func createIndexes(ctx context.Context, tx *pg.Tx, indexes []index) error {
	for _, i := range indexes {
		for _, text := range []string{i.Create, i.Attach} {
			if text == "" {
				continue
			}
			if _, err := tx.Exec(ctx, text); err != nil {
				return fmt.Errorf("%s: %w", text, err)
			}
		}
	}
	return nil
}

// sortMemory is for all the indexes that are made at a time, in kB. It is not taken
// from a server that allows more.
const sortMemory = 512 << 10

// buildIndexes makes several indexes at a time, each in a session of its own that
// dial opens, and then the constraints that they serve.
func buildIndexes(ctx context.Context, dial func(context.Context) (*pg.Conn, error), sessions int, indexes []index) error {
	sessions = max(1, min(sessions, len(indexes)))
	build := make(chan index, len(indexes))
	for _, i := range indexes {
		build <- i
	}
	close(build)
	err := together(ctx, sessions, func(ctx context.Context, _ int) error {
		conn, err := dial(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Exec(ctx, `
			select set_config('maintenance_work_mem', $1::int8 || 'kB', false)
			  from pg_catalog.pg_settings
			 where name = 'maintenance_work_mem' and setting::int8 < $1::int8`, int64(sortMemory/sessions))
		if err != nil {
			return err
		}
		for i := range build {
			if ctx.Err() != nil || i.Create == "" {
				continue
			}
			if _, err := conn.Exec(ctx, i.Create); err != nil {
				return fmt.Errorf("%s: %w", i.Create, err)
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, i := range indexes {
		if i.Attach == "" {
			continue
		}
		if _, err := conn.Exec(ctx, i.Attach); err != nil {
			return fmt.Errorf("%s: %w", i.Attach, err)
		}
	}
	return nil
}

// together runs f several times at once. The first error ends the others, and is
// the one that is answered.
func together(ctx context.Context, times int, f func(ctx context.Context, nr int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	var once sync.Once
	var first error
	for nr := range times {
		all.Go(func() {
			if err := f(ctx, nr); err != nil {
				once.Do(func() { first = err })
				cancel()
			}
		})
	}
	all.Wait()
	return first
}
