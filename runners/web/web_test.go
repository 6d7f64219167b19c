package web_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/group"
	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/runners/wal/standby"
	"github.com/skytools-go/skytools/runners/web"
)

func server() *web.Server {
	lag := 75.5
	return &web.Server{
		Cluster: "shop <b>",
		Loops: func() []group.Status {
			return []group.Status{{Name: "tick@hub", State: group.Running, Since: time.Now()}, {Name: "replay shop@edge", State: group.Failing, Error: "no luck", Failures: 3}}
		},
		Collect: func(context.Context) *status.Report {
			return &status.Report{At: time.Now(), Problems: []string{"node/shop@edge: <script>alert(1)</script>"}, Databases: []status.Database{
				{Name: "hub", Server: "15.1", Queues: []status.Queue{{Name: "shop", LastTick: 7, Consumers: []status.Consumer{{Name: `we"ird`, Pending: 3, Lag: 1}}}}, Nodes: []status.Node{{Queue: "shop", Name: "hub", Type: "root", Tick: 7, Rival: "edge"}}},
				{Name: "edge", Nodes: []status.Node{{Queue: "shop", Name: "edge", Type: "leaf", Provider: "hub", Tick: 5, Lag: &lag, Error: "no luck", Tables: []status.Table{{Name: "public.t", State: "in-copy", Progress: 0.42}}}}},
				{Name: "lost", Error: "connect: refused"},
			}, Standbys: []status.Standby{{Of: "hub", State: standby.State{Name: "b", Role: standby.Following, Timeline: 3, LagBytes: new(int64(2 << 20)), Receiver: "streaming", Paused: true, Slot: &standby.Slot{Exists: true, Retained: 5}}}},
				Archives: []status.Archive{{Name: "wal", Of: "hub", Missed: []status.Missed{{Count: 3}}}, {Name: "old", Of: "lost", Error: "no key"}}}
		},
	}
}

func get(t *testing.T, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	server().Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body, _ := io.ReadAll(w.Result().Body)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d\n%s", path, w.Code, body)
	}
	return string(body)
}

func TestPageShowsEverythingAndEscapesIt(t *testing.T) {
	page := get(t, "/")
	for _, want := range []string{"1 to look at", "42 %", "1m16s", "connect: refused", "no luck", "we&#34;ird", "2.0 MB", "paused", "and so is edge", "&lt;script&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(page, "<script>") || strings.Contains(page, "<b>") {
		t.Error("the page runs what a name says")
	}
}

func TestJSON(t *testing.T) {
	var a web.Answer
	if err := json.Unmarshal([]byte(get(t, "/status.json")), &a); err != nil || a.Cluster != "shop <b>" || len(a.Databases) != 3 || len(a.Loops) != 2 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestMetrics(t *testing.T) {
	text := get(t, "/metrics")
	for _, want := range []string{
		`skytools_database_up{database="lost"} 0`, `skytools_node_lag_seconds{database="edge",queue="shop"} 75.5`,
		`skytools_node_two_roots{database="hub",queue="shop"} 1`, `skytools_node_two_roots{database="edge",queue="shop"} 0`,
		`skytools_table_in_sync{database="edge",queue="shop",table="public.t"} 0`, `skytools_loop_running{loop="tick@hub"} 1`,
		`skytools_standby_lag_bytes{of="hub",standby="b"} 2.097152e+06`, `skytools_standby_slot_retained_bytes{of="hub",standby="b"} 5`, `skytools_standby_up{of="hub",standby="b"} 1`,
		`skytools_archive_missed_segments{archive="wal",of="hub"} 3`, `skytools_archive_readable{archive="old",of="lost"} 0`,
		`skytools_consumer_pending_events{consumer="we\"ird",database="hub",queue="shop"} 3`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics have no %s", want)
		}
	}
}

func TestAddressInUse(t *testing.T) {
	l := httptest.NewServer(http.NotFoundHandler())
	defer l.Close()
	err := server().Run(t.Context(), strings.TrimPrefix(l.URL, "http://"))
	if err == nil || !strings.Contains(err.Error(), "serve the status page") {
		t.Errorf("got %v", err)
	}
}
