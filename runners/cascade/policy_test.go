package cascade_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// A policyCase is what happens on the root in one batch to a table that lacks row 3
// here and has rows 7 to 9, which the root has not.
type policyCase struct {
	name, on, do string
	policy       replay.Policy
	where        string
	want         string // rows here
	missing      int64
	conflicts    int64
	fails        string
	warns        string
}

// TestPolicies: each case both as one batch, which is folded, and with a batch for
// each statement. Where the order of events says the same, both end alike.
func TestPolicies(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	ignore, warn := replay.Policy{Missing: "ignore"}, replay.Policy{Missing: "warn"}
	keep, overwrite := replay.Policy{Conflict: "keep"}, replay.Policy{Conflict: "overwrite"}
	before := "(1,a) (2,a) (7,here) (8,here) (9,here)"
	cases := []policyCase{
		{name: "update_error", do: "update t set v = 'b'", fails: "key (id=3): there is no such row here", want: before},
		{name: "delete_error", do: "delete from t where id in (1, 3)", fails: "key (id=3): there is no such row here", want: before},
		{name: "insert_error", do: "insert into t values (6, 'b'); insert into t values (7, 'b')", fails: "duplicate key", want: before},
		{name: "update_ignore", policy: ignore, do: "update t set v = 'b'", want: "(1,b) (2,b) (7,here) (8,here) (9,here)", missing: 1},
		{name: "delete_ignore", policy: ignore, do: "delete from t where id > 1", want: "(1,a) (7,here) (8,here) (9,here)", missing: 1},
		{name: "update_warn", policy: warn, do: "update t set v = 'b'; delete from t where id < 3", want: "(7,here) (8,here) (9,here)", missing: 1, warns: "rows=1 first=id=3"},
		{name: "delete_warn", policy: warn, do: "delete from t", want: "(7,here) (8,here) (9,here)", missing: 1, warns: "rows=1 first=id=3"},
		{name: "keep", policy: keep, do: "insert into t values (6, 'b'), (7, 'b'); insert into t values (8, 'b')", want: "(1,a) (2,a) (6,b) (7,here) (8,here) (9,here)", conflicts: 2},
		{name: "keep_then_update", policy: keep, do: "insert into t values (7, 'b'), (8, 'b'); update t set v = 'c' where id = 7", want: "(1,a) (2,a) (7,c) (8,here) (9,here)", conflicts: 2},
		{name: "keep_then_delete", policy: keep, do: "insert into t values (7, 'b'), (6, 'b'); delete from t where id = 7", want: "(1,a) (2,a) (6,b) (8,here) (9,here)", conflicts: -1},
		{name: "overwrite", policy: overwrite, do: "insert into t values (6, 'b'), (7, 'b'); insert into t values (8, 'b')", want: "(1,a) (2,a) (6,b) (7,b) (8,b) (9,here)", conflicts: 2},
		{name: "overwrite_one", policy: overwrite, do: "insert into t values (7, 'b')", want: "(1,a) (2,a) (7,b) (8,here) (9,here)", conflicts: 1},
		{name: "overwrite_then", policy: overwrite, do: "insert into t values (7, 'b'), (8, 'b'); update t set v = 'c' where id = 7; delete from t where id = 8", want: "(1,a) (2,a) (7,c) (9,here)", conflicts: -1},
		{name: "overwrite_again", policy: overwrite, do: "insert into t values (7, 'b'), (6, 'x'); delete from t where id = 7; insert into t values (7, 'c')", want: "(1,a) (2,a) (6,x) (7,c) (8,here) (9,here)", conflicts: -1},
		{name: "both", policy: replay.Policy{Missing: "ignore", Conflict: "keep"}, do: "update t set v = 'b' where id > 1; insert into t values (7, 'c')", want: "(1,a) (2,b) (7,here) (8,here) (9,here)", missing: 1, conflicts: 1},
		{name: "filtered_overwrite", policy: overwrite, where: "v <> 'x'", do: "insert into t values (7, 'b'); insert into t values (8, 'x'), (6, 'x')", want: "(1,a) (2,a) (7,b) (9,here)", conflicts: 2},
		{name: "filtered_keep", policy: keep, where: "v <> 'x'", do: "insert into t values (7, 'b'); insert into t values (6, 'b'), (5, 'x')", want: "(1,a) (2,a) (6,b) (7,here) (8,here) (9,here)", conflicts: 1},
		{name: "another_unique_value", policy: overwrite, on: "create unique index on t (v) where v = 'b'", do: "insert into t values (7, 'b'); update t set v = 'c' where id = 7; insert into t values (8, 'b'); update t set v = 'd' where id = 8; update t set v = 'b' where id = 7",
			want: "(1,a) (2,a) (7,b) (8,d) (9,here)", conflicts: -1},
	}
	for _, single := range []bool{false, true} {
		for _, c := range cases {
			name := fmt.Sprintf("%s_%v", c.name, single)
			text := func(s string) string {
				return strings.NewReplacer(" t ", " "+name+" ", "from t", "from "+name).Replace(s + " ")
			}
			for _, n := range []*node{root, leaf} {
				n.run(text("create table t (id int primary key, v text)"))
			}
			root.run(text("insert into t values (1, 'a'), (2, 'a'), (3, 'a')"))
			root.addTable("public."+name, londiste.AddTable{})
			root.tick()
			var log bytes.Buffer
			config := leaf.config()
			config.Stats = &replay.Stats{}
			config.Log = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})
			w := cascade.New(config)
			drain(t, w)
			attrs := londiste.Dict{}
			for key, value := range map[string]string{londiste.AttrOnMissing: c.policy.Missing, londiste.AttrOnConflict: c.policy.Conflict, londiste.AttrWhere: c.where} {
				if value != "" {
					attrs.Set(key, value)
				}
			}
			leaf.addTable("public."+name, londiste.AddTable{Args: []string{"expect_sync"}, Attrs: attrs})
			leaf.run(text("set session_replication_role = replica; insert into t values (1, 'a'), (2, 'a'), (7, 'here'), (8, 'here'), (9, 'here'); "+c.on) + "; reset session_replication_role")
			var err error
			for _, statement := range strings.Split(text(c.do), "; ") {
				root.run(statement)
				if single && err == nil {
					root.tick()
					_, err = w.RunOnce(t.Context())
				}
			}
			root.tick()
			for range 5 {
				if err == nil {
					_, err = w.RunOnce(t.Context())
				}
			}
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("%s: error %v, want %q", name, err, c.fails)
			}
			got := leaf.text(text("select coalesce(string_agg(r::text, ' ' order by id), '') from t r"))
			if diff := cmp.Diff(c.want, got); diff != "" && !(single && c.fails != "") {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			s := config.Stats
			if n := s.Missing.Load(); n != c.missing && !single {
				t.Errorf("%s: %d rows were missing, want %d", name, n, c.missing)
			}
			if n := s.Conflicts.Load(); n != c.conflicts && c.conflicts >= 0 {
				t.Errorf("%s: %d rows were in the way, want %d", name, n, c.conflicts)
			}
			if s.Fallbacks.Load() > 0 && c.fails == "" && c.on == "" {
				t.Errorf("%s: the order of events was needed", name)
			}
			if warned := strings.Count(log.String(), "are not here"); c.warns != "" && (!strings.Contains(log.String(), c.warns) || warned != 1 && !single) || c.warns == "" && warned > 0 {
				t.Errorf("%s: logged %q", name, log.String())
			}
			w.Close()
			// What failed is out of the way of the next case.
			leaf.must(londiste.LocalRemoveTable(queue, "public."+name))
			again := cascade.New(leaf.config())
			drain(t, again)
			again.Close()
		}
	}
}

