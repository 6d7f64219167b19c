package applier_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skytools-go/skytools/applier"
	"github.com/skytools-go/skytools/applier/observe"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/standby"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
	sqlstandby "github.com/skytools-go/skytools/sql/standby"
)

// pair is a primary, of which hub is a database, and its standby b, which is not made yet.
type pair struct {
	*world
	b    *standby.Standby
	yaml string
}

func newPair(t *testing.T) *pair {
	t.Helper()
	s := sandboxtest.Private(t, sandbox.Options{})
	w := &world{T: t, dbs: map[string]*sandboxtest.DB{"hub": sandboxtest.DatabaseOn(t, s, "template1")}}
	place := backuptest.Dir(t, "standby")
	b := &standby.Standby{
		Name: "b", Data: filepath.Join(place, "data"), Follow: standby.Stream, Primary: w.dbs["hub"].DSN, Bin: s.Install.Bin, Patience: time.Minute,
		DSN: fmt.Sprintf("host=%s user=%s dbname=postgres", place, sandbox.User), Settings: map[string]string{"unix_socket_directories": place},
	}
	p := &pair{w, b, fmt.Sprintf("standbys: {b: {of: hub, dsn: %q, data_dir: %s}}\n", b.DSN, b.Data)}
	t.Cleanup(func() { p.end(syscall.SIGQUIT) })
	return p
}

