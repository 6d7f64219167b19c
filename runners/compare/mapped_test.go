package compare_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/compare"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// Rows with other columns are put right, also one whose next change cannot be replayed
// because it is missing.
func TestRepairMapped(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	leaf := root.add(root, "leaf", pgqnode.Leaf)
	root.run("create table t (id int primary key, mail text, secret text); insert into t select n, 'M' || n, 's' || n from generate_series(1, 50) n")
	leaf.run("create table t (size int not null, nr int primary key, email text)")
	root.addTable("public.t", londiste.AddTable{})
	root.ticking(50 * time.Millisecond)
	stop := leaf.work()
	leaf.passed(root)
	attrs := londiste.Dict{}
	attrs.Set(londiste.AttrColumns, "id=nr&mail=email&secret")
	attrs.Set(londiste.AttrTransform, londiste.DictOf(map[string]string{"email": "lower(mail)", "size": "length(secret) * 10"}).String())
	leaf.addTable("public.t", londiste.AddTable{Attrs: attrs})
	leaf.inSync()
	stop()
	leaf.runQuiet("delete from t where nr in (3, 4, 5); update t set email = 'wrong' where nr = 6; insert into t values (1, 77, 'x')")
	root.run("update t set mail = 'NEW' where id = 4; delete from t where id = 5")
	c := config(root, leaf, "public.t")
	c.Rounds, c.Patience = 1, time.Second
	r := compared(t, c)
	if diff := cmp.Diff([]string{"changed 6 email: m6 / wrong", "extra 77", "missing 3", "missing 4", "missing 5"}, lines(r)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if done, err := compare.Repair(t.Context(), c, keysOf(r), allKinds...); err != nil || len(done.Statements) != 5 {
		t.Fatalf("%v, %q", err, texts(done.Statements))
	}
	if got, want := leaf.text("select string_agg(r::text, ' ' order by nr) from t r where nr between 3 and 6"), "(20,3,m3) (20,4,new) (20,5,m5) (20,6,m6)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	leaf.work()
	c.Rounds, c.Patience = 8, time.Minute
	if r = compared(t, c); !r.Equal() {
		t.Errorf("%q", lines(r))
	}
}
