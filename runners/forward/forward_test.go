package forward_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/forward"
	"github.com/skytools-go/skytools/sql/pg"
)

// What is copied is what was written, with each NULL, in order; ids are new.
func TestEventsAreWhole(t *testing.T) {
	both(t, func(t *testing.T, source, target *place) {
		text := func(s string) *string { return &s }
		want := []event{
			{text("t"), text("d"), text("1"), text("2"), text("3"), text("4")},
			{text(""), text(""), text(""), text(""), text(""), text("")},
			{text("only type"), nil, nil, nil, nil, nil},
			{nil, text("only data"), nil, nil, nil, nil},
			{text("it's"), text(`{"a": "\\\"ü\n,{}NULL"}`), nil, text("NULL"), nil, text("{}")},
		}
		target.exec("select pgq.insert_event('p', 'before', 'x')")
		target.events("p")
		for _, e := range want {
			source.exec("select pgq.insert_event('q', $1, $2, $3, $4, $5, $6)", e.Type, e.Data, e.Extra1, e.Extra2, e.Extra3, e.Extra4)
		}
		source.tick("q")
		c := config(source, target)
		drain(t, start(t, c))
		if diff := cmp.Diff(want, target.events("p")); diff != "" {
			t.Errorf("(-written +copied):\n%s", diff)
		}
		source.insert("q", "one", "two")
		drain(t, start(t, c))
		if diff := cmp.Diff([]string{"one", "two"}, target.data("p")); diff != "" {
			t.Error(diff)
		}
		if s := c.Stats; s.Written.Load() != 7 || s.Batches.Load() != 2 || s.Skipped.Load() != 0 {
			t.Errorf("stats: %d written, %d batches", s.Written.Load(), s.Batches.Load())
		}
	})
}

// A batch that comes in pieces is one transaction of the target.
func TestPiecesAreOneTransaction(t *testing.T) {
	both(t, func(t *testing.T, source, target *place) {
		source.exec("select pgq.insert_event('q', 't', i::text) from generate_series(1, 1000) i")
		source.tick("q")
		c := config(source, target)
		c.Fetch = 7
		drain(t, start(t, c))
		data := target.data("p")
		for i, d := range data {
			if d != fmt.Sprint(i+1) {
				t.Fatalf("event %d is %s", i+1, d)
			}
		}
		if n := one[int64](t, target.conn, "select count(distinct ev_txid) from pgq.event_"+fmt.Sprint(one[int32](t, target.conn, "select queue_id from pgq.queue where queue_name = 'p'"))); len(data) != 1000 || n != 1 {
			t.Errorf("%d events in %d transactions", len(data), n)
		}
	})
}

func TestSplit(t *testing.T) {
	both(t, func(t *testing.T, source, target *place) {
		names := []string{`it's "q"`, "a.b", "Größe", "x'; drop schema pgq cascade; --", "{a,b}", "%s $1", " ", "NULL"}
		for _, name := range names {
			target.queue(name)
		}
		for i := range 40 {
			name := names[i%len(names)]
			source.exec("select pgq.insert_event('q', 't', $1, 'other', $2, null, null)", fmt.Sprint(i), name)
		}
		source.tick("q")
		c := config(source, target)
		c.To, c.Split, c.Fetch = "", "ev_extra2", 9
		drain(t, start(t, c))
		for n, name := range names {
			var want []string
			for i := n; i < 40; i += len(names) {
				want = append(want, fmt.Sprint(i))
			}
			if diff := cmp.Diff(want, target.data(name)); diff != "" {
				t.Errorf("queue %q:\n%s", name, diff)
			}
		}
	})
}

// Each field can be the one that names the queue.
func TestSplitByEveryField(t *testing.T) {
	source, target := pair(t, true)
	fields := []string{"ev_type", "ev_extra1", "ev_extra2", "ev_extra3", "ev_extra4"}
	for _, field := range fields {
		source.exec("select pgq.register_consumer('q', $1)", field)
	}
	source.exec("select pgq.insert_event('q', 'type', 'd', 'extra1', 'extra2', 'extra3', 'extra4')")
	source.tick("q")
	for _, field := range fields {
		name := strings.TrimPrefix(field, "ev_")
		target.queue(name)
		c := config(source, target)
		c.Consumer, c.To, c.Split = field, "", field
		drain(t, start(t, c))
		if diff := cmp.Diff([]string{"d"}, target.data(name)); diff != "" {
			t.Errorf("%s: %s", field, diff)
		}
	}
}

