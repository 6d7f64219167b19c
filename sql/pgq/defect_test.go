package pgq_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// Each test here fails on the original, whose defects contract/pgq.md section 12
// lists under these numbers.

// waitForLock waits until another session of the database waits for a lock.
func waitForLock(t *testing.T, db *sandboxtest.DB) {
	t.Helper()
	conn := db.Conn(t)
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		if one[bool](t, conn, "select exists (select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')") {
			return
		}
	}
	t.Fatal("nobody waits for a lock")
}

// background runs a query in a session of its own; the function returned waits
// for its answer.
func background(t *testing.T, db *sandboxtest.DB, query string) func() string {
	t.Helper()
	conn := db.Conn(t)
	got := make(chan string, 1)
	go func() { got <- answer(context.WithoutCancel(t.Context()), conn, query) }()
	return func() string {
		select {
		case s := <-got:
			return s
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: no answer", query)
			return ""
		}
	}
}

const rotateFreely = "!update pgq.queue set queue_rotation_period = '0', queue_ticker_max_lag = '0', queue_ticker_idle_period = '0'"

func TestD1EventOfOldSnapshotSurvivesRotation(t *testing.T) {
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			db := installed(t)
			conn, producer := db.Conn(t), db.Conn(t)
			run(t, conn, []step{
				{"select pgq.create_queue('q'), pgq.register_consumer('q', 'c')", "(1,1)"},
				{rotateFreely, ""},
				{"select pgq.ticker('q')", "(2)"}, // the tick of its own transaction is no reason to rotate
				{"select pgq.next_batch('q', 'c')", "(1)"},
				{"select pgq.finish_batch(1)", "(1)"},
			})
			run(t, producer, []step{
				{"!begin isolation level " + level, ""},
				{"select count(*) from pgq.queue", "(1)"}, // takes the snapshot, not yet a transaction id
			})
			run(t, conn, []step{
				{"select pgq.maint_rotate_tables_step1('q')", "(0)"},
				{"select pgq.maint_rotate_tables_step2()", "(0)"},
				{"select queue_cur_table from pgq.queue", "(1)"},
				{"select pgq.ticker('q')", "(3)"},
				{"select pgq.next_batch('q', 'c')", "(2)"},
				{"select pgq.finish_batch(2)", "(1)"},
			})
			run(t, producer, []step{{"select pgq.insert_event('q', 't', 'late')", "(1)"}})

			// The next rotation must wait for the producer, and then for the consumer.
			run(t, conn, []step{{"select pgq.maint_rotate_tables_step1('q')", "(0)"}, {"select queue_cur_table from pgq.queue", "(1)"}})
			run(t, producer, []step{{"!commit", ""}})
			run(t, conn, []step{
				{"select pgq.maint_rotate_tables_step1('q')", "(0)"},
				{"select queue_cur_table from pgq.queue", "(1)"},
				{"select pgq.ticker('q')", "(4)"},
				{"select pgq.next_batch('q', 'c')", "(3)"},
				{"select ev_data from pgq.get_batch_events(3)", "(late)"},
				{"select pgq.finish_batch(3)", "(1)"},
				{"select pgq.ticker('q')", "(5)"},
				{"select pgq.next_batch('q', 'c')", "(4)"},
				{"select ev_data from pgq.get_batch_events(4)", ""},
				{"select pgq.finish_batch(4)", "(1)"},
				{"select pgq.maint_rotate_tables_step1('q')", "(0)"},
				{"select queue_cur_table from pgq.queue", "(2)"},
			})
		})
	}
}

func TestD2TwoSessionsOfOneConsumerGetOneBatch(t *testing.T) {
	db := installed(t)
	conn, first := db.Conn(t), db.Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('q'), pgq.register_consumer('q', 'c')", "(1,1)"},
		{"select pgq.ticker('q')", "(2)"},
	})
	run(t, first, []step{{"!begin", ""}, {"select pgq.next_batch('q', 'c')", "(1)"}})
	second := background(t, db, "select pgq.next_batch('q', 'c')")
	waitForLock(t, db)
	run(t, first, []step{{"!commit", ""}})
	if got := second(); got != "(1)" {
		t.Errorf("the second session got batch %s", got)
	}
	run(t, first, []step{{"select pgq.finish_batch(1)", "(1)"}})
}

