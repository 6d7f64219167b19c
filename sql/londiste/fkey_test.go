package londiste_test

import (
	"testing"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

func pgqnodeDrop(queue, node string) sql.Stmt { return pgqnode.DropNode(queue, node) }

func TestForeignKeys(t *testing.T) {
	n := newNode(t)
	n.leaf("q", "")
	n.run(`create schema s;
		create table s.a (id int primary key, up int constraint self references s.a);
		create table s.b (id int primary key, a int constraint b_a references s.a on delete cascade);
		create table s.c (id int primary key, a int);
		insert into s.c values (1, 99);
		alter table s.c add constraint c_a foreign key (a) references s.a not valid;
		create table s.p (id int primary key, a int references s.a) partition by list (id);
		create table s.p1 partition of s.p for values in (1);
		set search_path = s, public`)
	n.is("s.a self; s.b b_a; s.c c_a; s.p p_a_fkey", "select string_agg(from_table || ' ' || fkey_name, '; ' order by from_table) from londiste.find_table_fkeys('s.a')")
	n.is("alter table only s.b add constraint b_a FOREIGN KEY (a) REFERENCES s.a(id) ON DELETE CASCADE",
		"select fkey_def from londiste.find_table_fkeys('s.b')")

	for _, table := range []string{"s.a", "s.b", "s.c", "s.p"} {
		n.must(londiste.GlobalAddTable("q", table), add("q", table, "no_triggers"))
	}
	n.is("0", "select londiste.drop_table_fkey('s.a', 'none')::text")
	for _, key := range []string{"'s.a', 'self'", "'s.b', 'b_a'", "'s.c', 'c_a'", "'s.p', 'p_a_fkey'"} {
		n.is("1", "select londiste.drop_table_fkey("+key+")::text")
	}
	n.is("4", "select count(*)::text from londiste.get_table_pending_fkeys('s.a')")
	n.is("0", "select count(*)::text from londiste.get_valid_pending_fkeys('q')")
	n.run("update londiste.table_info set merge_state = 'ok' where table_name <> 's.a'")
	n.is("0", "select count(*)::text from londiste.get_valid_pending_fkeys('q')")
	n.run("update londiste.table_info set merge_state = 'ok', custom_snapshot = '1:1:' where table_name = 's.a'")
	n.is("0", "select count(*)::text from londiste.get_valid_pending_fkeys('q')")
	n.run("update londiste.table_info set custom_snapshot = null")
	n.is("4", "select count(*)::text from londiste.get_valid_pending_fkeys('q')")
	n.is("0", "select count(*)::text from londiste.get_valid_pending_fkeys('other')")

	n.run("set search_path = public")
	restore := func(key string, lazy string, want ...string) {
		t.Helper()
		for _, w := range want {
			got := n.text("select londiste.restore_table_fkey(" + key + ", " + lazy + ")")
			if got != w {
				t.Errorf("restore %s: %q, want %q", key, got, w)
			}
			if got != "" {
				n.run(got)
			}
		}
	}
	restore("'s.none', 'x'", "true", "")
	restore("'s.a', 'self'", "false", "")
	restore("'s.b', 'b_a'", "true",
		"alter table only s.b add constraint b_a FOREIGN KEY (a) REFERENCES s.a(id) ON DELETE CASCADE not valid",
		"alter table only s.b validate constraint b_a", "")
	restore("'s.c', 'c_a'", "true", "alter table only s.c add constraint c_a FOREIGN KEY (a) REFERENCES s.a(id) NOT VALID", "")
	restore("'s.p', 'p_a_fkey'", "true", "alter table s.p add constraint p_a_fkey FOREIGN KEY (a) REFERENCES s.a(id)", "")
	n.is("b_a:true c_a:false p_a_fkey:true self:true", `
		select string_agg(conname || ':' || convalidated, ' ' order by conname) from pg_constraint where contype = 'f' and conparentid = 0
		   and connamespace = 's'::regnamespace`)
	n.is("0", "select count(*)::text from londiste.pending_fkeys")
}

func TestForeignKeysOfMergedTables(t *testing.T) {
	n := newNode(t)
	n.root("c")
	n.leaf("p1", "c")
	n.leaf("p2", "c")
	n.run("create table a (id int primary key); create table b (id int primary key references a)")
	for _, q := range []string{"p2", "p1"} {
		for _, table := range []string{"a", "b"} {
			n.must(londiste.GlobalAddTable(q, table), add(q, table, "no_merge"), londiste.SetTableState(q, table, "", "ok"))
		}
	}
	n.is("1", "select londiste.drop_table_fkey('public.b', 'b_id_fkey')::text")
	n.is("1 0 0", `select (select count(*) from londiste.get_valid_pending_fkeys('p1')) || ' ' ||
		(select count(*) from londiste.get_valid_pending_fkeys('p2')) || ' ' || (select count(*) from londiste.get_valid_pending_fkeys('c'))`)
	n.must(londiste.SetTableState("p2", "a", "", "catching-up"))
	n.is("0", "select count(*)::text from londiste.get_valid_pending_fkeys('p1')")
}

func TestExecute(t *testing.T) {
	n := newNode(t)
	n.root("q")
	n.branch("b")
	start := func(queue, file string, root bool) sql.Stmt {
		return sql.Exec("select * from londiste.execute_start($1, $2, 'select 1', $3, 'need-table=x')", queue, file, root)
	}
	finish := func(queue, file string) sql.Stmt {
		return sql.Exec("select * from londiste.execute_finish($1, $2)", queue, file)
	}
	n.codes(
		step{"error P0001", start("zz", "1.sql", true)},
		step{"401", start("b", "1.sql", true)},
		step{"404", finish("q", "1.sql")},
		step{"200", start("q", "1.sql", true)},
		step{"201", start("q", "1.sql", true)},
		step{"200", finish("q", "1.sql")},
		step{"201", start("b", "1.sql", false)}, // once per database
		step{"200", start("b", "2.sql", false)},
		step{"200", finish("b", "2.sql")},
	)
	n.is("EXECUTE|select 1|1.sql|need-table=x", "select string_agg(concat_ws('|', ev_type, ev_data, ev_extra1, ev_extra2), ' ') from pgq.event_template")
	n.run("update londiste.applied_execute set execute_time = now() - interval '4 months' where execute_file = '1.sql'")
	n.is("0", "select londiste.periodic_maintenance()::text")
	n.is("1.sql 2.sql", "select string_agg(execute_file, ' ' order by execute_file) from londiste.applied_execute") // or it would run again
}

func TestSequences(t *testing.T) {
	n := newNode(t)
	n.root("q")
	n.leaf("l", "")
	n.run("create sequence s; create table t (id serial primary key)")
	events := "select string_agg(ev_type || ' ' || ev_data || coalesce(' ' || ev_extra1, ''), ', ' order by ev_id) from pgq.event_template where ev_type ~ 'seq'"
	n.codes(
		step{"400", londiste.LocalAddSeq("q", "none")},
		step{"404", londiste.LocalAddSeq("zz", "s")},
		step{"200", londiste.LocalAddSeq("q", "s")},
		step{"201", londiste.LocalAddSeq("q", "s")},
		step{"402", londiste.GlobalUpdateSeq("q", "s", 5)},
		step{"404", londiste.GlobalUpdateSeq("zz", "s", 5)},
		step{"404", londiste.LocalAddSeq("l", "s")},
		step{"404", londiste.RootCheckSeqs("zz")},
		step{"402", londiste.RootCheckSeqs("l")},
	)
	n.is("londiste.update-seq 30001 public.s", events)
	n.run("select setval('s', 20000)") // 20000 + 10000 < 30001
	n.must(londiste.RootCheckSeqs("q"))
	n.is("30001", "select last_value::text from londiste.get_seq_list('q')")
	n.run("select setval('s', 20001)")
	n.must(londiste.RootCheckSeqs("q"))
	n.is("50001", "select last_value::text from londiste.get_seq_list('q')")
	n.is("100", "select ret_code::text from londiste.root_check_seqs('q', 9)") // too small: 10000
	n.is("50001", "select last_value::text from londiste.get_seq_list('q')")
	n.run("select setval('s', 49991)")
	n.is("100", "select ret_code::text from londiste.root_check_seqs('q', 10)")
	n.is("50021", "select last_value::text from londiste.get_seq_list('q')")

	n.is("r public.t, S public.t_id_seq", "select string_agg(obj_kind || ' ' || obj_name, ', ' order by obj_name) from londiste.local_show_missing('q')")

	n.codes(
		step{"200", londiste.GlobalUpdateSeq("l", "t_id_seq", 500)},
		step{"200", londiste.LocalAddSeq("l", "t_id_seq")},
		step{"200", londiste.GlobalUpdateSeq("l", "t_id_seq", 400)},
	)
	n.is("500", "select last_value::text from t_id_seq") // never back
	n.is("400:true", "select last_value || ':' || local from londiste.get_seq_list('l')")
	got := rows[londiste.Sequence](n, londiste.RegisteredSequences)
	if len(got) != 2 || got[0] != (londiste.Sequence{Queue: "l", Name: "public.t_id_seq", Local: true}) {
		t.Errorf("sequences: %+v", got)
	}
	n.codes(
		step{"200", londiste.LocalRemoveSeq("l", "t_id_seq")},
		step{"404", londiste.LocalRemoveSeq("l", "t_id_seq")},
		step{"200", londiste.GlobalRemoveSeq("l", "t_id_seq")},
		step{"400", londiste.GlobalRemoveSeq("l", "t_id_seq")},
		step{"200", londiste.LocalRemoveSeq("q", "s")},
		step{"400", londiste.LocalRemoveSeq("q", "s")},
	)
	n.is("londiste.remove-seq public.s", "select ev_type || ' ' || ev_data from pgq.event_template order by ev_id desc limit 1")
}

// The copies of two tables take off the key between them at the same time.
func TestForeignKeyIsTakenOffByTwo(t *testing.T) {
	n := newNode(t)
	n.run("create table a (id int primary key); create table b (id int primary key constraint k references a)")
	const drop = "select londiste.drop_table_fkey('public.b', 'k')"
	second := n.db.Conn(t)
	n.run("begin; " + drop)
	ended := make(chan error, 1)
	go func() {
		_, err := second.Exec(t.Context(), drop)
		ended <- err
	}()
	watch := "select exists (select from pg_locks where pid = $1 and not granted)"
	for {
		waits, err := pg.One[bool](t.Context(), n.conn, watch, second.PID())
		if err != nil {
			t.Fatal(err)
		}
		if waits {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("the second did not wait: %v", err)
		default:
		}
	}
	n.run("commit")
	if err := <-ended; err != nil {
		t.Errorf("taking off what another has taken off: %v", err)
	}
	n.is("public.b.k", "select string_agg(from_table || '.' || fkey_name, ' ') from londiste.pending_fkeys")
}