// An event that names no queue there is stops the forward, which says what to do, or
// is counted.
func TestSplitToMissingQueue(t *testing.T) {
	both(t, func(t *testing.T, source, target *place) {
		c := config(source, target)
		c.To, c.Split = "", "ev_extra1"
		f := start(t, c)
		for _, name := range []any{"p", "nobody's", nil, "", "p"} {
			source.exec("select pgq.insert_event('q', 't', coalesce($1, 'null'), $1, null, null, null)", name)
		}
		source.tick("q")
		_, err := f.RunOnce(t.Context())
		var refused *forward.QueueError
		if !errors.As(err, &refused) || refused.Queue != "nobody's" || refused.Event != 2 || !strings.Contains(err.Error(), `event 2: queue "nobody's": the target has no such queue, but its ev_extra1 names it`) {
			t.Fatalf("error: %v", err)
		}
		if !strings.Contains(refused.Hint(), `declare queue "nobody's"`) || !strings.Contains(refused.Hint(), "missing: skip") {
			t.Errorf("hint: %s", refused.Hint())
		}
		target.queue("nobody's")
		_, err = f.RunOnce(t.Context())
		if !errors.As(err, &refused) || refused.Queue != "" || refused.Event != 3 {
			t.Fatalf("error: %v", err)
		}
		if got := target.data("p"); got != nil {
			t.Errorf("a batch that failed has written %v", got)
		}
		c.Skip = true
		drain(t, start(t, c))
		if diff := cmp.Diff([]string{"p", "p"}, target.data("p")); diff != "" {
			t.Error(diff)
		}
		if n := c.Stats.Skipped.Load(); n != 2 {
			t.Errorf("%d skipped", n)
		}
	})
}

func TestFilters(t *testing.T) {
	source, target := pair(t, true)
	for i, e := range [][3]any{{"I", "public.orders", "a"}, {"U", "public.orders", "b"}, {"I", "public.items", "c"}, {"pgq.tick-id", "public.orders", "d"}, {"londiste.add-table", nil, "e"}, {nil, nil, "f"}} {
		source.exec("select pgq.insert_event('q', $1, $2, $3, $4, null, null)", e[0], e[2], e[1], fmt.Sprint(i))
	}
	source.tick("q")
	for name, c := range map[string]struct {
		with forward.Config
		want []string
	}{
		"types":         {forward.Config{Types: []string{"I"}}, []string{"a", "c"}},
		"tables":        {forward.Config{Tables: []string{"public.orders"}}, []string{"a", "b", "d"}},
		"where":         {forward.Config{Where: "ev_extra2 = '1' or ev_type is null -- a comment"}, []string{"b", "f"}},
		"all":           {forward.Config{Types: []string{"I", "U"}, Tables: []string{"public.orders"}, Where: "ev_data > 'a'"}, []string{"b"}},
		"cascade":       {forward.Config{Cascade: true}, []string{"a", "b", "c", "f"}},
		"cascade where": {forward.Config{Cascade: true, Where: "ev_data > 'a' or false"}, []string{"b", "c", "f"}},
	} {
		source.exec("select pgq.register_consumer_at('q', $1, 1)", name)
		made := config(source, target)
		made.Consumer, made.Types, made.Tables, made.Where, made.Cascade = name, c.with.Types, c.with.Tables, c.with.Where, c.with.Cascade
		drain(t, start(t, made))
		if diff := cmp.Diff(c.want, target.data("p")); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// What the target refuses is said so that a person can act, and done when it takes it.
func TestRefusals(t *testing.T) {
	both(t, func(t *testing.T, source, target *place) {
		c := config(source, target)
		f := start(t, c)
		source.insert("q", "a", "b", "c")
		for _, r := range []struct{ do, undo, want string }{
			{"update pgq.queue set queue_disable_insert = true where queue_name = 'p'", "update pgq.queue set queue_disable_insert = false where queue_name = 'p'", `queue "p": it is closed`},
			{"update pgq.queue set queue_per_tx_limit = 2 where queue_name = 'p'", "update pgq.queue set queue_per_tx_limit = 3 where queue_name = 'p'", `queue "p": the batch has more events for it than its per_tx_limit of 2`},
			{"update pgq.queue set queue_name = 'away' where queue_name = 'p'", "update pgq.queue set queue_name = 'p' where queue_name = 'away'", `queue "p": the target has no such queue`},
		} {
			target.exec(r.do)
			_, err := f.RunOnce(t.Context())
			var refused *forward.QueueError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), r.want) || refused.Hint() == "" {
				t.Errorf("error: %v; want %s", err, r.want)
			}
			target.exec(r.undo)
		}
		drain(t, f)
		if diff := cmp.Diff([]string{"a", "b", "c"}, target.data("p")); diff != "" {
			t.Error(diff)
		}
		if n := c.Stats.Errors.Load(); n != 3 {
			t.Errorf("%d errors", n)
		}
	})
}

