package group_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/group"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

func loop(db *sandboxtest.DB, name string, run func(context.Context) error) group.Loop {
	return group.Loop{Name: name, Key: 7, Run: run, DSN: func(context.Context) (string, error) { return db.DSN, nil }}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 s: %s", what)
		}
	}
}

// TestOneHolder gives the same loop to several groups: it runs in one place at a
// time, and somewhere else when its lock is taken away or its group stops.
func TestOneHolder(t *testing.T) {
	db := sandboxtest.Database(t)
	var running, most, began atomic.Int64
	run := func(ctx context.Context) error {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		began.Add(1)
		<-ctx.Done()
		running.Add(-1)
		return nil
	}
	var all sync.WaitGroup
	stops := map[int]context.CancelFunc{}
	for i := range 3 {
		ctx, stop := context.WithCancel(t.Context())
		stops[i] = stop
		all.Go(func() {
			g := &group.Group{App: fmt.Sprint("group ", i), Every: 50 * time.Millisecond}
			g.Run(ctx, loop(db, "work", run))
		})
	}
	until(t, "somebody runs it", func() bool { return running.Load() == 1 })
	conn := db.Conn(t)
	for n := int64(2); n <= 4; n++ {
		if _, err := conn.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"); err != nil {
			t.Fatal(err)
		}
		until(t, "somebody took over", func() bool { return began.Load() >= n && running.Load() == 1 })
	}
	for i := range 3 {
		stops[i]()
	}
	all.Wait()
	if running.Load() != 0 || most.Load() != 1 {
		t.Errorf("%d still running, %d at once; want 0 and 1", running.Load(), most.Load())
	}
}

// TestFailuresBackOff runs a loop that fails, panics and then works.
func TestFailuresBackOff(t *testing.T) {
	db := sandboxtest.Database(t)
	ctx, stop := context.WithCancel(t.Context())
	var tries atomic.Int64
	g := &group.Group{Every: 20 * time.Millisecond}
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx, loop(db, "shaky", func(ctx context.Context) error {
			switch tries.Add(1) {
			case 1:
				return errors.New("no luck")
			case 2:
				panic("worse luck")
			}
			<-ctx.Done()
			return nil
		}))
	}()
	until(t, "the panic is a failure like others", func() bool {
		s := g.Status()
		return len(s) == 1 && s[0].Failures == 2 && strings.Contains(s[0].Error, "worse luck") && !s[0].Next.IsZero()
	})
	until(t, "it runs at last", func() bool { return tries.Load() == 3 && g.Status()[0].State == group.Running })
	stop()
	<-done
	if s := g.Status()[0]; s.State != group.Stopped {
		t.Errorf("after stop: %+v", s)
	}
}

// TestTwoStepStop: the first stop lets the work in hand finish, the second ends it.
func TestTwoStepStop(t *testing.T) {
	db := sandboxtest.Database(t)
	for _, hardStop := range []bool{false, true} {
		ctx, stop := context.WithCancel(t.Context())
		hard, cut := context.WithCancel(t.Context())
		inHand, finished := make(chan struct{}), make(chan error, 1)
		release := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			(&group.Group{}).Run(runners.WithHardStop(ctx, hard), loop(db, "batch", func(ctx context.Context) error {
				close(inHand)
				select {
				case <-release:
					finished <- nil
				case <-runners.Work(ctx).Done():
					finished <- runners.Work(ctx).Err()
				}
				return nil
			}))
		}()
		<-inHand
		stop()
		if hardStop {
			cut()
			if err := <-finished; err == nil {
				t.Error("the second stop did not end the work in hand")
			}
		} else {
			select {
			case err := <-finished:
				t.Errorf("the first stop ended the work in hand: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			close(release)
			if err := <-finished; err != nil {
				t.Error(err)
			}
		}
		<-done
		cut()
	}
}

// TestStress starts and stops many groups at random moments; no goroutine is left.
func TestStress(t *testing.T) {
	db := sandboxtest.Database(t)
	before := runtime.NumGoroutine()
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for range 6 {
				ctx, stop := context.WithTimeout(t.Context(), time.Duration(rand.N(60))*time.Millisecond)
				g := &group.Group{Every: 5 * time.Millisecond}
				g.Run(ctx, loop(db, fmt.Sprint("stress ", worker), func(ctx context.Context) error { <-ctx.Done(); return nil }))
				stop()
			}
		})
	}
	all.Wait()
	until(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+2 })
}
