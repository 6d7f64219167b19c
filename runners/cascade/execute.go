package cascade

import (
	"context"
	"fmt"
	"strings"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

// A script is DDL that travels through the queue.
type script struct {
	name, text string
	attrs      []byte
}

// execute runs a script, once on each node, inside the batch: what it does commits
// with the position. Its own changes of tables are not captured: every node makes
// them.
//
// Source: contract/londiste.md section 5.2.
func (w *Worker) execute(ctx context.Context, tx *pg.Tx, s script) error {
	if err := w.setRole(ctx, tx, "local"); err != nil {
		return err
	}
	var attrs any
	if s.attrs != nil {
		attrs = string(s.attrs)
	}
	type row struct {
		Code int32
		Note string
	}
	r, err := pg.Struct[row](ctx, tx, `select ret_code as code, coalesce(ret_note, '') as note
		from londiste.execute_start($1, $2, $3, false, $4)`, w.Queue, s.name, s.text, attrs)
	if err != nil {
		return fmt.Errorf("script %s: %w", s.name, err)
	}
	if r.Code >= 400 {
		return fmt.Errorf("script %s: %d %s", s.name, r.Code, r.Note)
	}
	if r.Code > 200 {
		w.Log.Info("script ran here already", "queue", w.Queue, "script", s.name)
		return w.setRole(ctx, tx, "replica")
	}
	text, wanted, err := w.scriptFor(ctx, tx, s)
	if err != nil {
		return fmt.Errorf("script %s: %w", s.name, err)
	}
	if wanted {
		if err := tx.Script(ctx, text); err != nil {
			return fmt.Errorf("script %s: %w", s.name, err)
		}
	}
	if err := call(ctx, tx, sql.Exec("select * from londiste.execute_finish($1, $2)", w.Queue, s.name)); err != nil {
		return fmt.Errorf("script %s: %w", s.name, err)
	}
	return w.setRole(ctx, tx, "replica")
}

// setRole changes the role until the end of the transaction. Where nobody may, the
// setting skytools.replaying keeps our own triggers quiet in both.
func (w *Worker) setRole(ctx context.Context, tx *pg.Tx, role string) error {
	if !w.replica {
		return nil
	}
	err := tx.Attempt(ctx, func() error {
		_, err := tx.Exec(ctx, "select set_config('session_replication_role', $1, true)", role)
		return err
	})
	if pg.Code(err) == "42501" {
		_, err = tx.Exec(ctx, "select londiste.set_session_replication_role($1, true)", role)
	}
	if err != nil {
		return fmt.Errorf("set session_replication_role to %s: %w", role, err)
	}
	return nil
}

// scriptFor decides by the script's attributes whether this node runs it, and puts
// the names of tables here in place of @name@. All conditions must agree.
func (w *Worker) scriptFor(ctx context.Context, tx *pg.Tx, s script) (text string, wanted bool, err error) {
	attrs, err := londiste.ParseDict(string(s.attrs))
	if err != nil {
		return "", false, err
	}
	text, yes, no := s.text, 0, 0
	for key := range attrs {
		for value := range strings.SplitSeq(attrs.Get(key), ",") {
			if value = strings.TrimSpace(value); value == "" {
				continue
			}
			dest, met, err := w.condition(ctx, tx, strings.ToLower(key), value)
			if err != nil {
				return "", false, err
			}
			if met {
				yes++
			} else {
				no++
			}
			if dest != "" {
				text = strings.ReplaceAll(text, "@"+value+"@", dest)
			}
		}
	}
	if yes > 0 && no > 0 {
		return "", false, fmt.Errorf("some of its conditions are met here and some are not (%s): nobody can say whether to run it", s.attrs)
	}
	return text, no == 0, nil
}

// condition evaluates one value of one attribute. Dest is the quoted name of the
// table or sequence here, for the Local- attributes.
func (w *Worker) condition(ctx context.Context, tx *pg.Tx, key, value string) (dest string, met bool, err error) {
	name := sql.ParseName(value)
	ask := func(query string, args ...any) {
		met, err = pg.One[bool](ctx, tx, "select exists ("+query+")", args...)
	}
	const relation = `select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		where n.nspname = $1 and c.relname = $2 and c.relkind::text = any (string_to_array($3, ','))`
	switch key {
	case "local-table", "local-destination":
		dests, err := pg.Rows[string](ctx, tx, "select coalesce(dest_table, table_name) from londiste.table_info where queue_name = $1 and table_name = $2 and local", w.Queue, name.String())
		if err != nil || len(dests) == 0 {
			return name.Ident(), false, err
		}
		here := sql.ParseName(dests[0])
		if key == "local-table" {
			return here.Ident(), true, nil
		}
		ask(relation, here.Schema, here.Rel, "r,p")
		return here.Ident(), met, err
	case "local-sequence":
		ask("select 1 from londiste.seq_info where queue_name = $1 and seq_name = $2 and local", w.Queue, name.String())
		return name.Ident(), met, err
	case "need-table":
		ask(relation, name.Schema, name.Rel, "r,p")
	case "need-sequence":
		ask(relation, name.Schema, name.Rel, "S")
	case "need-view":
		ask(relation, name.Schema, name.Rel, "v,m")
	case "need-schema":
		ask("select 1 from pg_catalog.pg_namespace where nspname = $1", value)
	case "need-function":
		function, count := value, "0"
		if at := strings.IndexByte(value, '('); at >= 0 && strings.HasSuffix(value, ")") {
			function, count = value[:at], value[at+1:len(value)-1]
		}
		name = sql.ParseName(function)
		ask(`select 1 from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
			where n.nspname = $1 and p.proname = $2 and p.pronargs::text = $3`, name.Schema, name.Rel, count)
	default:
		return "", false, fmt.Errorf("its attribute %q is unknown", key)
	}
	return "", met, err
}
