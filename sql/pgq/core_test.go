package pgq_test

import "testing"

// The rows of contract/pgq.md section 13 that pin the core.
func TestCore(t *testing.T) {
	runBoth(t, []step{
		{"select pgq.maint_tables_to_vacuum()", ""},
		{"select pgq.create_queue('tmp')", "(1)"},
		{"select pgq.create_queue('tmp')", "(0)"},
		{"select pgq.create_queue(null)", "ERROR Invalid NULL value"},
		{"select pgq.drop_queue('tmp')", "(1)"},
		{"select pgq.drop_queue('tmp')", "ERROR No such event queue"},
		{"select pgq.create_queue('myqueue')", "(1)"},
		{"select pgq.register_consumer('nope', 'consumer')", "ERROR Event queue not created yet"},
		{"select pgq.register_consumer('myqueue', 'consumer')", "(1)"},
		{"select pgq.register_consumer('myqueue', 'consumer')", "(0)"},
		{"select pgq.unregister_consumer('myqueue', 'consumer')", "(1)"},
		{"select pgq.unregister_consumer('myqueue', 'consumer')", "(0)"},
		{"select count(*) from pgq.consumer", "(0)"},
		{"select pgq.register_consumer_at('myqueue', 'consumer', 100)", "ERROR cannot reposition, tick not found: 100"},
		{"select pgq.register_consumer('myqueue', 'consumer')", "(1)"},
		{"select pgq.next_batch('myqueue', 'consumer')", "()"},
		{"select pgq.next_batch('myqueue', 'nobody')", "ERROR Not subscriber to queue: myqueue/nobody"},
		{"select pgq.drop_queue('myqueue')", "ERROR cannot drop queue, consumers still attached"},
		{"select pgq.ticker()", "(1)"}, // only one tick yet: 4.2
		{"select pgq.next_batch('myqueue', 'consumer') is not null", "(t)"},
		{"select pgq.next_batch('myqueue', 'consumer') = pgq.next_batch('myqueue', 'consumer')", "(t)"},
		{"select queue_name, consumer_name, prev_tick_id, tick_id, seq_start, seq_end from pgq.get_batch_info(1)", "(myqueue,consumer,1,2,1,1)"},
		{"select pgq.get_batch_info(99)", `("(,,,,,,,,)")`},
		{"select queue_name, queue_ntables, queue_cur_table, queue_external_ticker, ev_new, last_tick_id from pgq.get_queue_info()", "(myqueue,3,0,f,0,2)"},
		{"select queue_name, consumer_name, last_tick, current_batch, next_tick, pending_events from pgq.get_consumer_info('myqueue', null)", "(myqueue,consumer,1,1,2,0)"},
		{"select pgq.get_batch_events(1)", ""},
		{"select pgq.get_batch_events(99)", "ERROR batch not found"},
		{"select pgq.finish_batch(1)", "(1)"},
		{"select pgq.finish_batch(1)", "(0)"},
		{"select * from pgq.next_batch_custom('myqueue', 'consumer', null, 1, null)", "(,,,,,,)"},

		{"select pgq.insert_event('myqueue', 'r1', 'data')", "(1)"},
		{"select pgq.insert_event('myqueue', 'r2', 'data', 'a', 'b', 'c', 'd')", "(2)"},
		{"select pgq.insert_event('myqueue', 'r3', 'data')", "(3)"},
		{"select pgq.insert_event('nope', 'r', 'd')", "ERROR No such queue"},
		{"select pgq.insert_event(null, 'r', 'd')", "ERROR Queue name must not be NULL"},
		{"select pgq.current_event_table('myqueue')", "(pgq.event_2_0)"},
		{"select pgq.current_event_table('nope')", "ERROR Event queue not found"},
		{"!update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '0'", ""},
		{"select pgq.ticker('myqueue')", "(3)"},
		{"select * from pgq.next_batch_custom('myqueue', 'consumer', '1 hour', null, null)", "(,,,,,,)"},
		{"select * from pgq.next_batch_custom('myqueue', 'consumer', null, 10000, null)", "(,,,,,,)"},
		{"select * from pgq.next_batch_custom('myqueue', 'consumer', null, null, '10 minutes')", "(,,,,,,)"},
		{"select batch_id, cur_tick_id, prev_tick_id, cur_tick_event_seq, prev_tick_event_seq from pgq.next_batch_info('myqueue', 'consumer')", "(2,3,2,3,1)"},
		{"select ev_id, ev_retry, ev_type, ev_data, ev_extra1, ev_extra4 from pgq.get_batch_events(2)", "(1,,r1,data,,)\n(2,,r2,data,a,d)\n(3,,r3,data,,)"},

		{"!begin", ""},
		{"select ev_id from pgq.get_batch_cursor(2, 'acurs', 10)", "(1)\n(2)\n(3)"},
		{"!close acurs", ""},
		{"select ev_id from pgq.get_batch_cursor(2, 'A \"curs', 2)", "(1)\n(2)"},
		{`!do $$ declare e record; c refcursor := 'A "curs'; begin fetch c into e; assert e.ev_id = 3; fetch c into e; assert not found; end $$`, ""},
		{`!close "A ""curs"`, ""},
		{"select ev_id from pgq.get_batch_cursor(2, 'acurs', 2, 'ev_id = 1 or ev_id = 3 -- both')", "(1)\n(3)"},
		{"!close acurs", ""},
		{"select ev_id from pgq.get_batch_cursor(2, 'acurs', 0)", ""},
		{"!fetch 1 from acurs", ""},
		{"select ev_id from pgq.get_batch_cursor(2, null, 10)", ""},
		{"!commit", ""},

		{"select pgq.event_retry(2, 2, 0)", "(1)"},
		{"select pgq.event_retry(2, 2, 0)", "(0)"},
		{"select pgq.event_retry(2, 99, 0)", "ERROR event not found"},
		{"select pgq.event_retry(99, 2, 0)", "ERROR event not found"},
		{"select pgq.batch_retry(2, 0)", "(2)"},
		{"select pgq.batch_retry(99, 0)", "ERROR batch_retry: batch 99 not found"},
		{"select pgq.event_retry_raw('myqueue', 'consumer', now(), 666, now(), 0, 'rawtest', 'd', null, null, null, null)", "(666)"},
		{"select pgq.event_retry_raw('myqueue', 'nobody', now(), 666, now(), 0, 'rawtest', 'd', null, null, null, null)", "ERROR consumer not registered"},
		{"select pgq.finish_batch(2)", "(1)"},
		{"select pgq.maint_retry_events()", "(4)"},
		{"select pgq.maint_retry_events()", "(0)"},
		{"select pgq.register_consumer('myqueue', 'other')", "(1)"},
		{"select pgq.ticker('myqueue')", "(4)"},
		{"select pgq.next_batch('myqueue', 'consumer'), pgq.next_batch('myqueue', 'other')", "(3,4)"},
		{"select ev_id, ev_retry, ev_type from pgq.get_batch_events(3)", "(1,1,r1)\n(2,1,r2)\n(3,1,r3)\n(666,0,rawtest)"},
		{"select ev_id from pgq.get_batch_events(4)", ""},
		{"select pgq.unregister_consumer('myqueue', 'other')", "(1)"},

		{"select pgq.seq_getval('pgq.event_2_id_seq')", "(7)"},
		{"select pgq.force_tick('myqueue')", "(4)"},
		{"select nextval('pgq.event_2_id_seq')", "(2009)"}, // 8 + 2 * 500 + 1000, then one more
		{"select pgq.force_tick('nope')", "()"},
		{"!create sequence seqtest", ""},
		{"select pgq.seq_getval('seqtest'), pgq.seq_setval('seqtest', 10), pgq.seq_setval('public.seqtest', 7), pgq.seq_getval('seqtest')", "(1,10,10,10)"},

		{"select pgq.maint_rotate_tables_step1('myqueue'), pgq.maint_rotate_tables_step2()", "(0,0)"},
		{"!update pgq.queue set queue_rotation_period = '0', queue_extra_maint = '{baz,foo.bar,\"\",null}'", ""},
		{"select * from pgq.maint_operations()", "(pgq.maint_rotate_tables_step1,myqueue)\n(pgq.maint_rotate_tables_step2,)\n(baz,myqueue)\n(foo.bar,myqueue)"},
		{"!update pgq.queue set queue_rotation_period = '1 hour', queue_extra_maint = '{}'", ""},
		{"select * from pgq.maint_operations()", ""}, // D4: an empty list is no error
		{"select pgq.drop_queue('myqueue', true)", "(1)"},
		{"select count(*) from pgq.queue", "(0)"},
		{"select count(*) from pgq.retry_queue", "(0)"},
	}, map[string]string{
		"select * from pgq.maint_operations()": whatever, // empty names, and D4
	})
}

