// Package web serves what a running skytools knows about itself: a status page, the
// same as JSON, and metrics for Prometheus. It only reads.
package web

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/skytools-go/skytools/runners/group"
	"github.com/skytools-go/skytools/runners/status"
)

// A Server answers on one address.
type Server struct {
	Cluster string
	Collect func(context.Context) *status.Report
	Loops   func() []group.Status
	Extra   []prometheus.Collector

	mu     sync.Mutex
	last   *status.Report
	lastAt time.Time
}

// Answer is /status.json.
type Answer struct {
	Cluster string         `json:"cluster"`
	Loops   []group.Status `json:"loops"`
	*status.Report
}

// fresh is how long a report is served again, so that many readers cost one.
const fresh = 2 * time.Second

func (s *Server) report(ctx context.Context) *status.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || time.Since(s.lastAt) > fresh {
		s.last, s.lastAt = s.Collect(ctx), time.Now()
	}
	return s.last
}

// Run serves on address until ctx ends. It returns at once when the address cannot
// be listened on.
func (s *Server) Run(ctx context.Context, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serve the status page: %w", err)
	}
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Shutdown(end)
		close(done)
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-done
	return nil
}

// Handler is the pages.
func (s *Server) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{s})
	registry.MustRegister(s.Extra...)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /status.json", s.json)
	mux.HandleFunc("GET /{$}", s.page)
	return mux
}

func (s *Server) answer(ctx context.Context) Answer {
	return Answer{s.Cluster, s.Loops(), s.report(ctx)}
}

func (s *Server) json(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(s.answer(r.Context()))
}

//go:embed page.html
var pageHTML string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"percent": func(f float64) int { return int(f * 100) },
	"lag":     lag,
	"size":    size,
	"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05Z") },
}).Parse(pageHTML))

func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if err := page.Execute(w, s.answer(r.Context())); err != nil {
		fmt.Fprintln(w, err)
	}
}

func lag(seconds any) string {
	var v float64
	switch x := seconds.(type) {
	case float64:
		v = x
	case *float64:
		if x == nil {
			return "-"
		}
		v = *x
	}
	if v < 10 {
		return fmt.Sprintf("%.1f s", v)
	}
	return time.Duration(v * float64(time.Second)).Round(time.Second).String()
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d kB", n>>10)
}
