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
		"monthly_batch(retention_period=3+months&ignore_old_events=1)":         parts(londiste.Parts{By: "batch_time", Period: "month", Rows: "keep_latest", Retention: "3 months", SkipOld: "yes"}),
		"daily_event(part_name=%25(parent)s_%25(year)s_%25(month)s_%25(day)s)": parts(londiste.Parts{By: "event_time", Period: "day", Rows: "keep_latest"}),
		"daily_field(part_field=made&fields=id,at:made&part_func=f&pre_part=lock+%25(parent)s&post_part=analyze+%25(part)s)": parts(londiste.Parts{By: "field", Field: "at", Period: "day", Rows: "keep_latest",
			Create: "f", Before: "lock %(parent)s", After: "analyze %(part)s"}),
		"dispatch(part_func=f&part_template=create+table+%25(part)s+()+inherits+(%25(parent)s))": parts(londiste.Parts{By: "batch_time", Period: "day", SQL: "create table %(part)s () inherits (%(parent)s)"}),
		"direct": {}, "direct(fields=*)": {}, "bulk_direct(fields=a,b:c)": {Apply: "bulk"},
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
	for _, text := range []string{"nop", "weekly_event", "obfuscate", "shard", "shard(key=a&hashexpr=b)", "daily_field", "daily_event(fields=a:)", "daily_event(fields=a&skip_fields=a)",
		"dispatch(part_template=create+table+%25(name)s)", "dispatch(post_part=grant+select+on+%25(part)s+to+x%3B+commit)", "daily_event(part_name=%25(parent)s_%25(day)s)",
		"daily_field(part_field=at&fields=id)", "daily_field(part_field=at&skip_fields=at)", "daily_event(table=x)",
		"dispatch(period=week)", "applyfn", "qsplitter()", "londiste(a", "bulk(x=1)"} {
		d := londiste.Dict{}
		d.Set(londiste.AttrHandler, text)
		if got, err := londiste.ParseHandling(d); err == nil {
			t.Errorf("%s is read as %+v", text, got)
		}
	}
}

// The fields of a handler are a mapping of columns, and our own attribute goes before them.
func TestParseColumns(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"londiste": nil, "direct(fields=*)": nil, "nop": nil,
		"direct(fields=id,mail:email)":           {"*": "", "id": "id", "mail": "email"},
		"direct(skip_fields=notes,secret)":       {"notes": "", "secret": ""},
		"direct(fields=id&skip_fields=secret)":   {"*": "", "id": "id"},
		"hourly_event(fields= a : b , c )":       {"*": "", "a": "b", "c": "c"},
		"direct(fields=a:b,b:a&event_types=I,U)": {"*": "", "a": "b", "b": "a"},
	} {
		d := londiste.Dict{}
		d.Set(londiste.AttrHandler, text)
		got, err := londiste.ParseColumns(d)
		if diff := cmp.Diff(want, got); diff != "" || (err != nil) != (text == "nop") {
			t.Errorf("%s: %v (-want +got):\n%s", text, err, diff)
		}
		d.Set(londiste.AttrColumns, "a=z")
		if got, err := londiste.ParseColumns(d); err != nil || !cmp.Equal(got, map[string]string{"a": "z"}) {
			t.Errorf("%s and our attribute: %v, %v", text, got, err)
		}
	}
	for column, want := range map[string]string{"a": "b", "c": "", "d": ""} {
		if got := londiste.Here(map[string]string{"*": "", "a": "b", "c": ""}, column); got != want {
			t.Errorf("%s is %q", column, got)
		}
	}
	if got := londiste.Here(map[string]string{"*": "star"}, "a"); got != "a" {
		t.Errorf("a is %q beside a column *", got)
	}
}
