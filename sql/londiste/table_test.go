package londiste_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
)

func add(queue, table string, args ...string) sql.Stmt {
	return londiste.LocalAddTable(queue, table, londiste.AddTable{Args: args})
}

func TestRegistrationOnARoot(t *testing.T) {
	n := newNode(t)
	n.root("q")
	n.run(`create table t (id int primary key); create table nokey (id int);
		create table dropped (a int, id int primary key); alter table dropped drop column a;
		create table late (a text, b text, id int primary key);
		create table parent (id int primary key) partition by range (id);
		create table child partition of parent for values from (1) to (10)`)
	n.codes(
		step{"400", add("zz", "t")},
		step{"404", add("q", "none")},
		step{"400", add("q", "nokey")},
		step{"405", add("q", "t", "merge_all", "no_merge")},
		step{"200", add("q", "t")},
		step{"200", add("q", "t")},
		step{"410", londiste.LocalAddTable("q", "t", londiste.AddTable{Attrs: londiste.Dict{"a": nil}})},
		step{"200", add("q", "dropped")},
		step{"200", add("q", "late", "skip_truncate")},
		step{"200", add("q", "parent")},
		step{"200", add("q", "ghost.table", "virtual_table")},
		step{"400", londiste.GlobalAddTable("zz", "t")},
		step{"400", londiste.LocalRemoveTable("q", "never")},
		step{"400", londiste.LocalChangeHandler("zz", "t", nil, nil)},
		step{"404", londiste.LocalChangeHandler("q", "never", nil, nil)},
		step{"404", londiste.SetTableState("q", "never", "", "ok")},
		step{"404", londiste.SetTableAttrs("q", "never", nil)},
		step{"404", londiste.SetTableStruct("q", "never", "")},
	)
	n.is("vvk", "select londiste.find_column_types('late')")
	n.is("k", "select londiste.find_column_types('dropped')")

	n.run("insert into parent values (5); truncate parent; update late set a = a; insert into late values ('x', null, 1)")
	n.is("INSERT public.parent, R public.parent, INSERT public.late", `
		select string_agg(coalesce(substring(ev_type from '"op":"(\w+)"'), ev_type) || ' ' || ev_extra1, ', ' order by ev_id) from pgq.event_template where ev_type !~ '^londiste'`)

	var names []string
	for _, r := range rows[londiste.Table](n, londiste.Tables) {
		line := r.Name
		for _, g := range r.Triggers {
			line += " " + g.Name
			if g.Generated == strings.HasSuffix(g.Name, "_truncate") || !g.IsCurrent || !g.Enabled || g.Timing != "after" || g.Args[0] != "q" {
				t.Errorf("trigger of %s: %+v", r.Name, g)
			}
		}
		names = append(names, line)
	}
	want := []string{"ghost.table",
		"public.dropped _londiste_q _londiste_q_truncate", "public.late _londiste_q _londiste_q_truncate",
		"public.parent _londiste_q _londiste_q_truncate", "public.t _londiste_q _londiste_q_truncate"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}

	n.codes(step{"200", londiste.LocalRemoveTable("q", "t")})
	n.is("0", "select count(*)::text from pg_trigger where tgrelid = 'public.t'::regclass")
	n.is("londiste.remove-table public.t", "select ev_type || ' ' || ev_data from pgq.event_template order by ev_id desc limit 1")
	n.must(pgqnodeDrop("q", "here"))
	n.is("0", "select count(*)::text from pg_trigger where tgname like '\\_londiste%'")
}