func TestQuoteName(t *testing.T) {
	runBoth(t, []step{
		{`select pgq.quote_fqname('a'), pgq.quote_fqname('a.b'), pgq.quote_fqname('A.b.c'), pgq.quote_fqname('s."x')`,
			`(public.a,a.b,"""A"".""b.c""","s.""""""x""")`},
		{"select pgq.quote_fqname(null)", "()"},
	}, nil)
}

// Source: contract/pgq.md 2.1; D13.
func TestQueueConfig(t *testing.T) {
	runBoth(t, []step{
		{"select pgq.create_queue('q')", "(1)"},
		{"select pgq.set_queue_config('q', 'ticker_max_count', '7')", "(1)"},
		{"select pgq.set_queue_config('q', 'ticker_max_lag', '5 seconds')", "(1)"},
		{"select pgq.set_queue_config('q', 'ticker_idle_period', '6 minutes')", "(1)"},
		{"select pgq.set_queue_config('q', 'rotation_period', '7 hours')", "(1)"},
		{"select pgq.set_queue_config('q', 'ticker_paused', 'true')", "(1)"},
		{"select queue_ticker_max_count, queue_ticker_max_lag, queue_ticker_idle_period, queue_rotation_period, queue_ticker_paused, queue_external_ticker from pgq.queue",
			"(7,00:00:05,00:06:00,07:00:00,t,f)"},
		{"select pgq.ticker('q')", "ERROR Ticker has been paused for this queue"},
		{"select pgq.set_queue_config('q', 'external_ticker', 'on')", "(1)"},
		{"select pgq.ticker('q')", "ERROR This queue has external tick source."},
		{"select pgq.ticker('nope')", "ERROR no such queue"},
		{"select pgq.set_queue_config('q', 'disable_insert', 'on')", `ERROR cannot change parameter "disable_insert"`},
		{"select pgq.set_queue_config('q', null, 'on')", "ERROR Invalid NULL value"},
		{"select pgq.set_queue_config('nope', 'ticker_paused', 'on')", "ERROR No such event queue"},
		{"select pgq.set_queue_config('q', 'ticker_max_count', null)", "ERROR cannot set ticker_max_count of queue q to NULL"},
		{"select pgq.set_queue_config('q', 'ticker_max_count', '0')", "ERROR ticker_max_count must be at least 1, not 0"},
		{"select pgq.set_queue_config('q', 'rotation_period', '-1 hour')", "ERROR rotation_period must not be negative: -1 hour"},
		{"select pgq.set_queue_config('q', 'rotation_period', 'soon')", `ERROR invalid input syntax for type interval: "soon"`},
	}, map[string]string{ // D13: a stray s, and values that make no sense
		"select pgq.set_queue_config('q', 'disable_insert', 'on')":       `ERROR cannot change parameter "disable_inserts"`,
		"select pgq.set_queue_config('q', 'ticker_max_count', null)":     "ERROR query string argument of EXECUTE is null",
		"select pgq.set_queue_config('q', 'ticker_max_count', '0')":      "(1)",
		"select pgq.set_queue_config('q', 'rotation_period', '-1 hour')": "(1)",
	})
}

