package cascade_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// The text of an event's time is what the server would say.
func TestTimesOfEvents(t *testing.T) {
	t.Parallel()
	conn := sandboxtest.Database(t).Conn(t)
	type row struct {
		Text   string
		Micros int64
	}
	all, err := pg.Structs[row](t.Context(), conn, `
		select x::timestamptz::text as text,
		       case when isfinite(x::timestamptz) then (extract(epoch from x::timestamptz) * 1000000 - 946684800000000)::int8
		            when x = 'infinity' then 9223372036854775807 else -9223372036854775808 end as micros
		  from (select set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true)) s,
		       unnest(array['2026-11-28 18:00:00.5+00', '2000-01-01', '1999-12-31 23:59:59.999999+00', '1969-07-20 20:17:40.000001+00', 'infinity', '-infinity',
		                    '0001-01-01', '0001-12-31 BC', '0001-02-29 12:00:00.25 BC', '4713-01-01 BC', '0044-03-15 BC', '99999-12-31', '294276-12-31 12:00:00']) x`)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if diff := cmp.Diff(r.Text, string((&replay.Event{Time: r.Micros}).When())); diff != "" {
			t.Error(diff)
		}
	}
	if len(all) != 13 {
		t.Errorf("%d times", len(all))
	}
}
