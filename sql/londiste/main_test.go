package londiste_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// A node is a database with the schemas and one connection.
type node struct {
	t    *testing.T
	db   *sandboxtest.DB
	conn *pg.Conn
}

func newNode(t *testing.T) *node {
	t.Helper()
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema, pgqnode.Schema, londiste.Schema)
	return &node{t, db, db.Conn(t)}
}

// root, branch and leaf make the database a node of queue.
func (n *node) root(queue string) {
	n.t.Helper()
	n.must(pgqnode.RegisterLocation(queue, "here", "d", false), pgqnode.CreateRoot(queue, "here", "w"))
}

func (n *node) branch(queue string) {
	n.t.Helper()
	n.must(pgqnode.RegisterLocation(queue, "here", "d", false), pgqnode.RegisterLocation(queue, "up", "d", false),
		pgqnode.CreateBranch(queue, "here", "w", "up", 1))
}

func (n *node) leaf(queue, combined string) {
	n.t.Helper()
	n.must(pgqnode.RegisterLocation(queue, "here", "d", false), pgqnode.RegisterLocation(queue, "up", "d", false),
		pgqnode.CreateLeaf(queue, "here", "w", "up", 1, combined))
}

func (n *node) must(stmts ...sql.Stmt) {
	n.t.Helper()
	for _, s := range stmts {
		if got := n.code(s); got >= "300" {
			n.t.Fatalf("%s: %s", s.Pasteable(), got)
		}
	}
}

// code is what a command answers, or "error " and the SQLSTATE. From 400 on it is
// rolled back, as clients do.
func (n *node) code(s sql.Stmt) string {
	n.t.Helper()
	code, _ := n.reply(s)
	return code
}

func (n *node) reply(s sql.Stmt) (code, note string) {
	n.t.Helper()
	err := n.conn.Write(n.t.Context(), func(tx *pg.Tx) error {
		text := "select x.ret_code || ' ' || coalesce(x.ret_note, '') " + strings.TrimPrefix(s.Text, "select * ") + " x"
		got, err := pg.One[string](n.t.Context(), tx, text, s.Args...)
		if err != nil {
			return err
		}
		code, note, _ = strings.Cut(got, " ")
		if code >= "400" {
			return fmt.Errorf("code %s: %s", code, note)
		}
		return nil
	})
	if err != nil && code == "" {
		return "error " + pg.Code(err), err.Error()
	}
	return code, note
}

func (n *node) codes(steps ...step) {
	n.t.Helper()
	for _, s := range steps {
		if code, note := n.reply(s.stmt); code != s.want {
			n.t.Errorf("%s: %s %s, want %s", s.stmt.Pasteable(), code, note, s.want)
		}
	}
}

type step struct {
	want string
	stmt sql.Stmt
}

func (n *node) run(text string) {
	n.t.Helper()
	if err := n.conn.Script(n.t.Context(), text); err != nil {
		n.t.Fatalf("%s: %v", text, err)
	}
}

func (n *node) text(query string, args ...any) string {
	n.t.Helper()
	got, err := pg.One[*string](n.t.Context(), n.conn, query, args...)
	if err != nil {
		n.t.Fatalf("%s: %v", query, err)
	}
	if got == nil {
		return "NULL"
	}
	return *got
}

func (n *node) is(want, query string, args ...any) {
	n.t.Helper()
	if got := n.text(query, args...); got != want {
		n.t.Errorf("%s\nis   %s\nwant %s", query, got, want)
	}
}

// rows reads a catalog as a plan does: search_path is empty.
func rows[T any](n *node, q sql.Catalog) (all []T) {
	n.t.Helper()
	err := n.conn.Read(n.t.Context(), func(tx *pg.Tx) error {
		if _, err := tx.Exec(n.t.Context(), "set local search_path = ''"); err != nil {
			return err
		}
		raw, err := tx.Catalog(n.t.Context(), q)
		for _, r := range raw {
			var v T
			if err := json.Unmarshal(r, &v); err != nil {
				return err
			}
			all = append(all, v)
		}
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return all
}

const ours = `p.pronamespace = 'londiste'::regnamespace
	and (p.proname not like '\_%' or p.proname = '_coordinate_copy') and p.proname <> 'truncate_trigger'`

func TestSignaturesAreTheOriginals(t *testing.T) {
	n := newNode(t)
	got := n.text(`
		select string_agg(p.oid::regprocedure::text || ' (' || pg_get_function_arguments(p.oid) || ') '
		           || pg_get_function_result(p.oid) || case when p.prosecdef then ' definer' else '' end, E'\n'
		           order by p.oid::regprocedure::text collate "C") || E'\n'
		  from pg_proc p where ` + ours)
	want, err := os.ReadFile("testdata/signatures.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("signatures (-original +ours):\n%s", diff)
	}
}

func TestVersionAndReinstall(t *testing.T) {
	n := newNode(t)
	n.is(londiste.Schema.Version, "select londiste.version()")
	state := `
		select jsonb_agg(x order by x::text)::text from (
		  select to_jsonb(p) - 'oid' as x from pg_proc p where pronamespace = 'londiste'::regnamespace
		  union all select to_jsonb(t) from pg_trigger t where tgrelid = 'londiste.table_info'::regclass
		  union all select to_jsonb(c) - '{relpages,reltuples,relallvisible,relfrozenxid,relminmxid}'::text[]
		    from pg_class c where relnamespace = 'londiste'::regnamespace) s`
	before := n.text(state)
	n.db.Install(t, londiste.Schema)
	if after := n.text(state); after != before {
		t.Errorf("a second installation changed something:\n%s", cmp.Diff(before, after))
	}
	n.is("0", "select londiste.upgrade_schema()::text")
}

func TestUpgradesAnOlderSchema(t *testing.T) {
	n := newNode(t)
	n.run(`
		alter table londiste.table_info drop column dest_table, drop constraint table_info_check;
		alter table londiste.applied_execute drop column execute_attrs, drop constraint applied_execute_pkey,
			add constraint applied_execute_pkey primary key (queue_name, execute_file);
		drop trigger table_info_trigger_sync on londiste.table_info;
		create trigger table_info_trigger_sync after delete on londiste.table_info
			for each row execute function londiste.table_info_trigger()`)
	n.is("5", "select londiste.upgrade_schema()::text")
	n.is("0", "select londiste.upgrade_schema()::text")
}

func TestInstallsWithoutSuperuser(t *testing.T) {
	n := newNode(t)
	db := sandboxtest.Database(t)
	db.Script(t, `
		do $$ begin create role plain_owner login createrole; exception when duplicate_object then null; end $$;
		alter database `+sql.Ident(db.Name)+` owner to plain_owner`)
	n.conn = db.Conn(t)
	n.run("set session authorization plain_owner;" + pgq.Schema.Script() + pgqnode.Schema.Script() + londiste.Schema.Script())
	n.root("q")
	n.run("create table public.t (id int primary key)")
	n.codes(step{"200", londiste.LocalAddTable("q", "t", londiste.AddTable{})})
	n.run("insert into public.t values (1); truncate public.t")
	n.is(`londiste.add-table {"op":"INSERT","table":["public","t"],"pkey":["id"]} R`,
		"select string_agg(ev_type, ' ' order by ev_id) from pgq.event_template")
}