// Upstream tests pgq_core_disabled and pgq_session_role; ids of refused events
// are used up.
func TestDisabledInsert(t *testing.T) {
	runBoth(t, []step{
		{"select pgq.create_queue('q'), pgq.create_queue('other')", "(1,1)"},
		{"select pgq.insert_event('q', 't', 'd')", "(1)"},
		{"!update pgq.queue set queue_disable_insert = true", ""},
		{"select pgq.insert_event('q', 't', 'd')", "ERROR Insert into queue disallowed"},
		{"select pgq.current_event_table('q')", "ERROR Writing to queue disabled"},
		{"!set session_replication_role = local", ""},
		{"select pgq.insert_event('q', 't', 'd')", "ERROR Insert into queue disallowed"},
		{"!set session_replication_role = replica", ""},
		{"select pgq.insert_event('q', 't', 'd')", "(4)"},
		{"select pgq.current_event_table('q')", "(pgq.event_1_0)"},
		{"!reset session_replication_role; update pgq.queue set queue_disable_insert = false", ""},
		{"select pgq.insert_event('q', 't', 'd')", "(5)"},
	}, nil)
}

// The setting skytools.replaying opens the queue that it names.
func TestReplaying(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('q'), pgq.create_queue('other')", "(1,1)"},
		{"!update pgq.queue set queue_disable_insert = true; set skytools.replaying = 'q'", ""},
		{"select pgq.insert_event('q', 't', 'd')", "(1)"},
		{"select pgq.current_event_table('q')", "(pgq.event_1_0)"},
		{"select pgq.insert_event('other', 't', 'd')", "ERROR Insert into queue disallowed"},
		{"!reset skytools.replaying", ""},
		{"select pgq.insert_event('q', 't', 'd')", "ERROR Insert into queue disallowed"},
	})
}

