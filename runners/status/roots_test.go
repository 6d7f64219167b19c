package status_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestTwoRoots tells a root that was lost and is back from a switchover on its way and
// from queues that only have the same name.
func TestTwoRoots(t *testing.T) {
	t.Parallel()
	dbs := map[string]*sandboxtest.DB{"hub": sandboxtest.Database(t), "edge": sandboxtest.Database(t)}
	for name, db := range dbs {
		db.Install(t, meta.Schema, pgq.Schema, pgqnode.Schema, londiste.Schema)
		db.Script(t, "select pgq.create_queue('q'); select pgq_node.register_location('q', '"+name+"', 'host="+name+"', false); select pgq_node.create_node('q', 'root', '"+name+"', 'q."+name+"', null, null, null)")
	}
	dsn := func(text string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return text, nil }
	}
	for _, one := range []struct{ what, on, do, undo, problem string }{
		{"two cascades", "hub", "", "", ""},
		{"no mark", "edge", "select pgq_node.register_location('q', 'hub', 'host=hub', false)", "", "nobody has recorded which took the place of the other"},
		{"a switchover, seen when the old root is closed", "hub", "update pgq.queue set queue_disable_insert = true", "update pgq.queue set queue_disable_insert = false", ""},
		{"a switchover, seen when the new root has subscribed the old one", "edge", "select pgq_node.register_subscriber('q', 'hub', 'q.hub', null)", "select pgq_node.unregister_subscriber('q', 'hub')", ""},
		{"a failover", "edge", "select pgq_node.register_subscriber('q', 'hub', 'hub.gravestone', null)", "", "node/q@hub and node/q@edge are both root: edge took the place of hub when that was lost, and what is written to hub is on no other node: skytools queue lost q@hub"},
		{"a failover in the middle of a switchover", "hub", "update pgq.queue set queue_disable_insert = true", "", "skytools queue lost q@hub"},
	} {
		if one.do != "" {
			dbs[one.on].Script(t, one.do)
		}
		for _, dead := range []bool{false, true} {
			r := status.Collect(t.Context(), []status.Source{{Name: "hub", DSN: dsn(dbs["hub"].DSN), Dead: dead}, {Name: "gone", DSN: dsn("host=/nowhere dbname=x user=x"), Dead: true}, {Name: "edge", DSN: dsn(dbs["edge"].DSN)}}, 30*time.Second)
			if len(r.Databases) != 2 || r.Databases[0].Dead != dead {
				t.Fatalf("%s: %+v", one.what, r.Databases)
			}
			rivals := r.Databases[0].Nodes[0].Rival + " " + r.Databases[1].Nodes[0].Rival
			found := strings.Join(r.Problems, "\n")
			if (one.problem == "") != (found == "") || !strings.Contains(found, one.problem) || (rivals == "edge hub") != (one.problem != "") {
				t.Errorf("%s: %s: %q", one.what, rivals, found)
			}
		}
		if one.undo != "" {
			dbs[one.on].Script(t, one.undo)
		}
	}
}
