package pgq

import (
	"strings"

	"github.com/skytools-go/skytools/sql"
)

// CreateTrigger is [CreateCapture] where the original PgQ is installed, which has
// pgq.jsontriga but makes no functions of its own for a table. The events are the
// same.
//
// Source: contract/pgq.md section 7.2.
func CreateTrigger(queue, table, trigger string, args []string) sql.Stmt {
	all := sql.Literal(queue)
	for _, a := range args {
		all += ", " + sql.Literal(a)
	}
	on := " on " + sql.ParseName(table).Ident() + " for each "
	return sql.Exec("create trigger " + sql.Ident(trigger) + " after insert or update or delete" + on +
		"row execute function pgq.jsontriga(" + all + ");\n" +
		"create trigger " + sql.Ident(truncateTrigger(trigger)) + " after truncate" + on +
		"statement execute function pgq.jsontriga(" + sql.Literal(queue) + ")")
}

// truncateTrigger names the second trigger as pgq.create_capture does.
func truncateTrigger(trigger string) string {
	const end = "_truncate"
	for len(trigger) > 63-len(end) {
		trigger = strings.ToValidUTF8(trigger[:len(trigger)-1], "")
	}
	return trigger + end
}

// DropTriggers is [DropCapture] where the original PgQ is installed.
func DropTriggers(queue, table string) sql.Stmt {
	on := sql.ParseName(table).Ident()
	return sql.Exec("do " + sql.Literal(`
declare
    _trigger  name;
begin
    for _trigger in
        select g.tgname
          from pg_catalog.pg_trigger g
          join pg_catalog.pg_proc p on p.oid = g.tgfoid
         where g.tgrelid = `+sql.Literal(on)+`::regclass
           and p.pronamespace = 'pgq'::regnamespace
           and p.proname in ('jsontriga', 'logutriga', 'sqltriga', 'logtriga')
           and not g.tgisinternal
           and position('_londiste_' in g.tgname) = 0
           and convert_from(substring(g.tgargs for position('\000'::bytea in g.tgargs) - 1), getdatabaseencoding()) = `+sql.Literal(queue)+`
    loop
        execute format('drop trigger %I on %s', _trigger, `+sql.Literal(on)+`::regclass);
    end loop;
end
`))
}
