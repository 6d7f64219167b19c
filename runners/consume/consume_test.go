package consume_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
)

// both runs a test in the queue's database and in another one.
func both(t *testing.T, f func(t *testing.T, w *world)) {
	for name, elsewhere := range map[string]bool{"here": false, "there": true} {
		t.Run(name, func(t *testing.T) { f(t, newWorld(t, elsewhere)) })
	}
}

func TestBatchesComeInOrder(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		var seen notes
		c := w.consumer(w.config(), func(ctx context.Context, tx *pg.Tx, b *consume.Batch) error {
			seen.add("%d-%d", b.PrevTick, b.Tick)
			if time.Since(b.Time) > time.Minute || b.Queue != "q" || b.Consumer != "c" || b.ID == 0 {
				t.Errorf("batch: %+v", b)
			}
			return seen.data()(ctx, tx, b)
		})
		if n := drain(t, c); n != 0 {
			t.Errorf("%d batches before a tick", n)
		}
		w.insert("a", "b")
		w.tick()
		w.insert("c")
		w.tick()
		w.tick()
		if n := drain(t, c); n != 3 {
			t.Errorf("%d batches", n)
		}
		if got := seen.take(); got != "1-2 a b 2-3 c 3-4" {
			t.Errorf("seen: %s", got)
		}
		if s := c.Stats; s.Batches.Load() != 3 || s.Events.Load() != 3 || s.Tick.Load() != 4 || s.Lag.Load() <= 0 || s.Errors.Load() != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// What a handler writes commits when it returns nil, and only then.
func TestHandlerCommitsWithItsBatch(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.target.Script(t, "create table done (data text)")
		fail := errors.New("no")
		c := w.consumer(w.config(), consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
			if _, err := tx.Exec(ctx, "insert into done values ($1)", e.Data); err != nil {
				return err
			}
			if e.Data == "b" {
				return fail
			}
			return nil
		}))
		w.insert("a", "b", "c")
		w.tick()
		if _, err := c.RunOnce(t.Context()); !errors.Is(err, fail) || !strings.Contains(err.Error(), "consumer q/c: batch 1 (ticks 1 to 2): event 2: no") {
			t.Errorf("error: %v", err)
		}
		if n := one[int64](t, w.target, "select count(*) from done"); n != 0 {
			t.Errorf("%d rows of a batch that failed", n)
		}
		fail = nil
		drain(t, c)
		if got := one[string](t, w.target, "select string_agg(data, ' ') from done"); got != "a b c" {
			t.Errorf("done: %s", got)
		}
		if c.Stats.Errors.Load() != 1 {
			t.Errorf("%d errors", c.Stats.Errors.Load())
		}
	})
}

func TestStoppingEarlyFinishes(t *testing.T) {
	for _, prefetch := range []int{-1, 1, 4} {
		w := newWorld(t, false)
		var seen notes
		config := w.config()
		config.Fetch, config.Prefetch = 2, prefetch
		c := w.consumer(config, func(ctx context.Context, _ *pg.Tx, b *consume.Batch) error {
			for range 2 { // a second look begins anew
				for e, err := range b.Events(ctx) {
					if err != nil {
						return err
					}
					if seen.add("%s", e.Data); e.Data == "c" {
						break
					}
				}
			}
			return nil
		})
		w.insert("a", "b", "c", "d", "e", "f", "g", "h", "i")
		w.tick()
		if n := drain(t, c); n != 1 || seen.take() != "a b c a b c" {
			t.Errorf("prefetch %d: %d batches", prefetch, n)
		}
	}
}

func TestPieces(t *testing.T) {
	w := newWorld(t, false)
	w.exec("select pgq.insert_event('q', 'note', i::text) from generate_series(1, 1000) i")
	w.tick()
	for _, c := range []struct {
		fetch, prefetch int
		want            string
	}{
		{100, 1, "100 100 100 100 100 100 100 100 100 100"},
		{400, -1, "400 400 200"},
		{700, 3, "700 300"},
		{0, 0, "500 500"},
		{5000, 0, "1000"},
	} {
		var seen notes
		config := w.config()
		config.Fetch, config.Prefetch = c.fetch, c.prefetch
		got := 0
		stop := errors.New("again, please")
		made := w.consumer(config, func(ctx context.Context, _ *pg.Tx, b *consume.Batch) error {
			for piece, err := range b.Pieces(ctx) {
				if err != nil {
					return err
				}
				for _, e := range piece {
					if got++; e.ID != int64(got) {
						t.Errorf("event %d comes as number %d", e.ID, got)
					}
				}
				seen.add("%d", len(piece))
			}
			return stop
		})
		if _, err := made.RunOnce(t.Context()); !errors.Is(err, stop) {
			t.Fatal(err)
		}
		if text := seen.take(); text != c.want {
			t.Errorf("fetch %d, prefetch %d: pieces of %s; want %s", c.fetch, c.prefetch, text, c.want)
		}
	}
}

