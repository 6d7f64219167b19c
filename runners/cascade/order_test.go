package cascade_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestOrderOfEvents reads a batch that the server does not find in order: whoever puts it
// in order, events come by their ids, each once. A batch that is larger than it seemed is
// read again, in order.
func TestOrderOfEvents(t *testing.T) {
	t.Parallel()
	root := newRoot(t, sandboxtest.Server(t), "root")
	for _, query := range []string{
		"alter database " + root.db.Name + " set enable_seqscan = off", // in the order of transactions
		"select pgq.register_consumer('shop', 'reader')",
	} {
		root.run(query)
	}
	var writers []*pg.Conn
	for range 3 {
		conn, err := pg.Dial(t.Context(), root.db.DSN, pg.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.Script(t.Context(), "begin; select txid_current()"); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, conn)
	}
	var want []string
	for i := range 3000 { // the last transaction begins
		text := strings.Repeat(string(rune('a'+i%26)), 1+i%40)
		if _, err := writers[2-i%3].Exec(t.Context(), "select pgq.insert_event('shop', 'text', $1)", text); err != nil {
			t.Fatal(err)
		}
		want = append(want, text)
	}
	for _, conn := range writers {
		if err := conn.Script(t.Context(), "commit"); err != nil {
			t.Fatal(err)
		}
	}
	root.tick()
	read := func(want []string) (queries int) {
		t.Helper()
		seen := &pg.Fault{Match: "from pgq.event_"}
		ctx := pg.WithFault(t.Context(), seen)
		conn, err := pg.Dial(ctx, root.db.DSN, pg.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		source := &replay.Source{Conn: conn, Queue: queue, Consumer: "reader", Weight: &replay.Weight{}}
		b, err := source.Next(ctx)
		if err != nil || b == nil {
			t.Fatalf("there is no batch: %v", err)
		}
		if got := collect(ctx, t, source, b); !cmp.Equal(got, want) {
			t.Errorf("%d events came, of %d, or in another order", len(got), len(want))
		}
		return seen.Seen()
	}
	if queries := read(want); queries != 1 {
		t.Errorf("a small batch took %d queries", queries)
	}
	root.run("select pgq.finish_batch(sub_batch) from pgq.subscription where sub_batch is not null")
	root.run("select pgq.insert_event('shop', 'text', repeat(chr(47 + i), 1000000)) from generate_series(1, 70) i")
	root.tick()
	want = nil
	for i := range 70 {
		want = append(want, strings.Repeat(string(rune(48+i)), 1_000_000))
	}
	if queries := read(want); queries != 2 {
		t.Errorf("a batch that is larger than it seemed took %d queries", queries)
	}
}

func collect(ctx context.Context, t *testing.T, source *replay.Source, b *replay.Batch) (all []string) {
	t.Helper()
	err := source.Each(ctx, b, func(e *replay.Event) error {
		if string(e.Type) == "text" {
			all = append(all, string(e.Data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