func TestNeverIntoItself(t *testing.T) {
	source, _ := pair(t, false)
	source.exec("select pgq.insert_event('q', 't', 'x', 'q', null, null, null)")
	source.tick("q")
	c := config(source, source)
	c.To, c.Split, c.Skip = "", "ev_extra1", true
	_, err := start(t, c).RunOnce(t.Context())
	if err == nil || !strings.Contains(err.Error(), "without end") {
		t.Errorf("error: %v", err)
	}
}

func TestMistakes(t *testing.T) {
	source, target := pair(t, false)
	for want, change := range map[string]func(*forward.Config){
		"one of To and Split":     func(c *forward.Config) { c.To = "" },
		"one of To and Split is":  func(c *forward.Config) { c.Split = "ev_type" },
		"no field that names":     func(c *forward.Config) { c.To, c.Split = "", "ev_data" },
		"it is not registered":    func(c *forward.Config) { c.Consumer = "nobody" },
		"consumer nothing/f: it ": func(c *forward.Config) { c.Queue = "nothing" },
	} {
		c := config(source, target)
		change(&c)
		f := start(t, c)
		if _, err := f.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error: %v; want %s", err, want)
		}
		if err := f.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error: %v; want %s", err, want)
		}
	}
}

// A forward that goes and comes back begins anew, whatever the target remembers.
func TestRegisteredAnew(t *testing.T) {
	source, target := pair(t, true)
	f := start(t, config(source, target))
	source.insert("q", "a")
	drain(t, f)
	source.exec("select pgq.unregister_consumer('q', 'f')")
	source.insert("q", "b")
	if _, err := f.RunOnce(t.Context()); err == nil {
		t.Error("no error from a consumer that is gone")
	}
	source.exec("select pgq.register_consumer('q', 'f')")
	drain(t, f)
	source.insert("q", "c")
	drain(t, f)
	if diff := cmp.Diff([]string{"a", "c"}, target.data("p")); diff != "" {
		t.Error(diff)
	}
}

// Equal queues of several databases go into one queue.
func TestFanIn(t *testing.T) {
	target := newPlace(t, database(t))
	target.queue("p")
	var all []*forward.Forward
	var places []*place
	for range 3 {
		source := newPlace(t, database(t))
		source.queue("q")
		source.exec("select pgq.register_consumer('q', 'f')")
		places, all = append(places, source), append(all, start(t, config(source, target)))
	}
	var want []string
	for round := range 3 {
		for i, f := range all {
			text := fmt.Sprint(round, " of ", i)
			places[i].insert("q", text)
			want = append(want, text)
			drain(t, f)
		}
	}
	if diff := cmp.Diff(want, target.data("p")); diff != "" {
		t.Error(diff)
	}
}

// Every statement of a batch may fail, before and after it ran: the target has every
// event once, in order.
func TestEveryFault(t *testing.T) {
	both(t, func(t *testing.T, source, target *place) {
		target.queue("r")
		for _, c := range []struct {
			split, match string
			after        bool
			want         []string
			least        int // statements
		}{
			{"", "", false, []string{"a", "b", "c", "d", "e"}, 10},
			{"", "", true, []string{"a", "b", "c", "d", "e"}, 10},
			{"ev_extra1", "insert_events($1", true, []string{"a", "c", "e"}, 5},
		} {
			for nth := 1; ; nth++ {
				config := config(source, target)
				config.Fetch = 2
				if c.split != "" {
					config.To, config.Split = "", c.split
				}
				f := start(t, config)
				for i, text := range []string{"a", "b", "c", "d", "e"} {
					source.exec("select pgq.insert_event('q', 't', $1, $2, null, null, null)", text, []string{"p", "r"}[i%2])
				}
				source.tick("q")
				fault := &pg.Fault{Match: c.match, Nth: nth, After: c.after}
				_, err := f.RunOnce(pg.WithFault(t.Context(), fault))
				if hit := fault.Hit(); (err == nil) != (hit == "") {
					t.Errorf("statement %d %s: error %v", nth, hit, err)
				}
				drain(t, f)
				f.Close()
				if diff := cmp.Diff(c.want, target.data("p")); diff != "" {
					t.Fatalf("statement %d (after: %v), %s:\n%s", nth, c.after, fault.Hit(), diff)
				}
				if got := target.data("r"); c.split != "" && !slices.Equal(got, []string{"b", "d"}) {
					t.Fatalf("statement %d, %s: %v", nth, fault.Hit(), got)
				}
				if fault.Hit() == "" {
					if nth <= c.least {
						t.Errorf("only %d statements", nth-1)
					}
					break
				}
			}
		}
	})
}
