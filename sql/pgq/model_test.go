package pgq_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql/pg"
)

// A producer has at most one transaction open, with the events it wrote in there.
type producer struct {
	conn    *pg.Conn
	open    bool
	old     bool // repeatable read
	pending []string
}

// Random transactions stay open across ticks and rotations, some of them rolled
// back, some in repeatable read. Each of two consumers must get each committed
// event exactly once, and none other.
func TestBatchesAgainstModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			db := installed(t)
			conn := db.Conn(t)
			run(t, conn, []step{
				{"select pgq.create_queue('q'), pgq.register_consumer('q', 'c0'), pgq.register_consumer('q', 'c1')", "(1,1,1)"},
				{rotateFreely, ""},
			})
			producers := make([]*producer, 5)
			for i := range producers {
				producers[i] = &producer{conn: db.Conn(t)}
			}
			var committed []string
			var got [2][]string
			consume := func(i int) bool {
				batch := answer(t.Context(), conn, fmt.Sprintf("select pgq.next_batch('q', 'c%d')", i))
				if batch == "()" {
					return false
				}
				if events := answer(t.Context(), conn, "select ev_data from pgq.get_batch_events("+batch+")"); events != "" {
					got[i] = append(got[i], strings.Split(events, "\n")...)
				}
				run(t, conn, []step{{"select pgq.finish_batch(" + batch + ")", "(1)"}})
				return true
			}

			rotations, serial := 0, 0
			for range 700 {
				p := producers[random.IntN(len(producers))]
				switch n := random.IntN(24); {
				case n < 6 && !p.open:
					p.open, p.old = true, random.IntN(3) == 0
					begin := "!begin"
					if p.old {
						begin = "!begin isolation level repeatable read"
					}
					run(t, p.conn, []step{{begin, ""}, {"select count(*) from pgq.queue", "(1)"}})
				case n < 10 && p.open:
					serial++
					data := fmt.Sprintf("(e%d)", serial)
					run(t, p.conn, []step{{fmt.Sprintf("select pgq.insert_event('q', 't', 'e%d') is not null", serial), "(t)"}})
					p.pending = append(p.pending, data)
				case n < 14 && p.open:
					if random.IntN(4) == 0 {
						run(t, p.conn, []step{{"!rollback", ""}})
					} else {
						run(t, p.conn, []step{{"!commit", ""}})
						committed = append(committed, p.pending...)
					}
					p.open, p.pending = false, nil
				case n < 17:
					run(t, conn, []step{{"select pgq.ticker('q') is null", whatever}})
				case n < 20:
					for consume(random.IntN(2)) {
					}
				case n < 22:
					before := answer(t.Context(), conn, "select queue_cur_table from pgq.queue")
					run(t, conn, []step{{"select pgq.maint_rotate_tables_step1('q')", "(0)"}})
					if answer(t.Context(), conn, "select queue_cur_table from pgq.queue") != before {
						rotations++
					}
				case n < 24:
					run(t, conn, []step{{"select pgq.maint_rotate_tables_step2()", "(0)"}})
				}
			}

			for _, p := range producers {
				if p.open {
					run(t, p.conn, []step{{"!commit", ""}})
					committed = append(committed, p.pending...)
				}
			}
			run(t, conn, []step{{"select pgq.ticker('q') is null", "(f)"}})
			slices.Sort(committed)
			for i := range got {
				for consume(i) {
				}
				slices.Sort(got[i])
				if diff := cmp.Diff(committed, got[i]); diff != "" {
					t.Errorf("consumer %d (-committed +delivered):\n%s", i, diff)
				}
			}
			if len(committed) < 20 || rotations < 3 {
				t.Errorf("too little happened: %d events, %d rotations", len(committed), rotations)
			}
		})
	}
}
