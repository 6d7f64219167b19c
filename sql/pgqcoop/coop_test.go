package pgqcoop_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

type step struct{ query, want string }

func installed(t *testing.T) *sandboxtest.DB {
	t.Helper()
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema, pgqcoop.Schema)
	return db
}

// run checks answers: the rows as PostgreSQL writes them, one a line.
func run(t *testing.T, conn *pg.Conn, steps []step) {
	t.Helper()
	for _, s := range steps {
		if s.query[0] == '!' {
			if err := conn.Script(t.Context(), s.query[1:]); err != nil {
				t.Fatalf("%s: %v", s.query, err)
			}
			continue
		}
		got, err := pg.One[string](t.Context(), conn, fmt.Sprintf("select coalesce(string_agg(q::text, E'\\n'), '') from (%s) q", s.query))
		if err != nil {
			t.Fatalf("%s: %v", s.query, err)
		}
		if diff := cmp.Diff(s.want, got); diff != "" {
			t.Fatalf("%s:\n%s", s.query, diff)
		}
	}
}

const busy = "!update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '0'"

// Source: contract/pgq.md 3.1, the upstream test pgq_coop_test.
func TestCooperation(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('q')", "(1)"},
		{busy, ""},
		{"select pgq_coop.register_subconsumer('q', 'main', 'a')", "(1)"},
		{"select pgq_coop.register_subconsumer('q', 'main', 'a')", "(0)"},
		{"select pgq_coop.register_subconsumer('q', 'main', 'b')", "(1)"},
		{"select count(distinct sub_id), count(*), count(sub_last_tick) from pgq.subscription", "(1,3,1)"},
		{"select consumer_name, last_tick, lag is null, pending_events from pgq.get_consumer_info('q')", "(main,1,f,0)\n(main.a,,t,)\n(main.b,,t,)"},
		{"select pgq_coop.unregister_subconsumer('q', 'main', 'b', 0)", "(1)"},
		{"select pgq_coop.unregister_subconsumer('q', 'main', 'b', 0)", "(0)"},
		{"select count(*) from pgq.consumer", "(2)"}, // D14: its name goes, too
		{"select pgq_coop.next_batch('q', 'main', 'a')", "()"},

		{"select pgq.insert_event('q', 't', 'one')", "(1)"},
		{"select pgq.ticker('q')", "(2)"},
		{"select pgq_coop.next_batch('q', 'main', 'a')", "(1)"},
		{"select pgq_coop.next_batch('q', 'main', 'a')", "(1)"},
		{"select consumer_name, prev_tick_id, tick_id from pgq.get_batch_info(1)", "(main.a,1,2)"},
		{"select ev_data from pgq.get_batch_events(1)", "(one)"},

		{"select pgq_coop.next_batch('q', 'main', 'c')", "()"}, // made on the way, but nothing to do
		{"select pgq.insert_event('q', 't', 'two')", "(2)"},
		{"select pgq.ticker('q')", "(3)"},
		{"select pgq_coop.next_batch('q', 'main', 'c')", "(2)"},
		{"select ev_data from pgq.get_batch_events(2)", "(two)"},
		{"select pgq_coop.finish_batch(2)", "(1)"},
		{"select pgq_coop.finish_batch(2)", "(0)"},
		{"select consumer_name, last_tick, current_batch, next_tick from pgq.get_consumer_info('q')", "(main,3,,)\n(main.a,1,1,2)\n(main.c,,,)"},

		// Nobody takes over from a member that was seen lately; then c does.
		{"select pgq_coop.next_batch('q', 'main', 'c', '1 hour')", "()"},
		{"!update pgq.subscription set sub_active = now() - interval '2 hours' where sub_batch = 1", ""},
		{"select pgq_coop.next_batch('q', 'main', 'c', '1 hour')", "(1)"},
		{"select ev_data from pgq.get_batch_events(1)", "(one)"},
		{"select consumer_name, current_batch from pgq.get_consumer_info('q')", "(main,)\n(main.c,1)"},

		// A retried event may come to any member.
		{"select pgq.event_retry(1, 1, 0)", "(1)"},
		{"select pgq_coop.finish_batch(1)", "(1)"},
		{"select pgq.maint_retry_events()", "(1)"},
		{"select pgq.ticker('q')", "(4)"},
		{"select pgq_coop.next_batch('q', 'main', 'd')", "(3)"},
		{"select ev_data, ev_retry from pgq.get_batch_events(3)", "(one,1)"},
		{"select pgq_coop.unregister_subconsumer('q', 'main', 'd', 1)", "(1)"},

		// The plain functions know members from main consumers.
		{"select pgq.unregister_consumer('q', 'main.c')", "(1)"},
		{"select pgq_coop.register_subconsumer('q', 'main', 'e')", "(1)"},
		{"select pgq.unregister_consumer('q', 'main')", "(2)"},
		{"select (select count(*) from pgq.consumer), (select count(*) from pgq.subscription)", "(0,0)"},
	})
}

func TestOpenBatchIsNotLostUnasked(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('q'), pgq_coop.register_subconsumer('q', 'main', 'a')", "(1,1)"},
		{"select pgq.ticker('q')", "(2)"},
		{"select pgq_coop.next_batch('q', 'main', 'a')", "(1)"},
	})
	if _, err := conn.Exec(t.Context(), "select pgq_coop.unregister_subconsumer('q', 'main', 'a', 0)"); err == nil {
		t.Error("a member with an open batch was removed")
	}
}

// D15: each finish_batch closes the batches of the other kind rightly.
func TestFinishOfTheOtherKind(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('q'), pgq.register_consumer('q', 'plain')", "(1,1)"},
		{busy, ""},
		{"select pgq_coop.register_subconsumer('q', 'main', 'a')", "(1)"},
		{"select pgq.ticker('q')", "(2)"},
		{"select pgq.next_batch('q', 'plain'), pgq_coop.next_batch('q', 'main', 'a')", "(1,2)"},
		{"select pgq_coop.finish_batch(1), pgq.finish_batch(2)", "(1,1)"},
		{"select consumer_name, last_tick, current_batch, next_tick from pgq.get_consumer_info('q')", "(main,2,,)\n(main.a,,,)\n(plain,2,,)"},
		{"select pgq.ticker('q')", "(3)"},
		{"select pgq.next_batch('q', 'plain'), pgq_coop.next_batch('q', 'main', 'a')", "(3,4)"},
	})
}

func TestMembersAreObserved(t *testing.T) {
	conn := installed(t).Conn(t)
	if err := conn.Write(t.Context(), func(tx *pg.Tx) error {
		_, err := tx.Run(t.Context(), pgq.CreateQueue("q"),
			pgq.RegisterSubconsumer("q", "main", "w2"), pgq.RegisterSubconsumer("q", "main", "w1"),
			pgq.RegisterSubconsumer("q", "main", "w1.x"), pgq.RegisterSubconsumer("q", "main", "gone"),
			pgq.UnregisterSubconsumer("q", "main", "gone"), pgq.RegisterConsumer("q", "main.other"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	run(t, conn, []step{{pgq.Consumers.Text, `("{""name"": ""main"", ""queue"": ""q"", ""members"": [""w1"", ""w1.x"", ""w2""]}")` + "\n" +
		`("{""name"": ""main.other"", ""queue"": ""q"", ""members"": []}")`}})
}