// A piece ends where it is large, whatever was asked for.
func TestLargeEventsComeInSmallPieces(t *testing.T) {
	w := newWorld(t, false)
	w.exec("select pgq.insert_event('q', 'note', 'small') from generate_series(1, 400) i")
	w.exec("select pgq.insert_event('q', 'note', repeat('x', 3000000)) from generate_series(1, 12) i")
	w.tick()
	for _, prefetch := range []int{-1, 1} {
		var seen notes
		stop := errors.New("again, please")
		config := w.config()
		config.Prefetch = prefetch
		c := w.consumer(config, func(ctx context.Context, _ *pg.Tx, b *consume.Batch) error {
			for piece, err := range b.Pieces(ctx) {
				if err != nil {
					return err
				}
				seen.add("%d", len(piece))
			}
			for range b.Events(ctx) { // and to stop in the middle of a statement is no error
				break
			}
			n := 0
			for range b.Pieces(ctx) {
				if n++; n == 2 {
					break
				}
			}
			return stop
		})
		if _, err := c.RunOnce(t.Context()); !errors.Is(err, stop) {
			t.Fatal(err)
		}
		if got := seen.take(); got != "403 3 3 3" {
			t.Errorf("prefetch %d: pieces of %s", prefetch, got)
		}
	}
}

// Ids follow the order in which events are written, the transactions that write them
// begin in another, and the table has them in a third.
func TestEventsComeByID(t *testing.T) {
	for _, large := range []bool{false, true} {
		w := newWorld(t, false)
		other := w.queue.Conn(t)
		text := ""
		if large {
			text = strings.Repeat("x", 12_000_000)
		}
		err := w.conn.Write(t.Context(), func(first *pg.Tx) error {
			if _, err := first.Exec(t.Context(), "select txid_current()"); err != nil {
				return err
			}
			for _, q := range []pg.Queryer{other, first, other, first} {
				if _, err := pg.One[int64](t.Context(), q, "select pgq.insert_event('q', 'note', $1)", text); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w.tick()
		var seen notes
		c := w.consumer(w.config(), consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
			seen.add("%d", e.ID)
			return nil
		}))
		if n, got := drain(t, c), seen.take(); n != 1 || got != "1 2 3 4" {
			t.Errorf("large %v: %d batches, events %s", large, n, got)
		}
	}
}

// An error that a handler overlooks must not lose the rest of its batch.
func TestOverlookedErrorFails(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.insert("a", "b", "c")
		w.tick()
		var seen notes
		config := w.config()
		config.Fetch = 1
		c := w.consumer(config, func(ctx context.Context, _ *pg.Tx, b *consume.Batch) error {
			for e := range b.Events(ctx) {
				if e != nil {
					seen.add("%s", e.Data)
				}
			}
			return nil
		})
		fault := &pg.Fault{Match: "ev_txid", Nth: 1, After: true}
		if _, err := c.RunOnce(pg.WithFault(t.Context(), fault)); !errors.Is(err, pg.ErrCut) || !pg.Lost(err) {
			t.Errorf("error: %v", err)
		}
		seen.take()
		drain(t, c)
		if got := seen.take(); got != "a b c" {
			t.Errorf("seen: %s", got)
		}
	})
}