// end stops the standby, if it runs.
func (p *pair) end(how syscall.Signal) {
	text, err := os.ReadFile(filepath.Join(p.b.Data, "postmaster.pid"))
	if err != nil {
		return
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, _ := strconv.Atoi(first)
	syscall.Kill(pid, how)
	for range 500 {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.Errorf("the standby does not end")
}

// with is the YAML with more keys of the standby.
func (p *pair) with(keys string) string { return strings.Replace(p.yaml, "}}", ", "+keys+"}}", 1) }

// look observes as the command does.
func (p *pair) look(yaml string) *planner.Live {
	p.Helper()
	targets := []observe.Target{{Name: "b", DSN: func(context.Context) (string, error) { return p.b.DSN, nil }, Standby: true}}
	for name, db := range p.dbs {
		targets = append(targets, observe.Target{Name: name, DSN: func(context.Context) (string, error) { return db.DSN, nil }})
	}
	live, err := observe.Cluster(p.Context(), targets, observe.Options{})
	if err != nil {
		p.Fatal(err)
	}
	return live
}

func (p *pair) plan(yaml string, allow ...string) *planner.Plan {
	p.Helper()
	o := planner.Options{Now: time.Now()}
	for _, text := range allow {
		a, err := planner.ParseApproval(text)
		if err != nil {
			p.Fatal(err)
		}
		o.Allow = append(o.Allow, a)
	}
	plan, err := planner.Build(p.set(yaml), p.look(yaml), o)
	if err != nil {
		p.Fatal(err)
	}
	return saved(p.T, plan)
}

// apply plans, applies, and requires that nothing is left, and that again is already.
func (p *pair) apply(yaml string, allow ...string) *planner.Plan {
	p.Helper()
	plan := p.plan(yaml, allow...)
	work := p.applier()
	work.DSN = func(_ context.Context, node string) (string, error) {
		if node == "b" {
			return p.b.DSN, nil
		}
		return p.dbs[node].DSN, nil
	}
	for _, again := range []bool{false, true} {
		o, err := work.Apply(p.Context(), plan)
		if err != nil || !again && o.Done == 0 || again && o.Done > 0 {
			p.Fatalf("again %t: %+v, %v", again, o, err)
		}
	}
	if left := p.plan(yaml); !left.Empty() {
		p.Fatalf("left to do: %+v, %+v", left.Changes, left.Diagnostics)
	}
	return plan
}

func (p *pair) drift(yaml string) *planner.Drift {
	p.Helper()
	d, err := planner.FindDrift(p.set(yaml), p.look(yaml), planner.Options{Now: time.Now()})
	if err != nil {
		p.Fatal(err)
	}
	return d
}

// TestStandby: the life of a declared standby. Its slot is made before it is; what it does
// by itself is applied on it, recorded on its primary, and seen when it changes; commits
// wait for it only while it streams, and that can be ended while they do.
func TestStandby(t *testing.T) {
	p := newPair(t)
	ctx := t.Context()
	p.apply(p.yaml)
	one := func(text string) string { t.Helper(); return sandboxtest.One[string](t, p.dbs["hub"], text) }
	if got := one("select string_agg(slot_name || ' ' || wal_status, ', ') from pg_replication_slots"); got != "b reserved" {
		t.Errorf("slots: %s", got)
	}
	if early := p.plan(p.with("sync: true")); !slices.ContainsFunc(early.Diagnostics, func(d planner.Diagnostic) bool { return d.Code == "not-streaming" }) {
		t.Errorf("sync before it streams: %+v", early.Diagnostics)
	}
	if _, err := p.b.Create(ctx, standby.Creating{Copy: true, Start: true}); err != nil {
		t.Fatal(err)
	}

	all := p.with("delay: 30m, replay: paused")
	plan := p.apply(all)
	if !slices.ContainsFunc(plan.Steps, func(s *planner.Step) bool { return s.Address.String() == "replay/b@b" && s.RecordedIn == "hub" }) {
		t.Errorf("steps: %+v", plan.Steps)
	}
	if st := p.b.State(ctx); !st.Paused || st.Delay != 1800 {
		t.Errorf("state: %+v", st)
	}
	if got := one("select string_agg(address || ' ' || outcome, ', ' order by id) from skytools.step_log where address like 'replay/%'"); !strings.HasPrefix(got, "replay/b@b done") {
		t.Errorf("log: %s", got)
	}
	if err := p.b.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	d := p.drift(all)
	if len(d.Drifted) != 1 || d.Drifted[0].Address.String() != "replay/b@b" || len(d.Drifted[0].Fields) != 1 || d.Drifted[0].Fields[0].Path != "replay" {
		t.Errorf("drift: %+v", d.Drifted)
	}
	p.apply(p.with("delay: 0s"))
	p.settings()
	p.moves()

	sync := p.with("sync: true")
	stale := p.plan(sync)
	p.apply(sync)
	p.dbs["hub"].Script(t, "create table t ()")
	if got := one("select sync_state from pg_stat_replication"); got != "sync" {
		t.Errorf("the standby is %s", got)
	}
	p.end(syscall.SIGQUIT)
	down := p.plan(p.yaml) // it cannot be looked at, but commits can be set free
	work := p.applier()
	work.DSN = func(context.Context, string) (string, error) { return p.dbs["hub"].DSN, nil }
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if o, err := work.Apply(limited, down); err != nil || o.Done != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	if got := one("select current_setting('synchronous_standby_names')"); got != "" {
		t.Errorf("commits wait for %s", got)
	}
	// A plan from before, applied now, would make them wait for ever.
	stale.Steps = slices.DeleteFunc(stale.Steps, func(s *planner.Step) bool { return s.Address.Kind != "standby" })
	var part *applier.PartError
	if _, err := work.Apply(ctx, stale); !errors.As(err, &part) || !strings.Contains(part.Error(), "commits would wait for b, which does not stream") {
		t.Errorf("an old plan: %v", err)
	}
	p.applyHere(work, p.with("state: absent"), "drops-slot:standby/b@hub")
	if got := one("select count(*)::text from pg_replication_slots"); got != "0" {
		t.Errorf("%s slots are left", got)
	}
	if got := one("select count(*)::text from skytools.applied where address like '%/b@%' or address like '%@b'"); got != "0" {
		t.Errorf("%s records are left", got)
	}
}

// settings are applied where a reload does it, told where it does not, and seen to change.
func (p *pair) settings() {
	p.Helper()
	yaml := p.with(`settings: {work_mem: 0.5GB, log_line_prefix: "it's %m ", hot_standby_feedback: "YES", max_connections: "1234"}`)
	plan := p.apply(yaml)
	var told []string
	for _, d := range plan.Diagnostics {
		told = append(told, d.Code+" "+d.Address)
	}
	if !slices.Equal(told, []string{"needs-restart setting/max_connections@b"}) || len(plan.Steps) != 3 || plan.Steps[0].RecordedIn != "hub" {
		p.Errorf("told %v, steps %+v", told, plan.Steps)
	}
	conn, err := pg.Dial(p.Context(), p.b.DSN, pg.Options{})
	if err != nil {
		p.Fatal(err)
	}
	defer conn.Close()
	if got, err := pg.One[string](p.Context(), conn, "select concat_ws(', ', current_setting('work_mem'), current_setting('log_line_prefix'), current_setting('hot_standby_feedback'))"); err != nil || got != "512MB, it's %m , on" {
		p.Errorf("the standby has %s, %v", got, err)
	}
	for _, text := range []string{"alter system set work_mem = '3MB'", "select pg_reload_conf(), pg_sleep(1)"} {
		if _, err := conn.Exec(p.Context(), text); err != nil {
			p.Fatal(err)
		}
	}
	d := p.drift(yaml)
	if len(d.Drifted) != 1 || d.Drifted[0].Address.String() != "setting/work_mem@b" || len(d.Drifted[0].Fields) != 1 || d.Drifted[0].Fields[0].After != "3MB" {
		p.Errorf("drift: %+v", d.Drifted)
	}
	p.apply(yaml)
}

// moves lets the standby follow its primary by another way to the same server, and look into
// an archive no longer; a password that somebody wrote into the conninfo is not read.
func (p *pair) moves() {
	p.Helper()
	conn, err := pg.Dial(p.Context(), p.b.DSN, pg.Options{})
	if err != nil {
		p.Fatal(err)
	}
	defer conn.Close()
	do := func(texts ...string) {
		p.Helper()
		for _, text := range append(texts, "select pg_reload_conf(), pg_sleep(1)") {
			if _, err := conn.Exec(p.Context(), text); err != nil {
				p.Fatal(err)
			}
		}
	}
	before, err := pg.One[string](p.Context(), conn, "show primary_conninfo")
	if err != nil {
		p.Fatal(err)
	}
	place, ok := sqlstandby.Place(before)
	if !ok {
		p.Fatalf("it follows %s", before)
	}
	there := strings.TrimSuffix(strings.TrimPrefix(place, "host="), " port=5432")
	yaml := p.with(`delay: 0s, conninfo: "host='` + there + `' user=postgres"`)
	plan := p.plan(yaml)
	if len(plan.Changes) != 1 || plan.Changes[0].Action != planner.Adopt || plan.Changes[0].Name != "primary_conninfo" {
		p.Fatalf("changes: %+v", plan.Changes)
	}
	work := p.applier()
	work.DSN = func(_ context.Context, node string) (string, error) {
		return map[string]string{"b": p.b.DSN, "hub": p.dbs["hub"].DSN}[node], nil
	}
	if _, err := work.Apply(p.Context(), plan); err != nil {
		p.Fatal(err)
	}
	do("alter system set primary_conninfo = "+sql.Literal(sqlstandby.Moved(before, "host=/nowhere port=1")), "alter system set restore_command = 'false'")
	var drifted []string
	for _, d := range p.drift(yaml).Drifted {
		drifted = append(drifted, d.Address.String())
	}
	if !slices.Equal(drifted, []string{"setting/primary_conninfo@b", "setting/restore_command@b"}) {
		p.Errorf("drift: %v", drifted)
	}
	p.apply(yaml)
	for range 600 {
		st := p.b.State(p.Context())
		if st.Receiver == "streaming" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if st := p.b.State(p.Context()); st.Receiver != "streaming" {
		p.Errorf("it does not follow again: %+v", st)
	}

	do("alter system set primary_conninfo = " + sql.Literal(sqlstandby.Moved(before, "host=/nowhere port=1")+" password='it\\'s s3cret'"))
	seen, err := json.Marshal(p.look(yaml))
	if err != nil || strings.Contains(string(seen), "s3cret") {
		p.Errorf("the password was read, %v", err)
	}
	plan = p.plan(yaml)
	if len(plan.Steps) > 0 || !slices.ContainsFunc(plan.Diagnostics, func(d planner.Diagnostic) bool {
		return d.Code == "follows-otherwise" && strings.Contains(d.Message, "host=/nowhere port=1")
	}) {
		p.Errorf("steps %d, told %+v", len(plan.Steps), plan.Diagnostics)
	}
	do("alter system set primary_conninfo = " + sql.Literal(before))
}

// applyHere applies without looking at the standby.
func (p *pair) applyHere(work *applier.Applier, yaml string, allow ...string) {
	p.Helper()
	plan := p.plan(yaml, allow...)
	if o, err := work.Apply(p.Context(), plan); err != nil || o.Done == 0 {
		p.Fatalf("%+v, %v", o, err)
	}
}