// TestTruncatePolicy empties a table with what refers to it, or not at all, when that
// is declared.
func TestTruncatePolicy(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	for _, n := range []*node{root, leaf} {
		n.run("create table a (id int primary key); create table b (id int primary key); create table c (id int primary key)")
	}
	leaf.run("create table refers (id int references a); create table other (id int references c)")
	names := map[string]string{"public.a": "cascade", "public.b": "no", "public.c": ""}
	for name := range names {
		root.addTable(name, londiste.AddTable{})
	}
	root.tick()
	w := cascade.New(leaf.config())
	defer w.Close()
	drain(t, w)
	for name, truncate := range names {
		attrs := londiste.Dict{}
		if truncate != "" {
			attrs.Set(londiste.AttrTruncate, truncate)
		}
		leaf.addTable(name, londiste.AddTable{Args: []string{"expect_sync"}, Attrs: attrs})
	}
	root.run("insert into a values (1); insert into b values (1)")
	root.tick()
	drain(t, w)
	leaf.run("insert into refers values (1)")
	root.run("truncate a; truncate b")
	root.tick()
	drain(t, w)
	if got := leaf.text("select (select count(*) from a)::text || (select count(*) from refers) || (select count(*) from b)"); got != "001" {
		t.Errorf("rows of a, refers and b: %s, want 001", got)
	}
	root.run("truncate c")
	root.tick()
	if _, err := w.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "declare truncate: cascade") {
		t.Errorf("TRUNCATE of a table that another refers to: %v", err)
	}
}
