package pgq_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// plainOriginals are the originals' own SQL files, for installations without an
// extension: with C functions, and in PL/pgSQL alone.
func plainOriginals(t *testing.T) (server *sandbox.Server, files []string) {
	t.Helper()
	for _, i := range sandbox.Installs() {
		files, _ = filepath.Glob(fmt.Sprintf("/usr/share/postgresql/%d/contrib/pgq*.sql", i.Major()))
		var plain []string
		for _, f := range files {
			if name := filepath.Base(f); name == "pgq.sql" || name == "pgq_pl_only.sql" {
				plain = append(plain, f)
			}
		}
		if len(plain) == 2 {
			return sandboxtest.Private(t, sandbox.Options{Install: i}), plain
		}
	}
	const advice = "no server here has the originals' SQL (Debian: postgresql-15-pgq3)"
	if os.Getenv("CI") == "true" {
		t.Fatal(advice)
	}
	t.Log("nothing was tested: " + advice)
	return nil, nil
}

// A database that lives on the original without an extension becomes ours in place:
// queues, positions, an open batch, events that wait for their retry, half a rotation
// and triggers all go on.
//
// Source: contract/pgq.md section 10.2.
func TestUpgrades(t *testing.T) {
	server, files := plainOriginals(t)
	for _, file := range files {
		for _, old := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s old=%t", filepath.Base(file), old), func(t *testing.T) {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				db := sandboxtest.DatabaseOn(t, server, "template1")
				conn := db.Conn(t)
				script(t, conn, string(text))
				script(t, conn, "reset all")
				run(t, conn, []step{
					{"select pgq.create_queue('q'), pgq.create_queue('idle')", "(1,1)"},
					{"select pgq.register_consumer('q', 'c')", "(1)"},
					{"!create table t (id int primary key, a text); create trigger x after insert or update or delete on t for each row execute function pgq.logutriga('q')", ""},
					{"!insert into t values (1, 'one'); insert into t values (2, 'two')", ""},
					{"!update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '0'", ""},
					{"select pgq.ticker('q')", "(2)"},
					{"select pgq.next_batch('q', 'c')", "(1)"},
					{"select pgq.event_retry(1, 1, 0)", "(1)"},
					{"!update pgq.queue set queue_rotation_period = '0' where queue_name = 'idle'", ""},
					{"select pgq.maint_rotate_tables_step1('idle')", "(0)"},
				})
				if old { // as 3.2.6 made it, on a database that came from 2.x
					script(t, conn, `
						alter table pgq.queue drop column queue_extra_maint;
						alter table pgq.subscription alter column sub_last_tick set not null;
						alter table pgq.tick alter column tick_event_seq drop not null;
						grant execute on all functions in schema pgq to public;
						create function pgq.logtriga() returns trigger language plpgsql as 'begin return null; end'`)
				}

				db.Install(t, pgq.Schema)
				db.Install(t, pgq.Schema)
				run(t, conn, []step{
					{"select count(*) from pg_proc where pronamespace = 'pgq'::regnamespace and prolang = (select oid from pg_language where lanname = 'c')", "(0)"},
					{"select pgq.version() >= '3', pgq.upgrade_schema()", "(t,0)"},
					{"select exists (select from pg_proc p, aclexplode(p.proacl) a where p.oid = 'pgq.create_queue(text)'::regprocedure and a.grantee = 0)", "(f)"},
					{"select pgq.next_batch('q', 'c')", "(1)"},
					{"select ev_type, ev_data, ev_extra1 from pgq.get_batch_events(1)", "(I:id,id=1&a=one,public.t)\n(I:id,id=2&a=two,public.t)"},
					{"select pgq.finish_batch(1)", "(1)"},
					{"select queue_switch_step2 is null from pgq.queue where queue_name = 'idle'", "(t)"},
					{"select pgq.maint_rotate_tables_step2()", "(0)"},
					{"select pgq.maint_retry_events()", "(1)"},
					{"!insert into t values (3, 'three'); delete from t where id = 2", ""},
					{"select pgq.insert_event('q', 'own', 'd')", whatever},
					{"select pgq.ticker('q')", "(3)"},
					{"select pgq.next_batch('q', 'c')", "(2)"},
					{"select ev_retry, ev_type, ev_data from pgq.get_batch_events(2)", "(1,I:id,id=1&a=one)\n(,I:id,id=3&a=three)\n(,D:id,id=2&a=two)\n(,own,d)"},
					{"select pgq.finish_batch(2)", "(1)"},
					{"select pgq.create_queue('new'), pgq.insert_event('new', 't', 'd')", "(1,1)"},
					{"select pgq.create_capture('new', 'public.t', 'y', '{statement}')", "(1)"},
					{"!insert into t values (4, 'four')", ""},
					{"select ev_data from pgq.event_3 where ev_id = 2", `("{""id"":4,""a"":""four""}")`},
				})
			})
		}
	}
}
