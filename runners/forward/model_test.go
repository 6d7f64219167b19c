package forward_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/forward"
	"github.com/skytools-go/skytools/sql/pg"
)

// TestModel lets producers commit and roll back while the forward dies at random
// statements, before and after these ran, and comes back as a new process would. In
// the end the target has what was committed, as another consumer of the source reads
// it: batch by batch, in order, once.
func TestModel(t *testing.T) {
	both(t, func(t *testing.T, source, target *place) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var mu sync.Mutex
		var written []string
		var producers, others sync.WaitGroup
		for p := range 3 {
			conn := source.db.Conn(t)
			producers.Go(func() {
				rollback := errors.New("rolled back")
				for i := range 60 {
					var texts []string
					err := conn.Write(ctx, func(tx *pg.Tx) error {
						for k := range 1 + rand.N(4) {
							text := fmt.Sprintf("%d-%d-%d", p, i, k)
							if _, err := tx.Exec(ctx, "select pgq.insert_event('q', 't', $1)", text); err != nil {
								return err
							}
							texts = append(texts, text)
							time.Sleep(time.Duration(rand.N(8)) * time.Millisecond)
						}
						if rand.N(5) == 0 {
							return rollback
						}
						return nil
					})
					switch {
					case err == nil:
						mu.Lock()
						written = append(written, texts...)
						mu.Unlock()
					case err != rollback:
						t.Error(err)
						return
					}
				}
			})
		}
		ticker := source.db.Conn(t)
		others.Go(func() {
			for ctx.Err() == nil {
				if _, err := ticker.Exec(ctx, "select pgq.ticker('q')"); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
				time.Sleep(40 * time.Millisecond) // a forward that dies often must be able to follow
			}
		})
		var deaths atomic.Int64
		others.Go(func() {
			for ctx.Err() == nil {
				c := config(source, target)
				c.Fetch = 1 + rand.N(5)
				f := forward.New(c)
				if err := f.Run(pg.WithFault(ctx, &pg.Fault{Nth: 4 + rand.N(18), After: rand.N(2) == 0})); err != nil && ctx.Err() == nil {
					deaths.Add(1)
				}
			}
		})
		producers.Wait()
		stop()
		others.Wait()
		source.tick("q")
		drain(t, start(t, config(source, target)))
		got, want := target.data("p"), source.data("q")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-read at the source +copied):\n%s", diff)
		}
		slices.Sort(written)
		slices.Sort(got)
		if diff := cmp.Diff(written, got); diff != "" {
			t.Errorf("(-committed +copied):\n%s", diff)
		}
		t.Logf("%d events, %d deaths", len(written), deaths.Load())
		if len(written) < 50 || deaths.Load() == 0 {
			t.Error("too little has happened")
		}
	})
}