// What contract/pgq.md 2.2, 4.2, 4.4 and 7.7 say of tables, ticks and triggers.
func TestLesserFacts(t *testing.T) {
	const newest = "select ev_type, ev_data, ev_extra1 from pgq.event_template order by ev_id desc limit 1"
	runBoth(t, []step{
		{"select pgq.create_queue('q'), pgq.register_consumer('q', 'c'), pgq.register_consumer('q', 'd')", "(1,1,1)"},
		{"select pgq.insert_event('q', 't', 'first')", "(1)"},
		{"select ev_new from pgq.get_queue_info('q')", "(0)"}, // a fresh sequence reads 1 before and after
		{"select pgq.ticker('q')", "(2)"},
		{"select pgq.next_batch('q', 'c')", "(1)"},
		{"select pgq.batch_event_tables(1)", "(pgq.event_1_2)\n(pgq.event_1_0)"},
		{"select pgq.register_consumer_at('q', 'c', 1)", "(0)"}, // drops the batch
		{"select pgq.finish_batch(1)", "(0)"},
		{"select pgq.register_consumer_at('q', 'c', 99)", "ERROR cannot reposition, tick not found: 99"},
		{"!update pgq.queue set queue_per_tx_limit = 1", ""},
		{"!begin; savepoint s; select pgq.insert_event('q', 't', 'd'); rollback to s; select pgq.insert_event('q', 't', 'd'); commit", ""},
		{"!rollback; update pgq.queue set queue_per_tx_limit = null", ""},

		{"!create table g (id int primary key, a int, b int generated always as (a * 2) stored); create trigger x after insert or update on g for each row execute function pgq.logutriga('q')", ""},
		{"!insert into g values (1, 2)", ""},
		{newest, "(I:id,id=1&a=2&b=4,public.g)"},
		{"!drop trigger x on g; create trigger x before insert on g for each row execute function pgq.logutriga('q')", ""},
		{"!insert into g values (2, 3)", ""},
		{newest, "(I:id,id=2&a=3&b,public.g)"},
		{"!create table p (id int primary key) partition by range (id); create table p1 partition of p for values from (0) to (9)", ""},
		{"!create trigger x after insert on p for each row execute function pgq.logutriga('q'); insert into p values (1)", ""},
		{newest, "(I:id,id=1,public.p1)"},
		{"!create table s (id int primary key); create trigger x before insert or delete on s for each row execute function pgq.logutriga('q', 'SKIP')", ""},
		{"!insert into s values (1)", ""},
		{newest, "(I:id,id=1,public.s)"},
		{"select count(*) from s", "(0)"},
		{"select pgq.unregister_consumer('q', 'c'), pgq.unregister_consumer('q', 'd')", "(1,1)"},
		{"select count(*) from pgq.consumer", "(0)"},
	}, map[string]string{ // the original counts what was rolled back, too
		"!begin; savepoint s; select pgq.insert_event('q', 't', 'd'); rollback to s; select pgq.insert_event('q', 't', 'd'); commit": "ERROR Queue 'q' allows max 1 events from one TX",
	})
}

