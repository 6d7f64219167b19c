package consume_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
)

// Names are only values, whatever stands in them.
func TestHostileNames(t *testing.T) {
	names := []string{`we"ird; drop table x`, `it's \ 100%`, "Ünïcödé 🐘", strings.Repeat("long ", 40), "a.b", " ", "q/c"}
	for _, elsewhere := range []bool{false, true} {
		w := newWorld(t, elsewhere)
		for _, name := range names {
			w.name = name
			w.makeQueue(name)
			for _, member := range []string{"", name} {
				var seen notes
				config := w.config()
				config.Consumer, config.Member, config.Register, config.DeadAfter = name, member, true, time.Hour
				if member != "" {
					config.Consumer += " coop"
				}
				c := w.consumer(config, consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
					seen.add("%s%d", e.Data, e.Retry)
					if e.Retry == 0 {
						return consume.RetryAfter(0)
					}
					return nil
				}))
				drain(t, c)
				w.insert("x")
				w.tick()
				drain(t, c)
				w.exec("select pgq.maint_retry_events()")
				w.tick()
				drain(t, c)
				if got := seen.take(); got != "x0 x1" {
					t.Errorf("%q, member %q: seen %s", name, member, got)
				}
			}
		}
	}
}