func TestRegisteringAgainLeavesTriggersAlone(t *testing.T) {
	n := newNode(t)
	n.root("q")
	n.leaf("l", "")
	n.run("create table a (id int primary key); create table b (id int primary key); create table c (id int primary key)")
	n.must(add("q", "a"), add("q", "b", "tgflags=L", "ignore=x", `ev_extra2='ä\x'`),
		londiste.GlobalAddTable("l", "c"), add("l", "c"))
	oids := "select string_agg(oid || ':' || xmin, ' ' order by oid) from pg_trigger where not tgisinternal"
	before := n.text(oids)
	n.must(londiste.LocalChangeHandler("q", "a", nil, nil),
		londiste.LocalChangeHandler("q", "b", []string{"tgflags=L", "ignore=x", `ev_extra2='ä\x'`}, nil),
		londiste.LocalChangeHandler("l", "c", nil, nil))
	n.is(before, oids)
	n.must(londiste.LocalChangeHandler("q", "a", []string{"backup"}, nil))
	if n.text(oids) == before {
		t.Error("another argument did not reach the trigger")
	}
}

func TestTriggerVariants(t *testing.T) {
	n := newNode(t)
	n.root("q")
	n.run("create table t (id int primary key); create table u (id int primary key)")
	n.must(add("q", "t"))
	defs := `select string_agg(replace(pg_get_triggerdef(oid), ' ON public.t FOR EACH', ''), '; ' order by tgname) from pg_trigger
		where tgrelid = 't'::regclass`
	truncate := "CREATE TRIGGER _londiste_q_truncate AFTER TRUNCATE STATEMENT EXECUTE FUNCTION pgq.sqltriga('q')"
	for args, want := range map[string]string{
		"tgflags=BQI":  "CREATE TRIGGER _londiste_q BEFORE INSERT ROW EXECUTE FUNCTION pgq.sqltriga('q'); " + truncate,
		"tgflags=j":    "CREATE TRIGGER _londiste_q AFTER INSERT OR DELETE OR UPDATE ROW EXECUTE FUNCTION pgq.jsontriga('q'); " + truncate,
		"tgflags=QL":   "CREATE TRIGGER _londiste_q AFTER INSERT OR DELETE OR UPDATE ROW EXECUTE FUNCTION pgq.logutriga('q'); " + truncate,
		"tgflags=SB":   truncate + "; CREATE TRIGGER zzz__londiste_q BEFORE INSERT OR DELETE OR UPDATE ROW EXECUTE FUNCTION pgq.logutriga('q', 'SKIP')",
		"tgflags=ABDU": "CREATE TRIGGER _londiste_q AFTER DELETE OR UPDATE ROW EXECUTE FUNCTION pgq.logutriga('q'); " + truncate,
	} {
		n.must(londiste.LocalChangeHandler("q", "t", []string{args}, nil))
		n.is(want, defs)
	}
	n.codes(step{"403", londiste.LocalChangeHandler("q", "t", []string{"SKIP"}, nil)})
	n.codes(step{"200", londiste.LocalChangeHandler("q", "t", []string{"no_triggers"}, nil)})
	n.is("201", "select ret_code::text from londiste.create_trigger('q', 't', array['no_triggers'], null, 'root')")
	n.is("zzz__londiste_q", "select trigger_name from londiste.create_trigger('q', 't', array['tgflags=SB'], null, 'root')")

	// A SKIP trigger of somebody else: an AFTER trigger would never fire.
	n.run(`create trigger "Mine" before insert on u for each row execute function pgq.logutriga('other', 'SKIP')`)
	n.codes(step{"403", add("q", "u")}, step{"200", add("q", "u", "tgflags=SB")})
	n.is("_londiste_q,_londiste_q_truncate,zzz_Mine", "select string_agg(tgname, ',' order by tgname) from pg_trigger where tgrelid = 'u'::regclass")

	// Back to the generated function.
	n.must(londiste.LocalChangeHandler("q", "t", nil, nil))
	n.is("1", "select count(*)::text from pg_trigger where tgrelid = 't'::regclass and tgfoid::regproc::text like 'pgq.\\_capture%'")
	n.is("2", "select count(*)::text from pg_trigger where tgrelid = 't'::regclass and londiste.is_replica_func(tgfoid)")
	n.is("false", "select londiste.is_replica_func('pgq.version()'::regprocedure)::text")
}

