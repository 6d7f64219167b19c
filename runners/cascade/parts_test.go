package cascade_test

import (
	"strings"
	"testing"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestParts spreads rows over parts by each time, in each way, as handlers of the
// dispatch family and as our own attribute.
func TestParts(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	handlers := map[string]string{
		"public.latest":   "monthly_field(part_field=at)",
		"public.every":    "bulk_daily_event(row_mode=keep_all)",
		"public.inserted": "dispatch(part_mode=date_field&part_field=at&period=year&event_types=I&retention_period=2 years&ignore_old_events=1)",
		"public.straight": "bulk_direct(row_mode=keep_latest)",
		"public.ours":     "",
	}
	for name := range handlers {
		root.run(sprintf("create table %[1]s (id int primary key, at timestamp, v text)", name))
		key := " primary key"
		if name == "public.every" {
			key = ""
		}
		leaf.run(sprintf("create table %[1]s (id int"+key+", at timestamp, v text)", name))
		if name == "public.every" { // registration wants a key, every version of a row wants none
			leaf.run("alter table every add nr serial primary key")
		}
		root.addTable(name, londiste.AddTable{})
	}
	root.tick()
	w := cascade.New(leaf.config())
	defer w.Close()
	drain(t, w)
	for name, handler := range handlers {
		if handler == "" {
			leaf.handled(name, londiste.Handling{Parts: &londiste.Parts{By: "field", Field: "at", Period: "hour"}}, "expect_sync")
			continue
		}
		attrs := londiste.Dict{}
		attrs.Set(londiste.AttrHandler, strings.ReplaceAll(handler, " ", "+"))
		leaf.addTable(name, londiste.AddTable{Args: []string{"expect_sync"}, Attrs: attrs})
		root.run(sprintf("insert into %[1]s values (1, date_trunc('year', now()) + '1 hour', 'a'), (2, date_trunc('year', now()) + '40 days', 'a'), (3, '2001-01-01', 'a')", name))
	}
	root.run("insert into ours values (1, '2026-08-23 09:30:00', 'a')")
	root.tick()
	drain(t, w)
	for name := range handlers {
		root.run(sprintf("update %[1]s set v = 'b' where id = 1; delete from %[1]s where id = 2", name))
	}
	root.tick()
	drain(t, w)
	year := leaf.text("select to_char(now(), 'YYYY')")
	for query, want := range map[string]string{
		"select string_agg(id || v || ' ' || tableoid::regclass, ', ' order by id) from latest":   "1b latest_" + year + "_01, 3a latest_2001_01",
		"select string_agg(id || v, ', ' order by id, v) from every":                              "1a, 1b, 2a, 3a",
		"select count(distinct tableoid::regclass)::text from every":                              "1",
		"select string_agg(id || v || ' ' || tableoid::regclass, ', ' order by id) from inserted": "1a inserted_" + year + ", 2a inserted_" + year,
		"select string_agg(id || v || ' ' || tableoid::regclass, ', ' order by id) from straight": "1b straight, 3a straight",
		"select string_agg(id || v || ' ' || tableoid::regclass, ', ' order by id) from ours":     "1b ours_2026_08_23_09",
	} {
		if got := leaf.text(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	root.run("truncate latest; insert into ours values (5, null, 'x')")
	root.tick()
	if _, err := w.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "is no time to choose a part by") {
		t.Errorf("a row without a time: %v", err)
	}
	leaf.must(londiste.LocalRemoveTable(queue, "public.ours"))
	drain(t, w)
	if got := leaf.text("select count(*)::text from latest"); got != "0" {
		t.Errorf("TRUNCATE left %s rows in parts", got)
	}
}