func TestD3TicksKeepTheirOrder(t *testing.T) {
	db := installed(t)
	conn, first := db.Conn(t), db.Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('q')", "(1)"},
		{"!update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_max_count = 1", ""},
		{"select pgq.insert_event('q', 't', i::text) from generate_series(1, 2) i", "(1)\n(2)"},
	})
	run(t, first, []step{{"!begin", ""}, {"select pgq.ticker('q')", "(2)"}})
	second := background(t, db, "select pgq.ticker('q')")
	waitForLock(t, db)
	run(t, conn, []step{{"select count(pgq.insert_event('q', 't', i::text)) from generate_series(1, 3) i", "(3)"}})
	run(t, first, []step{{"!commit", ""}})
	if got := second(); got != "(3)" {
		t.Errorf("the second ticker answered %s", got)
	}
	run(t, conn, []step{
		{`select bool_and(snap >= before) from (
			select txid_snapshot_xmax(tick_snapshot) as snap,
			       lag(txid_snapshot_xmax(tick_snapshot)) over (order by tick_id) as before from pgq.tick) t`, "(t)"},
		{`select count(*) from pgq.tick t, pgq.event_template e
		   where t.tick_id = 3 and txid_visible_in_snapshot(e.ev_txid, t.tick_snapshot)`, "(5)"},
	})
}

func TestD3TickersInParallel(t *testing.T) {
	db := installed(t)
	run(t, db.Conn(t), []step{
		{"select pgq.create_queue('a'), pgq.create_queue('b')", "(1,1)"},
		{"!update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '0', queue_ticker_max_count = 1", ""},
	})
	var all sync.WaitGroup
	for range 4 {
		conn := db.Conn(t)
		all.Go(func() {
			for range 40 {
				if got := answer(t.Context(), conn, "select pgq.insert_event('a', 't', 'd'), pgq.ticker() is null"); got[0] != '(' {
					t.Error(got)
				}
			}
		})
	}
	all.Wait()
	run(t, db.Conn(t), []step{
		{`select count(*) from (
			select tick_snapshot s, lag(tick_snapshot) over w b, tick_event_seq e, lag(tick_event_seq) over w be
			  from pgq.tick window w as (partition by tick_queue order by tick_id)) t
		   where txid_snapshot_xmax(s) < txid_snapshot_xmax(b) or txid_snapshot_xmin(s) < txid_snapshot_xmin(b) or e < be`, "(0)"},
	})
}

func TestTickerRefusesOldSnapshot(t *testing.T) {
	db := installed(t)
	conn, old := db.Conn(t), db.Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('q')", "(1)"},
		{"!update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '0'", ""},
	})
	run(t, old, []step{{"!begin isolation level repeatable read", ""}, {"select count(*) from pgq.tick", "(1)"}})
	run(t, conn, []step{{"select pgq.ticker('q')", "(2)"}})
	run(t, old, []step{
		{"select pgq.ticker('q')", "ERROR cannot tick: the snapshot of this transaction is too old"},
		{"!rollback", ""},
		{"!begin isolation level repeatable read", ""},
		{"select pgq.ticker('q')", "(3)"},
		{"!commit", ""},
	})
}

// D5: one broken queue does not stop the others.
func TestD5TickerIsolatesQueues(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('a'), pgq.create_queue('b'), pgq.create_queue('c')", "(1,1,1)"},
		{"!drop sequence pgq.event_2_id_seq cascade", ""},
		{"select pgq.ticker()", "(2)"},
		{"select tick_queue, count(*) from pgq.tick group by 1 order by 1", "(1,2)\n(2,1)\n(3,2)"},
	})
}

// D6: a queue that takes no events keeps its retries and nobody else's, a limit
// for producers does not stop them, and one call moves them all.
func TestD6RetriesAreIsolated(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('closed'), pgq.create_queue('broken'), pgq.create_queue('open')", "(1,1,1)"},
		{"select pgq.register_consumer(queue_name, 'c') from pgq.queue order by 1", "(1)\n(1)\n(1)"},
		{`select count(pgq.event_retry_raw(queue_name, 'c', now(), i, now(), 1, 't', 'd', null, null, null, null))
		    from pgq.queue, generate_series(1, 25) i`, "(75)"},
		{"!update pgq.queue set queue_disable_insert = true where queue_name = 'closed'", ""},
		{"!update pgq.queue set queue_per_tx_limit = 2 where queue_name = 'open'", ""},
		{"!drop table pgq.event_2_0", ""},
		{"select pgq.maint_retry_events()", "(25)"},
		{"select pgq.maint_retry_events()", "(0)"},
		{"select ev_queue, count(*) from pgq.retry_queue group by 1 order by 1", "(1,25)\n(2,25)"},
		{"select count(*), count(ev_owner) from pgq.event_3", "(25,25)"},
		{"select pgq.seq_getval('pgq.event_3_id_seq')", "(25)"}, // by which the ticker knows
		{"!update pgq.queue set queue_disable_insert = false where queue_name = 'closed'", ""},
		{"select pgq.maint_retry_events()", "(25)"},
	})
}