func TestOtherTriggersBeforeOursAreToldAbout(t *testing.T) {
	n := newNode(t)
	n.root("q")
	n.run(`create table t (id int primary key);
		create function f() returns trigger language plpgsql as 'begin return null; end';
		create trigger "Audit" after insert on t for each row execute function f();
		create trigger zz after insert on t for each row execute function f();
		create trigger ab before insert on t for each row execute function f()`)
	code, note := n.reply(add("q", "t"))
	if code != "301" || !strings.HasSuffix(note, ": Audit") {
		t.Errorf("%s %s", code, note)
	}
}

func TestTruncateOfARenamedTableCarriesTheGlobalName(t *testing.T) {
	n := newNode(t)
	n.root("q")
	n.run("create table real (id int primary key); create table real2 (id int primary key)")
	n.must(londiste.LocalAddTable("q", "shop.global", londiste.AddTable{Dest: "real"}),
		londiste.LocalAddTable("q", "shop.global2", londiste.AddTable{Dest: "real2", Args: []string{"tgflags=L"}}))
	n.run("insert into real values (1); truncate real; insert into real2 values (1); truncate real2")
	n.is("INSERT shop.global, R shop.global, I:id shop.global2, R shop.global2", `
		select string_agg(coalesce(substring(ev_type from '"op":"(\w+)"'), ev_type) || ' ' || ev_extra1, ', ' order by ev_id) from pgq.event_template where ev_type !~ '^londiste'`)
	n.must(londiste.LocalRemoveTable("q", "shop.global2"))
	n.is("0", "select count(*)::text from pg_trigger where tgrelid = 'real2'::regclass")
}

func TestRegistrationBelowTheRoot(t *testing.T) {
	n := newNode(t)
	n.branch("b")
	n.leaf("l", "")
	n.run("create table t (id serial primary key); create table u (id int primary key)")
	n.codes(
		step{"404", add("b", "t")}, // not in the set
		step{"200", londiste.GlobalAddTable("b", "t")},
		step{"200", londiste.GlobalAddTable("b", "t")},
		step{"400", londiste.LocalRemoveTable("b", "t")}, // not local
		step{"200", add("b", "t")},
		step{"200", londiste.GlobalAddTable("l", "u")},
		step{"200", londiste.LocalAddTable("l", "u", londiste.AddTable{Args: []string{"expect_sync"}, Attrs: londiste.Dict{"handler": new("x(a=b)"), "n": nil}})},
	)
	n.is("NULL", "select merge_state from londiste.table_info where queue_name = 'b'")
	n.is("ok", "select merge_state from londiste.table_info where queue_name = 'l'")
	n.run("set session_replication_role = replica; insert into t values (1); reset session_replication_role")
	if _, err := n.conn.Exec(t.Context(), "insert into t values (2)"); err == nil || !strings.Contains(err.Error(), "disallowed") {
		t.Errorf("a branch took a change: %v", err)
	}
	if _, err := n.conn.Exec(t.Context(), "insert into u values (1)"); err == nil || !strings.Contains(err.Error(), "change not allowed") {
		t.Errorf("a leaf took a change: %v", err)
	}
	if _, err := n.conn.Exec(t.Context(), "truncate u"); err == nil || !strings.Contains(err.Error(), "change not allowed") {
		t.Errorf("a leaf was truncated: %v", err)
	}
	got := rows[londiste.Table](n, londiste.Tables)
	if len(got) != 2 || got[1].Attrs.String() != "handler=x%28a%3Db%29&n" || len(got[1].Triggers) != 2 || got[1].Triggers[0].Generated {
		t.Errorf("tables: %+v", got)
	}
	n.codes(
		step{"200", londiste.SetTableState("b", "t", "1:2:", "in-copy")},
		step{"200", londiste.SetTableStruct("b", "public.t", "create index on t(id)")},
		step{"error 23514", londiste.SetTableState("b", "t", "", "ok")}, // the DDL is not run yet
	)
	facts := rows[londiste.Facts](n, londiste.TableFacts)
	if len(facts) != 2 || *facts[0].MergeState != "in-copy" || !facts[0].DroppedDDL || *facts[0].CustomSnapshot != "1:2:" || facts[1].DroppedDDL {
		t.Errorf("facts: %+v", facts)
	}
	n.codes(step{"200", londiste.LocalRemoveTable("b", "t")})
	n.is("0", "select count(*)::text from public.t")
	n.is("2", "select count(*)::text from pg_index where indrelid = 'public.t'::regclass")
	n.codes(step{"200", londiste.GlobalRemoveTable("l", "u")}, step{"400", londiste.GlobalRemoveTable("l", "u")})
}

