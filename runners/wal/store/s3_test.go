package store_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/runners/wal/store/storetest"
)

// A fake is an S3 server, and a proxy before it that can misbehave.
type fake struct {
	*httptest.Server
	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request, pass http.Handler) // nil: none
}

func newFake(t *testing.T) *fake {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("backups"); err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s3.Close)
	target, err := url.Parse(s3.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
		panic(http.ErrAbortHandler)
	}}
	f := &fake{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		fault := f.fault
		f.mu.Unlock()
		if fault == nil {
			proxy.ServeHTTP(w, r)
			return
		}
		fault(w, r, proxy)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) misbehave(fault func(http.ResponseWriter, *http.Request, http.Handler)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// times misbehaves for the first n requests of a method.
func times(n int, method string, fault func(http.ResponseWriter, *http.Request, http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		mu.Lock()
		strike := r.Method == method && n > 0
		if strike {
			n--
		}
		mu.Unlock()
		if strike {
			fault(w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	}
}

func busy(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusServiceUnavailable)
	io.WriteString(w, `<Error><Code>SlowDown</Code><Message>reduce your request rate</Message></Error>`)
}

func conflict(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusConflict)
	io.WriteString(w, `<Error><Code>ConditionalRequestConflict</Code><Message>try again</Message></Error>`)
}

// unanswered lets the request through and loses the answer.
func unanswered(_ http.ResponseWriter, r *http.Request, pass http.Handler) {
	pass.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// halfSent hangs up in the middle of a request.
func halfSent(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	io.CopyN(io.Discard, r.Body, r.ContentLength/2)
	panic(http.ErrAbortHandler)
}

// halfAnswered hangs up in the middle of an answer.
func halfAnswered(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	answer := httptest.NewRecorder()
	pass.ServeHTTP(answer, r)
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
	panic(http.ErrAbortHandler)
}

func (f *fake) open(t testing.TB) store.Store {
	t.Helper()
	return open(t, store.Config{
		URL: "s3://backups/shop/main?region=us-east-1&path_style=true&endpoint=" + url.QueryEscape(f.URL), AccessKey: "key", SecretKey: "hunter2",
	})
}

func TestS3(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	storetest.Run(t, func(t *testing.T) store.Store { return f.open(t) })
}

// TestS3Faults wants every operation to come through what passes, and to say that it
// does not know where it cannot. Source: design/wal.md, R15, R50 and P8.
func TestS3Faults(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("0123456789abcdef", 1<<14)
	for _, c := range []struct {
		name  string
		fault func(http.ResponseWriter, *http.Request, http.Handler)
		put   error // what is fine beside nil
	}{
		{"busy put", times(2, "PUT", busy), nil},
		{"conflicting put", times(2, "PUT", conflict), nil},
		{"put cut", times(2, "PUT", halfSent), nil},
		{"answer to put lost", times(1, "PUT", unanswered), store.ErrExists},
		{"busy get", times(2, "GET", busy), nil},
		{"busy stat", times(2, "HEAD", busy), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			s := f.open(t)
			f.misbehave(c.fault)
			if err := s.Put(t.Context(), "a/b", strings.NewReader(content)); err != nil && (c.put == nil || !errors.Is(err, c.put)) {
				t.Errorf("put: %v", err)
			}
			if info, err := s.Stat(t.Context(), "a/b"); err != nil || info.Size != int64(len(content)) {
				t.Errorf("stat: %v, %v", info, err)
			}
			if storetest.Content(t, s, "a/b") != content {
				t.Error("another content came back")
			}
		})
	}
}

// An answer that is cut is an error, not a short object.
func TestS3CutAnswer(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := f.open(t)
	if err := s.Put(t.Context(), "a", strings.NewReader(strings.Repeat("x", 1<<20))); err != nil {
		t.Fatal(err)
	}
	f.misbehave(halfAnswered)
	r, err := s.Get(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err == nil {
		t.Errorf("%d bytes of %d are all", n, 1<<20)
	}
}

// What a server cannot say is neither "absent" nor "taken".
func TestS3Down(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := f.open(t)
	gone := open(t, store.Config{URL: "s3://no-such-bucket?region=us-east-1&path_style=true&endpoint=" + url.QueryEscape(f.URL), AccessKey: "key", SecretKey: "hunter2"})
	f.misbehave(busy)
	for what, err := range results(t.Context(), s) {
		if err == nil || errors.Is(err, store.ErrNotExist) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrChanged) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s of a busy server: %v", what, err)
		}
	}
	f.misbehave(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for what, err := range results(ctx, s) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s of a silent server: %v", what, err)
		}
	}
	f.misbehave(nil)
	if _, err := gone.Get(t.Context(), "a", 0, -1); err == nil || errors.Is(err, store.ErrNotExist) {
		t.Errorf("get from a bucket that is not there: %v", err)
	}
}

func results(ctx context.Context, s store.Store) map[string]error {
	_, get := s.Get(ctx, "a", 0, -1)
	_, stat := s.Stat(ctx, "a")
	_, swap := s.Swap(ctx, "a", "", strings.NewReader("x"))
	var list error
	for _, list = range s.List(ctx, "") {
	}
	return map[string]error{"get": get, "stat": stat, "swap": swap, "list": list, "put": s.Put(ctx, "a", strings.NewReader("x")), "delete": s.Delete(ctx, "a")}
}