// D12: external ticks grow, and so does their event sequence.
func TestD12ExternalTicksGrow(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('q')", "(1)"},
		{"select pgq.ticker('q', 5, now(), 100)", "ERROR queue not found or ticker disabled: q"},
		{"!update pgq.queue set queue_external_ticker = true", ""},
		{"select pgq.ticker('q', 5, '2020-01-01', 100)", "(5)"},
		{"select pgq.ticker('q', 4, now(), 200)", "ERROR queue q: tick 4 is not newer than tick 5"},
		{"select pgq.ticker('q', 5, now(), 200)", "ERROR queue q: tick 5 is not newer than tick 5"},
		{"select pgq.ticker('q', 6, now(), 0)", "(6)"},
		{"select tick_id, tick_event_seq from pgq.tick order by 1", "(1,1)\n(5,100)\n(6,100)"},
		{"select pgq.seq_getval('pgq.event_1_id_seq'), pgq.seq_getval('pgq.event_1_tick_seq')", "(100,6)"},
		{"select pgq.ticker()", "(0)"},
	})
}

// A rotation needs two transactions, and a consumer that has not read the previous
// table holds the next one back.
func TestRotationWaitsForConsumers(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('q'), pgq.register_consumer('q', 'c')", "(1,1)"},
		{rotateFreely, ""},
		{"select pgq.insert_event('q', 't', 'd')", "(1)"},
		{"select pgq.maint_rotate_tables_step1('q')", "(0)"},
		{"select queue_cur_table from pgq.queue", "(0)"}, // tick 1 is not younger than the queue
		{"select pgq.ticker('q')", "(2)"},
		{"select pgq.next_batch('q', 'c')", "(1)"},
		{"select ev_data from pgq.get_batch_events(1)", "(d)"},
		{"select pgq.finish_batch(1)", "(1)"},
		{"select pgq.maint_rotate_tables_step1('q')", "(0)"},
		{"select queue_cur_table, queue_switch_step2 is null from pgq.queue", "(1,t)"},
		{"select pgq.insert_event('q', 't', 'e')", "(2)"},
		{"select pgq.maint_rotate_tables_step1('q')", "(0)"},
		{"select queue_cur_table from pgq.queue", "(1)"}, // not before step 2
		{"select pgq.maint_rotate_tables_step2()", "(0)"},
		{"select pgq.maint_rotate_tables_step1('q')", "(0)"},
		{"select queue_cur_table from pgq.queue", "(1)"}, // tick 2 is from before step 2
		{"select pgq.ticker('q')", "(3)"},
		{"select pgq.next_batch('q', 'c')", "(2)"},
		{"select ev_data from pgq.get_batch_events(2)", "(e)"},
		{"select pgq.finish_batch(2)", "(1)"},
		{"select pgq.maint_rotate_tables_step1('q')", "(0)"},
		{"select queue_cur_table, queue_switch_step2 is null from pgq.queue", "(2,t)"},
		{"select min(tick_id), max(tick_id) from pgq.tick", "(3,3)"},
	})
}

func TestTickWakesListeners(t *testing.T) {
	db := installed(t)
	conn := db.Conn(t)
	var woken []string
	listener, err := pg.Dial(t.Context(), db.DSN, pg.Options{Notify: func(channel, payload string) { woken = append(woken, channel+" "+payload) }})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := listener.Listen(t.Context(), "pgq_tick"); err != nil {
		t.Fatal(err)
	}
	run(t, conn, []step{
		{`select pgq.create_queue('a queue with a name that is longer than the 63 bytes of a channel, é "')`, "(1)"},
		{"select pgq.insert_event(queue_name, 't', 'd') from pgq.queue", "(1)"},
		{"select pgq.ticker()", "(1)"},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for len(woken) < 2 {
		if err := listener.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	want := `pgq_tick a queue with a name that is longer than the 63 bytes of a channel, é "`
	if woken[0] != want || woken[1] != want || len(woken) != 2 {
		t.Errorf("woken by %q", woken)
	}
}