func TestMerge(t *testing.T) {
	n := newNode(t)
	n.root("c")
	for _, q := range []string{"p1", "p2", "p3"} {
		n.leaf(q, "c")
	}
	n.run("create table t (id int primary key)")
	for _, q := range []string{"p1", "p2", "p3"} {
		n.must(londiste.GlobalAddTable(q, "t"))
	}
	n.codes(
		step{"405", add("p1", "t")},
		step{"200", add("p1", "t", "merge_all")},
		step{"200", add("p2", "t")},
	)
	n.is("c:true:ok p1:true:- p2:true:- p3:true:-", `
		select string_agg(queue_name || ':' || local || ':' || coalesce(merge_state, '-'), ' ' order by queue_name) from londiste.table_info`)
	n.is("_londiste_c _londiste_c_truncate _londiste_p1 _londiste_p1_truncate", `
		select string_agg(tgname, ' ' order by tgname) from pg_trigger where tgrelid = 't'::regclass`)

	// Source: contract/londiste.md section 1.7.
	table := `
!c c c N R R   !c c i R R R   !c i c R R R   !c i i R R R   !i c c L R R   !i c i L R R   !i i c L R R   !i i i L R R
c !c c R N R   c !c i R R R   c !i c R L R   c !i i R L R   c c !c R R N   c c !i R R L   c c c N N N    c c i N N R
c i !c R R R   c i !i R R L   c i c N R N    c i i N R R    i !c c R R R   i !c i R R R   i !i c R L R   i !i i R L R
i c !c R R R   i c !i R R L   i c c R N N    i c i R N R    i i !c R R R   i i !i R R L   i i c R R N    i i i L C C`
	fields := strings.Fields(table)
	if len(fields) != 32*6 {
		t.Fatalf("%d cells", len(fields))
	}
	states := map[byte]string{'c': "catching-up", 'i': "in-copy"}
	roles := map[string]string{"wait-replay": "R", "lead": "L", "wait-copy": "C", "NULL": "N"}
	for ; len(fields) > 0; fields = fields[6:] {
		for i, state := range fields[:3] {
			ddl := "null"
			if strings.HasPrefix(state, "!") {
				ddl, state = "'select 1'", state[1:]
			}
			n.run(fmt.Sprintf("update londiste.table_info set merge_state = '%s', dropped_ddl = %s where queue_name = 'p%d'", states[state[0]], ddl, i+1))
		}
		var got []string
		for _, q := range []string{"p1", "p2", "p3"} {
			got = append(got, roles[n.text("select copy_role from londiste._coordinate_copy($1, 'public.t')", q)])
		}
		if diff := cmp.Diff(fields[3:6], got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", fields[:3], diff)
		}
	}
	n.run("update londiste.table_info set merge_state = 'in-copy', dropped_ddl = null where queue_name like 'p%'")
	n.is("p1:lead:0 p2:wait-copy:1 p3:wait-copy:2", `
		select string_agg(q || ':' || copy_role || ':' || copy_pos, ' ' order by q)
		  from unnest(array['p1', 'p2', 'p3']) q, londiste.get_table_list(q)`)
	n.run("update londiste.table_info set merge_state = 'ok' where queue_name in ('p1', 'p3')")
	n.is("NULL", "select copy_role from londiste._coordinate_copy('p2', 'public.t')")

	// Who leads and goes leaves the indexes, and the rows of those that have copied.
	n.run(`update londiste.table_info set merge_state = 'in-copy' where queue_name like 'p%';
		update londiste.table_info set dropped_ddl = 'create index t_back on t (id)' where queue_name in ('p1', 'p2');
		set session_replication_role = replica; insert into t values (1); reset session_replication_role;
		update londiste.table_info set merge_state = 'catching-up' where queue_name = 'p3'`)
	n.codes(step{"200", londiste.LocalRemoveTable("p1", "t")})
	n.is("1", "select count(*)::text from t")
	n.is("2", "select count(*)::text from pg_index where indrelid = 't'::regclass")
	n.run("update londiste.table_info set merge_state = 'in-copy', dropped_ddl = null where queue_name = 'p3'; update londiste.table_info set dropped_ddl = 'drop index t_back' where queue_name = 'p2'")
	n.codes(step{"200", londiste.LocalRemoveTable("p2", "t")})
	n.is("0", "select count(*)::text from t")
}