// Upstream test pgq_core_tx_limit.
func TestPerTxLimit(t *testing.T) {
	runBoth(t, []step{
		{"select pgq.create_queue('q'), pgq.create_queue('other')", "(1,1)"},
		{"!update pgq.queue set queue_per_tx_limit = 2 where queue_name = 'q'", ""},
		{"select pgq.insert_event('q', 't', i::text) from generate_series(1, 3) i", "ERROR Queue 'q' allows max 2 events from one TX"},
		{"select count(pgq.insert_event('q', 't', i::text)) from generate_series(1, 2) i", "(2)"},
		{"select count(pgq.insert_event('q', 't', i::text)) from generate_series(1, 2) i", "(2)"},
		{"select count(pgq.insert_event('other', 't', i::text)) from generate_series(1, 9) i", "(9)"},
		{"!update pgq.queue set queue_per_tx_limit = 0 where queue_name = 'q'", ""},
		{"select pgq.insert_event('q', 't', 'd')", "ERROR Queue 'q' allows max 0 events from one TX"},
		{"!update pgq.queue set queue_per_tx_limit = null where queue_name = 'q'", ""},
		{"select count(pgq.insert_event('q', 't', i::text)) from generate_series(1, 20) i", "(20)"},
	}, nil)
}

// Source: contract/pgq.md 4.1.
func TestFindTick(t *testing.T) {
	conn := installed(t).Conn(t)
	script(t, conn, `
		select pgq.create_queue('q');
		delete from pgq.tick;
		insert into pgq.tick (tick_queue, tick_id, tick_time, tick_event_seq)
		select 1, n, '2020-01-01'::timestamptz + n * interval '1 minute', n * 10 from generate_series(1, 20) n`)
	find := func(count, interval string) string {
		return "select next_tick_id from pgq.find_tick_helper(1, 1, '2020-01-01 00:01', 10, " + count + ", " + interval + ")"
	}
	run(t, conn, []step{
		{"!set timezone = 'UTC'; set datestyle = 'ISO'; update pgq.tick set tick_time = '2020-01-01'::timestamptz + tick_id * interval '1 minute'", ""},
		{find("190", "null"), "(20)"},          // just enough
		{find("191", "null"), "()"},            // not enough
		{find("100", "null"), "(20)"},          // newest is not twice as far
		{find("50", "null"), "(6)"},            // it is: the first that is far enough
		{find("45", "null"), "(6)"},            // rounded up to a tick
		{find("null", "'19 minutes'"), "(20)"}, //
		{find("null", "'20 minutes'"), "()"},   //
		{find("null", "'5 minutes'"), "(6)"},   //
		{find("500", "'5 minutes'"), "(6)"},    // either will do
		{find("50", "'50 minutes'"), "(6)"},    //
		{find("500", "'50 minutes'"), "()"},    //
		{find("150", "'12 minutes'"), "(20)"},  //
		{find("1", "'1 minute'"), "(2)"},       //
	})
}

// Source: contract/pgq.md 4.2.
func TestTickDecision(t *testing.T) {
	conn := installed(t).Conn(t)
	const ago = "!update pgq.tick set tick_time = now() - interval "
	run(t, conn, []step{
		{"select pgq.create_queue('q')", "(1)"},
		{"select pgq.ticker('q')", "(2)"}, // the second tick comes at once
		{"select pgq.ticker('q')", "()"},  // then nothing is new
		{"select pgq.insert_event('q', 't', 'd') from generate_series(1, 2)", "(1)\n(2)"},
		{"select pgq.ticker('q')", "()"},
		{ago + "'3 seconds'", ""},
		{"select pgq.ticker('q')", "(3)"}, // max_lag
		{"select count(pgq.insert_event('q', 't', 'd')) from generate_series(1, 500)", "(500)"},
		{"select pgq.ticker('q')", "(4)"}, // max_count
		{ago + "'20 seconds' where tick_id < 4; " + ago[1:] + "'10 seconds' where tick_id = 4", ""},
		{"select pgq.ticker('q')", "()"}, // idle: twice the last distance is 20 s
		{ago + "'30 seconds' where tick_id < 4; " + ago[1:] + "'20 seconds' where tick_id = 4", ""},
		{"select pgq.ticker('q')", "(5)"},
		{ago + "'1 hour' where tick_id < 5; " + ago[1:] + "'60 seconds' where tick_id = 5", ""},
		{"select pgq.ticker('q')", "(6)"}, // idle_period
		{"select pgq.ticker()", "(0)"},
	})
}

