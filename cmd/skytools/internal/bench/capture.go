package main

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/sql/pg"
)

// captureFigures compare generated trigger functions with the C trigger jsontriga,
// whose events they write byte for byte.
//
// single: statements of one row in a loop on the server, without commits and network.
// bulk: one statement of 10,000 rows.
func captureFigures() (all []figure) {
	for _, level := range []struct {
		name         string
		args         string
		single, bulk float64
	}{
		{"row", "null", 1, 1.05},
		{"statement", "'{statement}'", 1 / 1.15, 2},
	} {
		for _, op := range []string{"insert", "update", "delete"} {
			all = append(all,
				figure{name: fmt.Sprintf("capture-%s-single-%s", level.name, op), unit: "us", target: level.single, run: capture(level.args, single[op], 10_000)},
				figure{name: fmt.Sprintf("capture-%s-bulk-%s", level.name, op), unit: "us", target: level.bulk, run: capture(level.args, bulk[op], 10_000)})
		}
	}
	return all
}

const (
	newRow   = "i, i % 10, 'text of row ' || i, i * 1.5, '2026-01-01 12:00:00.5+00', '{\"a\": 1, \"b\": \"two\"}'"
	fillRows = "insert into t select " + newRow + " from generate_series(1, 10000) i"
)

// single and bulk are the work, and what has to be there first.
var (
	single = map[string][2]string{
		"insert": {"", loop("insert into t values (" + newRow + ")")},
		"update": {fillRows, loop("update t set n = n + 1, txt = txt || 'x' where id = i")},
		"delete": {fillRows, loop("delete from t where id = i")},
	}
	bulk = map[string][2]string{
		"insert": {"", fillRows},
		"update": {fillRows, "update t set n = n + 1, txt = txt || 'x'"},
		"delete": {fillRows, "delete from t"},
	}
)

func loop(statement string) string {
	return "do $$ begin for i in 1..10000 loop " + statement + "; end loop; end $$"
}

// capture measures microseconds of the server's processor time per row.
func capture(args string, work [2]string, rows float64) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (ours, peer float64, what string, err error) {
		p, err := onPair(ctx)
		if err != nil {
			return 0, 0, "", err
		}
		if err := p.both(ctx, "drop table if exists t"); err != nil {
			return 0, 0, "", err
		}
		if err := p.withQueue(ctx); err != nil {
			return 0, 0, "", err
		}
		if err := p.both(ctx, "create table t (id int primary key, n int, txt text, num numeric, ts timestamptz, js jsonb)"); err != nil {
			return 0, 0, "", err
		}
		if _, err := p.ours.Exec(ctx, "select pgq.create_capture('q', 'public.t', 'capture', "+args+")"); err != nil {
			return 0, 0, "", err
		}
		if _, err := p.theirs.Exec(ctx, "create trigger capture after insert or update or delete on t for each row execute function pgq.jsontriga('q')"); err != nil {
			return 0, 0, "", err
		}
		each := func(conn *pg.Conn) func() (float64, error) {
			return func() (float64, error) {
				if err := conn.Script(ctx, "truncate t; select pgq.maint_rotate_tables_step1('q'); "+
					"do $$ begin execute (select 'truncate ' || string_agg(queue_data_pfx || '_' || n, ', ') from pgq.queue, generate_series(0, 2) n where queue_name = 'q'); end $$; "+
					work[0]); err != nil {
					return 0, err
				}
				took, err := cost(ctx, conn, work[1])
				return float64(took.Nanoseconds()) / 1000 / rows, err
			}
		}
		ours, peer, err = inTurn(each(p.ours), each(p.theirs))
		return ours, peer, "C jsontriga of PgQ 3.5", err
	}
}