func TestHostileNames(t *testing.T) {
	names := []string{`we"ird; drop table x`, "With Space", "dots.in.name", "Grüße", strings.Repeat("ö", 31), `back\slash'quote`, "%s & %20"}
	for i, name := range names {
		n := newNode(t)
		queue := names[(i+1)%len(names)]
		n.root(queue)
		n.leaf("leaf", "")
		schema := strings.ReplaceAll(name, ".", "_")
		table, fq := sql.Ident(schema, name), schema+"."+name
		n.run("create schema " + sql.Ident(schema))
		n.run("create table " + table + " (" + sql.Ident(name) + " int primary key, r int references " + table + ", s serial)")
		n.must(add(queue, fq), londiste.LocalChangeHandler(queue, fq, []string{"tgflags=L"}, nil),
			londiste.LocalChangeHandler(queue, fq, nil, nil),
			londiste.SetTableAttrs(queue, fq, londiste.Dict{name: new(name)}))
		n.run("insert into " + table + " values (1, 1); truncate " + table)
		n.is("2 "+fq, "select count(*) || ' ' || min(ev_extra1) from pgq.event_template where ev_type !~ '^londiste'")
		got := rows[londiste.Table](n, londiste.Tables)
		if len(got) != 1 || got[0].Name != fq || len(got[0].Triggers) != 2 || got[0].Triggers[0].Args[0] != queue || got[0].Attrs.Get(name) != name {
			t.Errorf("tables: %+v", got)
		}
		n.must(londiste.LocalAddSeq(queue, schema+"."+n.text("select relname from pg_class where relkind = 'S' and relnamespace = $1::text::regnamespace", sql.Ident(schema))))
		n.is("1", "select londiste.drop_table_fkey(from_table, fkey_name)::text from londiste.find_table_fkeys($1)", fq)
		n.is("1", "select count(*)::text from londiste.get_valid_pending_fkeys($1)", queue)
		for range 3 {
			if next := n.text("select londiste.restore_table_fkey(from_table, fkey_name, true) from londiste.pending_fkeys"); next != "" {
				n.run(next)
			}
		}
		n.is("1 0", "select (select count(*) from londiste.find_table_fkeys($1)) || ' ' || (select count(*) from londiste.pending_fkeys)", fq)
		n.must(londiste.LocalRemoveTable(queue, fq))
		n.is("0 0", `select (select count(*) from pg_trigger where tgrelid = $1::text::regclass and not tgisinternal) || ' ' || (select count(*) from londiste.seq_info)`, table)

		n.must(londiste.GlobalAddTable("leaf", fq), add("leaf", fq), londiste.SetTableState("leaf", fq, "1:1:", "in-copy"), londiste.LocalRemoveTable("leaf", fq))
	}
}
