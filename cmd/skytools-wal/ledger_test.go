package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// A ledger knows, outside of the server, which rows were committed, and up to which
// position of WAL at most each of them stands.
type ledger struct {
	mu      sync.Mutex
	tried   map[int32]int64   // the last number of each writer
	commits map[int32][]entry // in order; not those of which nobody heard
	end     context.CancelFunc
	writers sync.WaitGroup
}

// An entry is a row whose commit was acknowledged.
type entry struct {
	seq int64
	at  sql.LSN // not before its commit; the last of all where the server did not say
}

const writers = 3

// keep begins to write, until stop.
func (w *soak) keep(seed uint64) *ledger {
	ctx, cancel := context.WithCancel(w.t.Context())
	l := &ledger{tried: map[int32]int64{}, commits: map[int32][]entry{}, end: cancel}
	for n := range int32(writers) {
		r := rand.New(rand.NewPCG(seed, uint64(n)+1))
		l.writers.Go(func() { l.write(ctx, w.server.DSN("postgres"), n, r) })
	}
	w.t.Cleanup(l.stop)
	return l
}

func (l *ledger) stop() {
	l.end()
	l.writers.Wait()
}

// write commits a row after the other. What was begun ends when ctx has ended.
func (l *ledger) write(ctx context.Context, dsn string, writer int32, r *rand.Rand) {
	var conn *pg.Conn
	defer func() { conn.Close() }()
	working := context.WithoutCancel(ctx)
	for seq := int64(1); ctx.Err() == nil; {
		if conn == nil || conn.Closed() {
			conn.Close()
			var err error
			if conn, err = pg.Dial(working, dsn, pg.Options{App: "writer"}); err != nil {
				conn = nil
				time.Sleep(50 * time.Millisecond)
				continue
			}
		}
		l.try(writer, seq)
		// The message makes WAL, and no table grow.
		_, err := conn.Exec(working, `
			with row as (insert into ledger values ($1, $2) returning 1)
			select pg_logical_emit_message(true, 'soak', repeat(md5($2::text), $3)) from row`, writer, seq, r.IntN(400))
		if err == nil {
			l.acknowledge(writer, entry{seq, position(working, conn)})
		}
		seq++
		time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
	}
}

// position is where the server's WAL ends now.
func position(ctx context.Context, conn *pg.Conn) sql.LSN {
	text, err := pg.One[string](ctx, conn, "select pg_current_wal_insert_lsn()::text")
	if err != nil {
		return ^sql.LSN(0)
	}
	at, err := sql.ParseLSN(text)
	if err != nil {
		return ^sql.LSN(0)
	}
	return at
}

func (l *ledger) try(writer int32, seq int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried[writer] = seq
}

func (l *ledger) acknowledge(writer int32, e entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commits[writer] = append(l.commits[writer], e)
}

// acked is how many rows there must be in the end, at least.
func (l *ledger) acked() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, all := range l.commits {
		n += len(all)
	}
	return n
}

// compare says what is wrong with rows of which all must be there that are before a
// position. They are in order, writer by writer.
func (l *ledger) compare(rows map[int32][]int64, upTo sql.LSN) (wrong []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for writer, there := range rows {
		for i := 1; i < len(there); i++ {
			if there[i] == there[i-1] {
				say("row %d of writer %d is there twice", there[i], writer)
			}
		}
		if last := there[len(there)-1]; last > l.tried[writer] {
			say("row %d of writer %d was never written", last, writer)
		}
	}
	for writer, commits := range l.commits {
		there, last := rows[writer], int64(0)
		if len(there) > 0 {
			last = there[len(there)-1]
		}
		for _, e := range commits {
			_, found := slices.BinarySearch(there, e.seq)
			switch {
			case found:
			case e.at <= upTo:
				say("row %d of writer %d, committed before %s, is lost, and all up to %s should be there", e.seq, writer, e.at, upTo)
			case e.seq < last:
				say("row %d of writer %d is missing, and %d is there", e.seq, writer, last)
			}
		}
	}
	return wrong
}