// A batch is of use only to its handler, and one reader at a time.
func TestMisuseIsAnError(t *testing.T) {
	w := newWorld(t, false)
	w.insert("a", "b")
	w.tick()
	var kept *consume.Batch
	c := w.consumer(w.config(), func(ctx context.Context, _ *pg.Tx, b *consume.Batch) error {
		kept = b
		for range b.Events(ctx) {
			for _, err := range b.Events(ctx) {
				if err == nil {
					t.Error("events were read twice at a time")
				}
			}
		}
		return nil
	})
	if _, err := c.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "being read already") {
		t.Errorf("error: %v", err)
	}
	for _, err := range kept.Events(t.Context()) {
		if err == nil || !strings.Contains(err.Error(), "has ended") {
			t.Errorf("error: %v", err)
		}
	}
	if err := kept.Retry(t.Context(), &consume.Event{ID: 1}, 0); err == nil {
		t.Error("an event was put aside after its handler")
	}
}

func TestPanicLeavesNothing(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.target.Script(t, "create table done (data text)")
		w.insert("a", "b", "c", "d", "e")
		w.tick()
		config := w.config()
		config.Fetch = 1
		calm := false
		c := w.consumer(config, consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
			if _, err := tx.Exec(ctx, "insert into done values ($1)", e.Data); err != nil {
				return err
			}
			if e.Data == "c" && !calm {
				panic("c")
			}
			return nil
		}))
		func() {
			defer func() {
				if p := recover(); p != "c" {
					t.Errorf("recovered %v", p)
				}
			}()
			c.RunOnce(t.Context())
		}()
		calm = true
		drain(t, c)
		if got := one[string](t, w.target, "select string_agg(data, ' ') from done"); got != "a b c d e" {
			t.Errorf("done: %s", got)
		}
	})
}

