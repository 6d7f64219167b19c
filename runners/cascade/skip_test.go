package cascade_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestSkipEvent gets past one event, and only past one that stops the node. A branch
// passes it on all the same.
func TestSkipEvent(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	branch := root.add(s, root, "branch", pgqnode.Branch)
	for _, n := range []*node{root, branch} {
		n.run("create table t (id int primary key, v text); create table u (id int primary key)")
	}
	root.addTable("public.t", londiste.AddTable{})
	root.addTable("public.u", londiste.AddTable{})
	root.tick()
	var log bytes.Buffer
	config := branch.config()
	config.Log = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})
	w := cascade.New(config)
	defer w.Close()
	drain(t, w)
	branch.addTable("public.t", londiste.AddTable{Args: []string{"expect_sync"}})
	branch.addTable("public.u", londiste.AddTable{Args: []string{"expect_sync"}})
	branch.run("alter table t add check (v <> 'bad')")
	root.run("insert into t values (1, 'good'); insert into t values (2, 'bad'), (3, 'good'); insert into u values (1)")
	root.tick()
	_, failed := w.RunOnce(t.Context())
	if failed == nil {
		t.Fatal("the event was applied")
	}
	event, _, _ := strings.Cut(failed.Error()[strings.Index(failed.Error(), "event ")+6:], ":")
	id, err := strconv.ParseInt(event, 10, 64)
	if err != nil {
		t.Fatalf("%v names no event", failed)
	}
	here, above := branch.db.Conn(t), root.db.Conn(t)
	ask := replay.Skipping{Queue: queue, Table: "public.t", Event: id, Because: "v is bad, ticket 7", By: "me@here"}
	for want, change := range map[string]func(*replay.Skipping){
		"is not about event 1:":           func(a *replay.Skipping) { a.Event = 1 },
		"is about public.t, not public.u": func(a *replay.Skipping) { a.Table = "public.u" },
		"give a reason":                   func(a *replay.Skipping) { a.Because = " " },
		"has stored no error":             func(a *replay.Skipping) { a.Queue = "none" },
	} {
		wrong := ask
		change(&wrong)
		if _, err := replay.Skip(t.Context(), here, above, wrong); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	branch.db.Install(t, meta.Schema)
	if _, err := replay.Skip(t.Context(), here, above, ask); err != nil {
		t.Fatal(err)
	}
	drain(t, w)
	if got := branch.rows("t") + " " + branch.rows("u"); got != "(1,good)\n(3,good) (1)" {
		t.Errorf("rows: %s", got)
	}
	if got := branch.text("select concat_ws(' ', event_id, table_name, consumer, because, by, error like '%check%', event ->> 'ev_extra1', skipped is not null, tick = (select max(tick_id) from pgq.tick)) from skytools.skipped_event"); got !=
		event+" public.t branch_worker v is bad, ticket 7 me@here t public.t t t" {
		t.Errorf("recorded: %s", got)
	}
	if got := branch.text("select count(*)::text from pgq.event_template where ev_id = $1::text::int8", event); got != "1" {
		t.Errorf("%s of the event went on", got)
	}
	if !strings.Contains(log.String(), "an event was left out") || !strings.Contains(log.String(), "ticket 7") {
		t.Errorf("logged: %s", log.String())
	}
	if _, err := replay.Skip(t.Context(), here, above, ask); err == nil || !strings.Contains(err.Error(), "no error") {
		t.Errorf("a second time: %v", err)
	}
}
