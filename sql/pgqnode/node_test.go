package pgqnode_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// A cascade is a database with the schemas and one connection.
type cascade struct {
	t    *testing.T
	db   *sandboxtest.DB
	conn *pg.Conn
}

func newCascade(t *testing.T) *cascade {
	t.Helper()
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema, pgqnode.Schema)
	return &cascade{t, db, db.Conn(t)}
}

// codes runs each statement in a transaction of its own, which a code from 400 on
// rolls back as clients do, and compares the codes. An error reads "SQLSTATE".
func (c *cascade) codes(steps ...step) {
	c.t.Helper()
	for _, s := range steps {
		var got string
		err := c.conn.Write(c.t.Context(), func(tx *pg.Tx) (err error) {
			got, err = pg.One[string](c.t.Context(), tx, "select x.ret_code::text "+strings.TrimPrefix(s.stmt.Text, "select * ")+" x", s.stmt.Args...)
			if err == nil && got >= "400" {
				return errRollback
			}
			return err
		})
		if err != nil && err != errRollback {
			got = pg.Code(err)
		}
		if got != s.want {
			c.t.Errorf("%s: %s %v, want %s", s.stmt.Pasteable(), got, err, s.want)
		}
	}
}

type step struct {
	want string
	stmt sql.Stmt
}

type rollback struct{}

func (rollback) Error() string { return "rolled back" }

var errRollback error = rollback{}

func query[T any](c *cascade, text string, args ...any) T {
	c.t.Helper()
	return sandboxtest.One[T](c.t, c.db, text, args...)
}

