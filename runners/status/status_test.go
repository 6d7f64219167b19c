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

// TestCollect reads a root with a consumer and a table, an empty database, and one
// that is not there.
func TestCollect(t *testing.T) {
	db, empty := sandboxtest.Database(t), sandboxtest.Database(t)
	db.Install(t, meta.Schema, pgq.Schema, pgqnode.Schema, londiste.Schema)
	db.Script(t, `select pgq.create_queue('q'), pgq.register_consumer('q', 'reader')`)
	db.Script(t, `create table t (id int primary key);
select pgq_node.register_location('q', 'hub', 'host=here', false);
select pgq_node.create_node('q', 'root', 'hub', 'q.hub', null, null, null);
select * from londiste.local_add_table('q', 'public.t');
insert into t select generate_series(1, 7);
insert into skytools.step_log (plan, step, address, title, by) values ('p', 's1', 'queue/q@hub', 'create', 'me')`)
	source := func(name, dsn string) status.Source {
		return status.Source{Name: name, DSN: func(context.Context) (string, error) { return dsn, nil }}
	}
	r := status.Collect(t.Context(), []status.Source{source("hub", db.DSN), source("new", empty.DSN), source("lost", "host=/nowhere dbname=x user=x")}, 30*time.Second)
	hub := r.Databases[0]
	if len(hub.Queues) != 1 || len(hub.Queues[0].Consumers) != 1 || hub.Queues[0].New < 6 {
		t.Errorf("queues: %+v", hub.Queues)
	}
	if len(hub.Nodes) != 1 || len(hub.Nodes[0].Tables) != 1 || hub.Nodes[0].Tables[0].State != "ok" {
		t.Errorf("nodes: %+v", hub.Nodes)
	}
	if len(hub.Steps) != 1 || hub.Steps[0].Address != "queue/q@hub" {
		t.Errorf("steps: %+v", hub.Steps)
	}
	if d := r.Databases[1]; d.Error != "" || len(d.Queues) != 0 {
		t.Errorf("a database without our schemas: %+v", d)
	}
	if len(r.Problems) != 1 || !strings.HasPrefix(r.Problems[0], "lost: ") {
		t.Errorf("problems: %q", r.Problems)
	}
}
