package londiste_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql/londiste"
)

func TestDefinersPinTheirSearchPath(t *testing.T) {
	n := newNode(t)
	n.is("set_session_replication_role:true truncate_trigger:true", `
		select string_agg(proname || ':' || coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false), ' ' order by proname)
		  from pg_proc where pronamespace = 'londiste'::regnamespace and prosecdef`)
}

func TestSchemaKnowsItsFunctions(t *testing.T) {
	n := newNode(t)
	want := strings.Fields(n.text("select string_agg(distinct proname::text, ' ') from pg_proc where pronamespace = 'londiste'::regnamespace"))
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(londiste.Schema.Functions()))); diff != "" {
		t.Errorf("functions (-installed +in the files):\n%s", diff)
	}
}

func TestGrants(t *testing.T) {
	n := newNode(t)
	for fn, want := range map[string]string{
		"version()":                                  "admin reader writer public",
		"find_table_fkeys(text)":                     "admin reader writer public",
		"get_table_list(text)":                       "reader writer",
		"root_check_seqs(text)":                      "admin writer",
		"local_add_table(text,text)":                 "writer",
		"set_session_replication_role(text,boolean)": "writer",
		"truncate_trigger()":                         "writer",
	} {
		n.is(want, `
			select coalesce(string_agg(r, ' ' order by n), '')
			  from unnest(array['pgq_admin', 'londiste_reader', 'londiste_writer', 'public'], array['admin', 'reader', 'writer', 'public'])
			       with ordinality x (role, r, n)
			 where has_function_privilege(role, 'londiste.' || $1::text, 'execute')`, fn)
	}
}

func TestSessionReplicationRole(t *testing.T) {
	n := newNode(t)
	n.run("set role londiste_writer; begin; select londiste.set_session_replication_role('replica', true)")
	n.is("replica", "show session_replication_role")
	n.run("commit")
	n.is("origin", "show session_replication_role")
	n.run("select londiste.set_session_replication_role('local', false)")
	n.is("local", "show session_replication_role")
	if _, err := n.conn.Exec(t.Context(), "select londiste.set_session_replication_role('master', false)"); err == nil {
		t.Error("an unknown role was taken")
	}
}

// A role that may write the table, and nothing of the queue, can empty it.
func TestTruncateNeedsNoRightToTheQueue(t *testing.T) {
	n := newNode(t)
	n.root("q")
	n.run(`create table t (id int primary key);
		do $$ begin create role plain_app; exception when duplicate_object then null; end $$;
		grant insert, truncate on t to plain_app`)
	n.must(add("q", "t"))
	n.run("set role plain_app; insert into t values (1); truncate t; reset role")
	n.is("2", "select count(*)::text from pgq.event_template where ev_extra1 = 'public.t'")
	n.run("revoke all on t from plain_app")
}