// Many events in one statement: ids in order, arrays that fit, the rules of the queue.
func TestInsertEvents(t *testing.T) {
	conn := installed(t).Conn(t)
	run(t, conn, []step{
		{"select pgq.create_queue('q'), pgq.create_queue('other')", "(1,1)"},
		{"select pgq.insert_events('q', '{a,b,null}', '{1,null,3}')", "(1)\n(2)\n(3)"},
		{"select pgq.insert_events('q', '{c,d}', null, null, '{x,y}', i_extra4s => '{p,q}')", "(4)\n(5)"},
		{"select ev_id, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4, ev_owner, ev_retry, ev_txid is not null, ev_time = now() from pgq.event_1 order by 1",
			"(1,a,1,,,,,,,t,f)\n(2,b,,,,,,,,t,f)\n(3,,3,,,,,,,t,f)\n(4,c,,,x,,p,,,t,f)\n(5,d,,,y,,q,,,t,f)"},
		{"select pgq.insert_events('q', '{}', '{}')", ""},
		{"select pgq.insert_events('q', null, null)", ""},
		{"select pgq.insert_events('q', '{a,b}', '{1}')", "ERROR insert_events: i_types has 2 items, i_datas has 1"},
		{"select pgq.insert_events('q', '{a,b}', '{1,2}', null, null, '{x,y,z}')", "ERROR insert_events: i_types has 2 items, i_extra3s has 3"},
		{"select pgq.insert_events('nope', '{a}', '{1}')", "ERROR No such queue"},
		{"select pgq.insert_events(null, '{a}', '{1}')", "ERROR Queue name must not be NULL"},
		{"!update pgq.queue set queue_per_tx_limit = 3 where queue_name = 'q'", ""},
		{"select count(*) from pgq.insert_events('q', '{a,b,c,d}', null)", "ERROR Queue 'q' allows max 3 events from one TX"},
		{"!begin; select pgq.insert_events('q', '{a,b}', null), pgq.insert_events('q', '{c,d}', null); commit", "ERROR Queue 'q' allows max 3 events from one TX"},
		{"!rollback; update pgq.queue set queue_per_tx_limit = null, queue_disable_insert = true where queue_name = 'q'", ""},
		{"select pgq.insert_events('q', '{a}', null)", "ERROR Insert into queue disallowed"},
		{"!set role pgq_writer", ""},
		{"select count(*) from pgq.insert_events('other', '{a}', '{1}')", "(1)"},
		{"!reset role; set role pgq_reader", ""},
		{"select pgq.insert_events('other', '{a}', '{1}')", "ERROR permission denied for function insert_events"},
	})
}

// More queues than stand in insert_event itself: each event finds its own table,
// also when queues come and go, a table is added by hand, and somebody has put a
// function of his own in the place of insert_event.
func TestManyQueues(t *testing.T) {
	conn := installed(t).Conn(t)
	const wrong = `select q.queue_name from pgq.queue q
		where pgq.insert_event(q.queue_name, 't', q.queue_name) is null
		   or not exists (select from pgq.event_template e where e.ev_data = q.queue_name
		                  and e.tableoid::regclass::text = q.queue_data_pfx || '_' || q.queue_cur_table)`
	const functions = "select string_agg(proname, ' ' order by proname) from pg_proc where proname ~ '^_insert_event_\\d'"
	run(t, conn, []step{
		{"select count(pgq.create_queue('q' || i)) from generate_series(1, 100) i", "(100)"},
		{"select count(pgq.insert_event(queue_name, 't', queue_name)) from pgq.queue", "(100)"},
		{wrong, ""},
		{functions, `("_insert_event_1 _insert_event_2 _insert_event_3")`},
		{"select count(pgq.drop_queue('q' || i)) from generate_series(1, 31) i", "(31)"}, // the whole first block
		{functions, `("_insert_event_2 _insert_event_3")`},
		{wrong, ""},
		{"select pgq.create_queue('new')", "(1)"},
		{"!update pgq.queue set queue_ntables = 4, queue_cur_table = 3 where queue_name = 'q50'; create table pgq.event_50_3 () inherits (pgq.event_50)", ""},
		{"select count(pgq.insert_event(queue_name, 't', queue_name)) from pgq.queue", "(70)"},
		{wrong, ""},
		{"!update pgq.queue set queue_cur_table = 2 where queue_name <> 'q50'", ""},
		{"select count(pgq.insert_event(queue_name, 't', queue_name)) from pgq.queue", "(70)"},
		{wrong, ""},
		{"!create or replace function pgq.insert_event(queue_name text, ev_type text, ev_data text, ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text) returns int8 language sql as 'select -1::int8'", ""},
		{"select pgq.create_queue('newer'), pgq.insert_event('newer', 't', 'd')", "(1,-1)"},
	})
}
