// Package group keeps loops running: each by one process at a time, again after
// every failure, and until told to stop.
//
// Any number of processes may be given the same loops. For each loop an advisory
// lock in its database decides who runs it; the others wait, and one of them takes
// over within seconds when the holder ends, however it ends.
//
// Life of a loop in one process:
//
//	waiting --lock--> running --error--> failed --backoff--> waiting
//	                     |  \--lock lost--> waiting
//	                     `--stop--> stopped
//
// Losing the lock ends the loop's context, so a loop never runs in two places for
// longer than it takes the server and the process to notice.
package group

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/sql/pg"
)

// A Loop is work that one process at a time should do.
type Loop struct {
	Name string                                // such as "replay shop@edge1"; unique
	DSN  func(context.Context) (string, error) // of the database whose lock decides; not through a pooler
	Key  int64                                 // of the lock
	Run  func(context.Context) error           // until its context ends; nil then
}

// State is where a loop stands in this process.
type State string

// The states.
const (
	Waiting State = "waiting" // somebody else runs it
	Running State = "running"
	Failing State = "failed" // it will be tried again
	Stopped State = "stopped"
)

// A Status tells how a loop fares.
type Status struct {
	Name     string    `json:"name"`
	State    State     `json:"state"`
	Since    time.Time `json:"since"`
	Error    string    `json:"error,omitempty"` // the last one, until a healthy minute has passed
	Next     time.Time `json:"next,omitzero"`   // the next attempt, when it failed
	Failures int       `json:"failures"`        // in a row
}

// A Group supervises loops. The zero value works; it is safe for concurrent use.
type Group struct {
	App   string        // application_name of the sessions that hold locks
	Every time.Duration // how often a waiting process asks for a lock; 0: a second
	Log   hclog.Logger

	mu     sync.Mutex
	status map[string]Status
}

// Run runs the loops until ctx ends, and returns when all of them have stopped.
func (g *Group) Run(ctx context.Context, loops ...Loop) {
	if g.Log == nil {
		g.Log = hclog.NewNullLogger()
	}
	var all sync.WaitGroup
	for _, l := range loops {
		all.Go(func() { g.keep(ctx, l) })
	}
	all.Wait()
}

// Status lists the loops by name.
func (g *Group) Status() []Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Status, 0, len(g.status))
	for _, s := range g.status {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (g *Group) set(name string, change func(*Status)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.status == nil {
		g.status = map[string]Status{}
	}
	s := g.status[name]
	before := s.State
	s.Name = name
	if change(&s); s.State != before {
		s.Since = time.Now().UTC()
	}
	g.status[name] = s
}

// healthy is how long a loop has to run before its failures are forgotten.
const healthy = time.Minute

// keep runs one loop again and again.
func (g *Group) keep(ctx context.Context, l Loop) {
	log := g.Log.Named(l.Name)
	said := complaint{log: log}
	for failures := 0; ; {
		began := time.Now()
		err := g.once(ctx, l, log, &said)
		if ctx.Err() != nil {
			g.set(l.Name, func(s *Status) { s.State, s.Error, s.Next = Stopped, "", time.Time{} })
			return
		}
		if err == nil || errors.Is(err, pg.ErrLeaseLost) {
			continue
		}
		if time.Since(began) > healthy {
			failures = 0
		}
		failures++
		wait := backoff(failures)
		said.about(err)
		g.set(l.Name, func(s *Status) {
			s.State, s.Error, s.Failures, s.Next = Failing, err.Error(), failures, time.Now().Add(wait).UTC()
		})
		if !runners.Sleep(ctx, wait) {
			continue // the next round sees the end of ctx
		}
	}
}

// backoff doubles from half a second to half a minute, with some chance in it, so
// that many loops that failed together do not come back together.
func backoff(failures int) time.Duration {
	d := min(500*time.Millisecond<<min(failures-1, 10), 30*time.Second)
	return d*3/4 + rand.N(d/2+1)
}

// once waits for the lock and runs the loop while it holds it.
func (g *Group) once(ctx context.Context, l Loop, log hclog.Logger, said *complaint) error {
	g.set(l.Name, func(s *Status) {
		if s.State != Failing {
			s.State = Waiting
		}
	})
	dsn, err := l.DSN(ctx)
	if err != nil {
		return err
	}
	every := g.Every
	if every == 0 {
		every = time.Second
	}
	lease, err := pg.Await(ctx, dsn, g.App+" "+l.Name, l.Key, every)
	if err != nil {
		return err
	}
	defer lease.Release()
	again := false
	g.set(l.Name, func(s *Status) { again = s.State == Failing; s.State, s.Next = Running, time.Time{} })
	if again { // its failure has been told, and its recovery will be
		log.Debug("running again")
	} else {
		log.Info("running")
	}
	calm := time.AfterFunc(healthy, func() {
		said.recovered()
		g.set(l.Name, func(s *Status) { s.Error, s.Failures = "", 0 })
	})
	defer calm.Stop()
	err = protect(func() error {
		run, end := bound(ctx, lease)
		defer end()
		return l.Run(run)
	})
	if cause := context.Cause(lease.Context()); errors.Is(cause, pg.ErrLeaseLost) {
		log.Warn("lost the lock; waiting for it again")
		return pg.ErrLeaseLost
	}
	if err == nil && ctx.Err() == nil {
		return errors.New("it ended by itself")
	}
	return err
}

// bound is the context of a loop that holds a lease: told to stop by ctx, when it
// finishes the work in hand; cut off at once when the lock is lost, because
// somebody else may be at the same work by then.
func bound(ctx context.Context, lease *pg.Lease) (context.Context, func()) {
	hard, cancel := context.WithCancelCause(runners.Work(ctx))
	release := context.AfterFunc(lease.Context(), func() {
		if cause := context.Cause(lease.Context()); errors.Is(cause, pg.ErrLeaseLost) {
			cancel(cause)
		}
	})
	return runners.WithHardStop(lease.Context(), hard), func() { release(); cancel(nil) }
}

// protect turns a panic of one loop into its failure: the other loops of the
// process have done nothing wrong.
func protect(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// complaint logs an error at once, its repetitions once a minute with their count,
// and the recovery once.
type complaint struct {
	log   hclog.Logger
	mu    sync.Mutex
	text  string
	at    time.Time
	count int
}

func (c *complaint) about(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	if err.Error() == c.text && time.Since(c.at) < time.Minute {
		return
	}
	if err.Error() == c.text {
		c.log.Error(c.text, "times", c.count)
	} else {
		c.log.Error(err.Error())
		c.text, c.count = err.Error(), 1
	}
	c.at = time.Now()
}

func (c *complaint) recovered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.text != "" {
		c.log.Info("recovered", "from", c.text)
	}
	c.text, c.count = "", 0
}