func rows[T any](c *cascade, q sql.Catalog) (all []T) {
	c.t.Helper()
	err := c.conn.Read(c.t.Context(), func(tx *pg.Tx) error {
		raw, err := tx.Catalog(c.t.Context(), q)
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
		c.t.Fatal(err)
	}
	return all
}

func TestSignaturesAreTheOriginals(t *testing.T) {
	c := newCascade(t)
	got := query[string](c, `
		select string_agg(p.oid::regprocedure::text || ' (' || pg_get_function_arguments(p.oid) || ') '
		           || pg_get_function_result(p.oid) || case when p.prosecdef then ' definer' else '' end, E'\n'
		           order by p.oid::regprocedure::text collate "C") || E'\n'
		  from pg_proc p
		 where p.pronamespace = 'pgq_node'::regnamespace and p.proname not like '\_%'`)
	want, err := os.ReadFile("testdata/signatures.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("signatures (-original +ours):\n%s", diff)
	}
}

func TestDefinersPinTheirSearchPath(t *testing.T) {
	c := newCascade(t)
	if loose := query[string](c, `
		select coalesce(string_agg(p.oid::regprocedure::text, ', '), '')
		  from pg_proc p
		 where p.pronamespace = 'pgq_node'::regnamespace and p.prosecdef
		   and not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false)`); loose != "" {
		t.Errorf("no pinned search_path: %s", loose)
	}
}

func TestVersionAndReinstall(t *testing.T) {
	c := newCascade(t)
	if got := query[string](c, "select pgq_node.version()"); got != pgqnode.Schema.Version {
		t.Errorf("version() is %s, the schema says %s", got, pgqnode.Schema.Version)
	}
	state := `
		select jsonb_agg(x order by x::text)::text from (
		  select to_jsonb(p) - 'oid' as x from pg_proc p where pronamespace = 'pgq_node'::regnamespace
		  union all
		  select to_jsonb(c) - '{relpages,reltuples,relallvisible,relfrozenxid,relminmxid}'::text[]
		    from pg_class c where relnamespace = 'pgq_node'::regnamespace) s`
	before := query[string](c, state)
	c.db.Install(t, pgqnode.Schema)
	if after := query[string](c, state); after != before {
		t.Errorf("a second installation changed something:\n%s", cmp.Diff(before, after))
	}
	if n := query[int32](c, "select pgq_node.upgrade_schema()"); n != 0 {
		t.Errorf("upgrade_schema() changed %d things of a fresh schema", n)
	}
}

func TestInstallsWithoutSuperuser(t *testing.T) {
	db := sandboxtest.Database(t)
	for _, s := range []sql.Schema{pgq.Schema, pgqnode.Schema} {
		for _, r := range s.Roles {
			db.Script(t, r.Create().Text)
		}
	}
	db.Script(t, `
		do $$ begin create role plain_owner login createrole; exception when duplicate_object then null; end $$;
		alter database `+sql.Ident(db.Name)+` owner to plain_owner`)
	conn := db.Conn(t)
	script := "set session authorization plain_owner;" + pgq.Schema.Script() + pgqnode.Schema.Script() + `
		select pgq_node.register_location('q', 'n1', 'dbname=n1', false);
		select pgq_node.register_location('q', 'n2', 'dbname=n2', false);
		select pgq_node.create_node('q', 'root', 'n1', 'w', null, null, null);`
	if err := conn.Script(t.Context(), script); err != nil {
		t.Fatal(err)
	}
	// The last tick of a demoted root does not need session_replication_role.
	for step := 1; step <= 3; step++ {
		s := pgqnode.DemoteRoot("q", step, "n2")
		code, err := pg.One[int32](t.Context(), conn, "select ret_code from pgq_node.demote_root($1, $2, $3)", s.Args...)
		if err != nil || code != 200 {
			t.Fatalf("demote_root step %d: %d %v", step, code, err)
		}
	}
	if role := sandboxtest.One[string](t, db, "select node_type from pgq_node.node_info"); role != "branch" {
		t.Errorf("the demoted root is a %s", role)
	}
}

func TestRootBranchAndLeaf(t *testing.T) {
	c := newCascade(t)
	get := func(fn string, args ...any) sql.Stmt {
		marks := []string{"$1", "$2"}[:len(args)]
		return sql.Exec("select * from pgq_node."+fn+"("+strings.Join(marks, ", ")+")", args...)
	}
	c.codes(
		step{"23503", pgqnode.CreateRoot("aq", "n1", "w1")}, // no location
		step{"200", pgqnode.RegisterLocation("aq", "n1", "dbname=n1", false)},
		step{"200", pgqnode.RegisterLocation("aq", "n2", "dbname=n2", false)},
		step{"200", pgqnode.RegisterLocation("aq", "n3", "dbname=n3", false)},
		step{"200", pgqnode.RegisterLocation("aq", "n4", "", false)}, // unknown, stored nowhere
		step{"401", sql.Exec("select * from pgq_node.create_node('aq', 'root', 'n1', 'w1', 'x', null, null)")},
		step{"401", sql.Exec("select * from pgq_node.create_node('aq', 'branch', 'n1', 'w1', null, null, null)")},
		step{"401", sql.Exec("select * from pgq_node.create_node('aq', 'branch', 'n1', 'w1', 'n2', 1, 'aq')")},
		step{"401", sql.Exec("select * from pgq_node.create_node('aq', 'leaf', 'n1', 'w1', 'n2', 1, 'nope')")},
		step{"401", sql.Exec("select * from pgq_node.create_node('aq', 'twig', 'n1', 'w1', 'n2', 1, null)")},
		step{"200", pgqnode.CreateRoot("aq", "n1", "w1")},
		step{"401", pgqnode.CreateRoot("aq", "n1", "w1")},
		step{"100", get("get_node_info", "aq")},
		step{"404", get("get_node_info", "zz")},
		step{"200", pgqnode.RegisterSubscriber("aq", "n2", "w2", 0)},
		step{"23505", pgqnode.RegisterSubscriber("aq", "n2", "w2", 0)},
		step{"404", pgqnode.RegisterSubscriber("zz", "n2", "w2", 0)},
		step{"23503", pgqnode.RegisterSubscriber("aq", "n9", "w9", 0)},
		step{"P0001", pgqnode.RegisterSubscriber("aq", "n3", "w3", 77)}, // no such tick
		step{"200", pgqnode.RegisterSubscriber("aq", "n3", "w3", 0)},
		step{"200", pgqnode.UnregisterSubscriber("aq", "n3")},
		step{"304", pgqnode.UnregisterSubscriber("aq", "n3")},
		step{"100", pgqnode.SetSubscriberWatermark("aq", "n2", 1)},
		step{"404", pgqnode.SetSubscriberWatermark("aq", "n9", 1)},
		step{"P0001", pgqnode.SetSubscriberWatermark("aq", "n2", 2)},
		step{"405", pgqnode.SetSubscriberWatermark("aq", "n2", 0)},
		step{"200", pgqnode.SetGlobalWatermark("aq", 0)},
		step{"404", pgqnode.SetGlobalWatermark("zz", 0)},
		step{"200", pgqnode.RegisterConsumer("aq", "c1", "n1", 1)},
		step{"201", pgqnode.RegisterConsumer("aq", "c1", "n2", 5)},
		step{"404", pgqnode.RegisterConsumer("zz", "c1", "n1", 1)},
		step{"23503", pgqnode.RegisterConsumer("aq", "c2", "n9", 1)},
		step{"200", pgqnode.SetConsumerUptodate("aq", "c1", true)},
		step{"200", pgqnode.SetConsumerPaused("aq", "c1", true)},
		step{"201", pgqnode.SetConsumerPaused("aq", "c1", true)},
		step{"404", pgqnode.SetConsumerPaused("aq", "c9", true)},
		step{"404", pgqnode.SetConsumerUptodate("aq", "c9", true)},
		step{"100", pgqnode.SetConsumerError("aq", "c1", "bad")},
		step{"100", pgqnode.SetConsumerError("aq", "c1", "")},
		step{"101", pgqnode.SetConsumerError("aq", "c9", "bad")},
		step{"100", pgqnode.SetConsumerCompleted("aq", "c1", 7)},
		step{"404", pgqnode.SetConsumerCompleted("aq", "c9", 7)},
		step{"100", get("get_consumer_state", "aq", "c1")},
		step{"404", get("get_consumer_state", "aq", "c9")},
		step{"404", get("get_consumer_state", "zz", "c1")},
		step{"100", get("get_worker_state", "aq")},
		step{"404", get("get_worker_state", "zz")},
		step{"200", pgqnode.ChangeConsumerProvider("aq", "c1", "n2")},
		step{"404", pgqnode.ChangeConsumerProvider("aq", "c1", "n9")},
		step{"404", pgqnode.ChangeConsumerProvider("aq", "c9", "n2")},
		step{"200", pgqnode.UnregisterConsumer("aq", "c1")},
		step{"200", pgqnode.UnregisterConsumer("aq", "c1")},
		step{"404", pgqnode.UnregisterConsumer("zz", "c1")},
		step{"200", pgqnode.SetNodeAttrs("aq", "sync_watermark=n2%2Cn3&flag")},
		step{"404", pgqnode.SetNodeAttrs("zz", "a=b")},
		step{"403", pgqnode.UnregisterLocation("aq", "n1")},
		step{"301", pgqnode.UnregisterLocation("aq", "n9")},
		step{"200", pgqnode.UnregisterLocation("aq", "n3")},
		step{"301", pgqnode.PromoteBranch("aq")},
		step{"404", pgqnode.PromoteBranch("zz")},
		step{"404", pgqnode.DemoteRoot("zz", 1, "n2")},
		step{"P0001", pgqnode.DemoteRoot("aq", 4, "n2")},
		step{"P0001", pgqnode.DemoteRoot("aq", 2, "n2")},
		step{"P0001", pgqnode.DemoteRoot("aq", 3, "n2")},
		step{"200", pgqnode.DemoteRoot("aq", 1, "n2")},
	)
	if _, err := c.conn.Exec(t.Context(), "select pgq.insert_event('aq', 't', 'd')"); pg.Code(err) == "" {
		t.Error("the closed queue took an event")
	}
	if events := query[string](c, `select string_agg(concat_ws('|', ev_type, ev_data, ev_extra1, ev_extra2), ' ' order by ev_id) from pgq.event_template`); events !=
		"pgq.global-watermark|1|aq pgq.unregister-location|n9|aq pgq.unregister-location|n3|aq" {
		t.Errorf("events of the root: %s", events)
	}
	for want := int64(2); want <= 3; want++ { // the second step may be repeated
		if got := query[int64](c, "select last_tick from pgq_node.demote_root('aq', 2, 'n2')"); got != want {
			t.Errorf("last tick %d, want %d", got, want)
		}
	}
	if got := query[int64](c, "select last_tick from pgq_node.demote_root('aq', 3, 'n2')"); got != 3 {
		t.Errorf("last tick of step 3: %d", got)
	}
	c.codes(
		step{"301", pgqnode.DemoteRoot("aq", 1, "n2")},
		step{"500", pgqnode.SetGlobalWatermark("aq", 0)},
		step{"200", pgqnode.SetGlobalWatermark("aq", 77)}, // not here yet: skipped
		step{"405", pgqnode.DropNode("aq", "n2")},
		step{"200", pgqnode.PromoteBranch("aq")},

		step{"200", pgqnode.RegisterLocation("part", "p1", "dbname=p1", false)},
		step{"200", pgqnode.RegisterLocation("part", "p2", "dbname=p2", true)},
		step{"200", pgqnode.CreateLeaf("part", "p2", "pw", "p1", 5, "aq")},
		step{"201", pgqnode.SetPartitionWatermark("aq", "part", 6)}, // the combined node is no branch
		step{"100", pgqnode.SetGlobalWatermark("part", 6)},
		step{"401", pgqnode.RegisterSubscriber("part", "p1", "x", 1)},
		step{"405", pgqnode.DropNode("part", "p1")},
	)
	if got := query[string](c, "select target_for::text from pgq_node.get_node_info('aq')"); got != "{part}" {
		t.Errorf("target_for of the combined queue: %s", got)
	}

	want := []pgqnode.Node{{
		Queue: "aq", Name: "n1", Type: "root", Provider: "n1", Worker: "w1", RotationPeriod: new(7200.0),
		Attrs:       map[string]*string{"sync_watermark": new("n2,n3"), "flag": nil},
		Locations:   map[string]pgqnode.Location{"n1": {"dbname=n1", false}, "n2": {"dbname=n2", false}},
		Subscribers: map[string]pgqnode.Subscriber{"n2": {"w2", ".n2.watermark"}},
		Consumers:   map[string]pgqnode.Consumer{},
	}, {
		Queue: "part", Name: "p2", Type: "leaf", Provider: "p1", Worker: "pw", Combined: "aq",
		Attrs:       map[string]*string{},
		Locations:   map[string]pgqnode.Location{"p1": {"dbname=p1", false}, "p2": {"dbname=p2", true}},
		Subscribers: map[string]pgqnode.Subscriber{},
		Consumers:   map[string]pgqnode.Consumer{},
	}}
	if diff := cmp.Diff(want, rows[pgqnode.Node](c, pgqnode.Nodes)); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	facts := rows[pgqnode.Facts](c, pgqnode.NodeFacts)
	if len(facts) != 2 || *facts[0].CompletedTick != 3 || *facts[0].LocalWatermark != 1 || *facts[0].Subscribers["n2"].Tick != 1 ||
		facts[0].Subscribers["n2"].Lag == nil || *facts[1].LocalWatermark != 5 || facts[1].QueueTop != nil {
		b, _ := json.MarshalIndent(facts, "", "  ")
		t.Errorf("facts: %s", b)
	}

	c.codes(
		step{"200", pgqnode.DropNode("part", "p2")},
		step{"200", pgqnode.DropNode("part", "p2")},
		step{"200", pgqnode.DropNode("aq", "n2")},
		step{"200", pgqnode.DropNode("aq", "n1")},
		step{"200", pgqnode.DropNode("never", "was")},
	)
	if n := query[int64](c, "select count(*) from pgq.queue, pgq_node.node_location"); n != 0 {
		t.Errorf("%d things are left of dropped nodes", n)
	}
}

func TestBranchOfACombinedQueue(t *testing.T) {
	c := newCascade(t)
	c.codes(
		step{"200", pgqnode.RegisterLocation("b", "b1", "d", false)},
		step{"200", pgqnode.RegisterLocation("b", "b2", "d", false)},
		step{"200", pgqnode.CreateBranch("b", "b2", "bw", "b1", 12)},
		step{"200", pgqnode.RegisterLocation("part", "p1", "d", false)},
		step{"200", pgqnode.RegisterLocation("part", "p2", "d", false)},
		step{"200", pgqnode.CreateLeaf("part", "p2", "pw", "p1", 5, "b")},
		step{"200", pgqnode.SetPartitionWatermark("b", "part", 6)},
		step{"201", pgqnode.SetPartitionWatermark("b", "other", 6)},
		step{"200", pgqnode.SetGlobalWatermark("b", 12)},
	)
	if got := query[string](c, "select string_agg(tick_id || ':' || tick_event_seq, ' ' order by tick_id) from pgq.tick"); got != "1:1 12:1" {
		t.Errorf("ticks of a new branch: %s", got)
	}
	if got := query[int64](c, "select completed_tick from pgq_node.get_worker_state('part')"); got != 6 {
		t.Errorf("the leaf's worker is at %d", got)
	}
	c.db.Script(t, "select pgq.ticker('b', 20, now(), 50)")
	c.codes(step{"200", pgqnode.PromoteBranch("b")})
	c.db.Script(t, "select pgq.insert_event('b', 't', 'd')")
	if id := query[int64](c, "select max(ev_id) from pgq.event_template"); id <= 50 {
		t.Errorf("a promoted branch gives event id %d, which its provider used", id)
	}
	if got := query[int64](c, "select nextval('pgq.event_1_tick_seq')"); got != 21 {
		t.Errorf("next tick of the promoted branch: %d", got)
	}
}

func TestDropNodeKeepsAQueueThatIsNoNode(t *testing.T) {
	c := newCascade(t)
	c.db.Script(t, "select pgq.create_queue('plain')")
	c.codes(step{"200", pgqnode.DropNode("plain", "x")})
	if n := query[int64](c, "select count(*) from pgq.queue"); n != 1 {
		t.Error("drop_node dropped a plain queue")
	}
}

// The last tick of a demoted root must see what every writer wrote.
func TestLastTickWaitsForWriters(t *testing.T) {
	c := newCascade(t)
	c.codes(
		step{"200", pgqnode.RegisterLocation("q", "n1", "d", false)},
		step{"200", pgqnode.RegisterLocation("q", "n2", "d", false)},
		step{"200", pgqnode.CreateRoot("q", "n1", "w")},
	)
	writer := c.db.Conn(t)
	if err := writer.Script(t.Context(), "begin; select pgq.insert_event('q', 't', 'late')"); err != nil {
		t.Fatal(err)
	}
	c.codes(step{"200", pgqnode.DemoteRoot("q", 1, "n2")})
	done := make(chan error, 1)
	go func() {
		done <- c.conn.Script(context.Background(), "select pgq_node.demote_root('q', 2, 'n2')")
	}()
	for query[int64](c, "select count(*) from pg_locks where not granted") == 0 {
		select {
		case err := <-done:
			t.Fatalf("the last tick did not wait: %v", err)
		default:
		}
	}
	if err := writer.Script(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := query[int64](c, `
		select count(*) from pgq.event_template
		 where txid_visible_in_snapshot(ev_txid, (select tick_snapshot from pgq.tick order by tick_id desc limit 1))`); n != 1 {
		t.Errorf("the last tick sees %d events of the late writer", n)
	}
}

func TestHostileNames(t *testing.T) {
	c := newCascade(t)
	for _, q := range []string{`we"ird; drop table x`, "with space.and dot", "Grüße", strings.Repeat("q", 63), `back\slash'quote`} {
		c.codes(
			step{"200", pgqnode.RegisterLocation(q, q+"1", "dbname='a b'", false)},
			step{"200", pgqnode.RegisterLocation(q, q+"2", "d", false)},
			step{"200", pgqnode.CreateRoot(q, q+"1", q)},
			step{"200", pgqnode.RegisterSubscriber(q, q+"2", q+"w", 0)},
			step{"200", pgqnode.DemoteRoot(q, 1, q+"2")},
			step{"200", pgqnode.DemoteRoot(q, 2, q+"2")},
			step{"200", pgqnode.DemoteRoot(q, 3, q+"2")},
			step{"200", pgqnode.PromoteBranch(q)},
		)
		if got := rows[pgqnode.Node](c, pgqnode.Nodes); len(got) != 1 || got[0].Queue != q || got[0].Subscribers[q+"2"].Worker != q+"w" {
			t.Errorf("nodes of %q: %+v", q, got)
		}
		c.codes(step{"200", pgqnode.DropNode(q, q+"1")})
	}
}

// What the roles may do. Source: contract/pgq.md section 8.
func TestGrants(t *testing.T) {
	c := newCascade(t)
	for fn, want := range map[string]string{
		"version()":          "admin reader writer public",
		"is_root_node(text)": "admin reader writer public",
		"create_node(text,text,text,text,text,bigint,text)": "admin",
		"demote_root(text,int,text)":                        "admin",
		"set_consumer_paused(text,text,boolean)":            "admin writer",
		"get_node_info(text)":                               "admin reader writer",
		"register_subscriber(text,text,text,bigint)":        "admin reader writer",
		"_last_tick(text,text,text,text)":                   "",
	} {
		if got := query[string](c, `
			select coalesce(string_agg(r, ' ' order by n), '')
			  from unnest(array['pgq_admin', 'pgq_reader', 'pgq_writer', 'public'], array['admin', 'reader', 'writer', 'public'])
			       with ordinality x (role, r, n)
			 where has_function_privilege(role, 'pgq_node.' || $1::text, 'execute')`, fn); got != want {
			t.Errorf("%s: %q may execute it, want %q", fn, got, want)
		}
	}
}