// Events arrive as they were written, NULLs apart from empty texts.
func TestEventsAreWhole(t *testing.T) {
	w := newWorld(t, false)
	w.exec(`select pgq.insert_event('q', null, null),
	        pgq.insert_event('q', '', '', '', null, '', null),
	        pgq.insert_event('q', 'tÿpe', E'da\nta', 'ö', 'x''y', 'z\', '🐘')`)
	w.exec("select pgq.event_retry_raw('q', 'c', now(), 70, '2001-02-03 04:05:06.789012+02', 3, 'r', 'd', null, null, null, null)")
	w.exec("select pgq.event_retry_raw('q', 'c', now(), 71, 'infinity', null, 'r', 'd', null, null, null, null)")
	w.exec("select pgq.event_retry_raw('q', 'c', now(), 72, '-infinity', null, 'r', 'd', null, null, null, null)")
	w.exec("select pgq.maint_retry_events()")
	w.tick()
	var got []consume.Event
	c := w.consumer(w.config(), consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
		got = append(got, *e)
		return nil
	}))
	w.queue.Script(t, "alter role current_user set timezone = 'Asia/Kolkata'; alter role current_user set datestyle = 'SQL, DMY'")
	defer w.queue.Script(t, "alter role current_user reset all")
	drain(t, c)
	const extras = consume.Extra1 | consume.Extra2 | consume.Extra3 | consume.Extra4
	want := []consume.Event{
		{ID: 1, Null: consume.Type | consume.Data | extras},
		{ID: 2, Null: consume.Extra2 | consume.Extra4},
		{ID: 3, Type: "tÿpe", Data: "da\nta", Extra1: "ö", Extra2: "x'y", Extra3: `z\`, Extra4: "🐘"},
		{ID: 70, Type: "r", Data: "d", Retry: 3, Null: extras, Time: time.Date(2001, 2, 3, 2, 5, 6, 789012000, time.UTC)},
		{ID: 71, Type: "r", Data: "d", Null: extras},
		{ID: 72, Type: "r", Data: "d", Null: extras},
	}
	for i := range got {
		switch e := &got[i]; e.ID {
		case 70:
		case 71, 72:
			if e.Time.After(time.Now()) != (e.ID == 71) {
				t.Errorf("event %d: time %s", e.ID, e.Time)
			}
			e.Time = time.Time{}
		default:
			if age := time.Since(e.Time); age < 0 || age > time.Minute || e.Txid == 0 {
				t.Errorf("event %d: time %s, txid %d", e.ID, e.Time, e.Txid)
			}
			e.Time = time.Time{}
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(consume.Event{}, "Txid")); diff != "" {
		t.Error(diff)
	}
	if !got[0].IsNull(consume.Data) || got[1].IsNull(consume.Data) {
		t.Error("NULL and empty are the same")
	}
}

func TestFilters(t *testing.T) {
	w := newWorld(t, false)
	for _, e := range [][2]string{{"I:id", "public.orders"}, {"U:id", "public.orders"}, {"D:id", "eu.orders"}, {"it's", `we"ird.t\`}, {"x", "public.lines"}} {
		w.exec("select pgq.insert_event('q', $1, 'd', $2, null, null, null)", e[0], e[1])
	}
	w.tick()
	for _, c := range []struct {
		config consume.Config
		want   string
	}{
		{consume.Config{}, "1 2 3 4 5"},
		{consume.Config{Types: []string{"I:id", "x"}}, "1 5"},
		{consume.Config{Types: []string{"it's"}}, "4"},
		{consume.Config{Tables: []string{"orders", "eu.orders"}}, "1 2 3"},
		{consume.Config{Tables: []string{`we"ird.t\`}}, "4"},
		{consume.Config{Types: []string{"U:id", "x"}, Tables: []string{"public.orders"}}, "2"},
		{consume.Config{Where: "ev_type like '%:id' -- or all"}, "1 2 3"},
		{consume.Config{Where: "ev_id = 1 or ev_id = 3", Tables: []string{"orders"}}, "1"},
		{consume.Config{Types: []string{"') or true --"}}, ""},
	} {
		var seen notes
		stop := errors.New("again, please")
		config := w.config()
		config.Types, config.Tables, config.Where = c.config.Types, c.config.Tables, c.config.Where
		made := w.consumer(config, func(ctx context.Context, _ *pg.Tx, b *consume.Batch) error {
			for e, err := range b.Events(ctx) {
				if err != nil {
					return err
				}
				seen.add("%d", e.ID)
			}
			return stop
		})
		if _, err := made.RunOnce(t.Context()); !errors.Is(err, stop) {
			t.Fatal(err)
		}
		if got := seen.take(); got != c.want {
			t.Errorf("%+v: events %s; want %s", c.config, got, c.want)
		}
	}
}

// Batches span ticks when they are asked to.
func TestBatchSizes(t *testing.T) {
	w := newWorld(t, false)
	var seen notes
	for _, text := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		w.insert(text)
		w.tick()
	}
	handler := func(ctx context.Context, tx *pg.Tx, b *consume.Batch) error {
		err := seen.data()(ctx, tx, b)
		seen.add("|")
		return err
	}
	config := w.config()
	config.MinLag = time.Hour
	drain(t, w.consumer(config, handler))
	if got := seen.take(); got != "" {
		t.Errorf("with a lag: %s", got)
	}
	config = w.config()
	config.MinCount = 2
	drain(t, w.consumer(config, handler))
	if got := seen.take(); got != "a b c | d e | f g h |" {
		t.Errorf("with a count: %s", got)
	}
	w.insert("x")
	w.tick()
	config = w.config()
	config.MinInterval = time.Hour
	drain(t, w.consumer(config, handler))
	if got := seen.take(); got != "" {
		t.Errorf("with an interval: %s", got)
	}
}

// A second process of one consumer does no harm: who finishes second rolls back.
func TestTwoProcessesOfOneConsumer(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.target.Script(t, "create table done (data text)")
		w.insert("a")
		w.tick()
		insert := func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
			_, err := tx.Exec(ctx, "insert into done values ($1)", e.Data)
			return err
		}
		second := w.consumer(w.config(), consume.Each(insert))
		late := make(chan error, 1)
		first := w.consumer(w.config(), consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
			if w.target == w.queue { // there the second waits for the first one's lock
				drain(t, second)
			} else {
				go func() { _, err := second.RunOnce(ctx); late <- err }()
				waitFor(t, w.target, "select exists (select 1 from pg_locks where locktype = 'advisory' and not granted)")
			}
			return insert(ctx, tx, e)
		}))
		_, err := first.RunOnce(t.Context())
		if w.target == w.queue {
			if !errors.Is(err, consume.ErrGone) {
				t.Errorf("error: %v", err)
			}
		} else {
			if err != nil && !errors.Is(err, consume.ErrGone) { // the other may be the one that finishes
				t.Errorf("error: %v", err)
			}
			if err := <-late; err != nil && !errors.Is(err, consume.ErrGone) {
				t.Errorf("second: %v", err)
			}
		}
		drain(t, second)
		if got := one[string](t, w.target, "select string_agg(data, ' ') from done"); got != "a" {
			t.Errorf("done: %s", got)
		}
	})
}
