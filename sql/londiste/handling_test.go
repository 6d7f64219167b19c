package londiste_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql/londiste"
)

// Every handler of the original is read, and those that are refused say why.
func TestParseHandling(t *testing.T) {
	parts := func(p londiste.Parts) londiste.Handling { return londiste.Handling{Parts: &p} }
	for text, want := range map[string]londiste.Handling{
		"":                                    {},
		"londiste":                            {},
		"bulk(method=2)":                      {Apply: "bulk"},
		"fake_local":                          {Apply: "virtual"},
		"part(hash_key=id,ignore_truncate=1)": {Shard: &londiste.Shard{Key: "id"}, Truncate: "no"},
		"multimaster(timefield=at&altpk=x)":   {Newest: map[string]string{"timefield": "at", "altpk": "x"}},
		"dispatch":                            parts(londiste.Parts{By: "batch_time", Period: "day"}),
		"hourly_event":                        parts(londiste.Parts{By: "event_time", Period: "hour", Rows: "keep_latest"}),
		"bulk_yearly_time(row_mode=plain)":    parts(londiste.Parts{By: "current_time", Period: "year"}),
		"daily_field(part_field=at)":          parts(londiste.Parts{By: "field", Field: "at", Period: "day", Rows: "keep_latest"}),
		"monthly_batch(retention_period=3+months&ignore_old_events=1)": parts(londiste.Parts{By: "batch_time", Period: "month", Rows: "keep_latest", Retention: "3 months", SkipOld: "yes"}),
		"direct":                      {},
		"bulk_direct":                 {Apply: "bulk"},
		"bulk_direct(method=3)":       parts(londiste.Parts{Events: []string{"I"}}),
		"dispatch(table_mode=ignore)": {Apply: "nothing"},
		"direct(event_types=I,U)":     parts(londiste.Parts{Events: []string{"I", "U"}}),
	} {
		d := londiste.Dict{}
		if text != "" {
			d.Set(londiste.AttrHandler, text)
		}
		got, err := londiste.ParseHandling(d)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		again := londiste.Dict{}
		got.Write(again)
		if back, err := londiste.ParseHandling(again); err != nil || !cmp.Equal(got, back) {
			t.Errorf("%s is written as %s, and read as %+v (%v)", text, again, back, err)
		}
	}
	for _, text := range []string{"nop", "weekly_event", "obfuscate", "shard", "shard(key=a&hashexpr=b)", "daily_field", "daily_event(fields=a)", "dispatch(part_template=x)",
		"dispatch(period=week)", "applyfn", "qsplitter()", "londiste(a", "bulk(x=1)"} {
		d := londiste.Dict{}
		d.Set(londiste.AttrHandler, text)
		if got, err := londiste.ParseHandling(d); err == nil {
			t.Errorf("%s is read as %+v", text, got)
		}
	}
}
