// Package applier carries out plans.
//
// It knows steps: what must hold before one, its statements, what holds after. It
// does not know what they mean, and it never decides: approval was given before it
// is called, and what it says are events.
//
// A step runs in one transaction, which looks at the object first:
//
//	found            means                                     does
//	the result       done before, or somebody else did it      records "already", goes on
//	the expectation  as planned                                runs, looks again, requires the result
//	neither          changed since the plan                    stops: stale
//
// That one rule makes applying twice harmless, a killed apply resumable and a
// changed world visible.
package applier

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/skytools-go/skytools/applier/observe"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pg"
)

// An Applier carries out plans. It is used by one goroutine at a time.
type Applier struct {
	DSN         func(ctx context.Context, node string) (string, error) // how to reach a database
	Direct      func(ctx context.Context, node string) (string, error) // the same past a pooler; nil: DSN
	By          string                                                 // user@host, recorded
	LockTimeout time.Duration                                          // how long to wait for another apply; 0: do not
	FailFast    bool                                                   // stop at the first failure instead of going on with what does not need it
	Until       string                                                 // id of the last step to run; empty: all
	Events      func(Event)                                            // called in order; nil: nobody listens

	sessions map[string]*session
	plan     *planner.Plan
}

// session is an open database during an apply.
type session struct {
	conn   *pg.Conn
	lease  *pg.Lease
	logged bool // skytools.step_log exists
}

// Apply carries out a plan. The outcome is never nil. Errors: [RefusedError],
// [LockError], [WrongServerError] before anything was changed; [StaleError] and
// [PartError] after some steps.
func (a *Applier) Apply(ctx context.Context, plan *planner.Plan) (*Outcome, error) {
	outcome := &Outcome{Steps: len(plan.Steps), Skipped: []string{}}
	if pending := plan.Pending(); len(pending) > 0 || plan.Errors() > 0 {
		refused := &RefusedError{Pending: pending}
		for _, d := range plan.Diagnostics {
			if d.Severity == "error" {
				refused.Errors = append(refused.Errors, d)
			}
		}
		return outcome, refused
	}
	a.plan, a.sessions = plan, map[string]*session{}
	defer a.close()
	a.say(Event{Type: "plan", Note: fmt.Sprintf("%d steps", len(plan.Steps))})
	if err := a.open(ctx); err != nil {
		return outcome, err
	}
	if err := a.preflight(ctx); err != nil {
		outcome.Stale++
		return outcome, err
	}
	err := a.steps(ctx, outcome)
	a.say(Event{Type: "summary", Outcome: outcome})
	return outcome, err
}

// Check looks whether a plan could still be carried out, and changes nothing. Its
// errors are those that [Applier.Apply] answers before it changes anything, but for
// approvals and the lock.
func (a *Applier) Check(ctx context.Context, plan *planner.Plan) error {
	a.plan, a.sessions = plan, map[string]*session{}
	defer a.close()
	for _, node := range a.nodes() {
		conn, err := a.dial(ctx, node)
		if err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
		a.sessions[node] = &session{conn: conn}
		if err := a.verify(ctx, node, conn); err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
	}
	return a.preflight(ctx)
}

func (a *Applier) say(e Event) {
	if a.Events != nil {
		e.At, e.Plan = time.Now().UTC(), a.plan.ShortDigest()
		a.Events(e)
	}
}

// open connects to every database of the plan and locks it, in sorted order, so
// that two applies never wait for each other.
func (a *Applier) open(ctx context.Context) error {
	for _, node := range a.nodes() {
		if err := a.openOne(ctx, node); err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
	}
	return nil
}

// nodes are the databases that the plan's steps run in or read from, sorted.
func (a *Applier) nodes() []string {
	nodes := map[string]bool{}
	for _, s := range a.plan.Steps {
		nodes[s.Node] = true
		nodes[recordedIn(s)] = true
		for _, in := range s.Inputs {
			nodes[in.Node] = true
		}
		if s.Wait != nil {
			nodes[s.Wait.Node] = true
			for _, in := range s.Wait.Inputs {
				nodes[in.Node] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(nodes))
}

func (a *Applier) openOne(ctx context.Context, node string) error {
	conn, err := a.dial(ctx, node)
	if err != nil {
		return err
	}
	s := &session{conn: conn}
	a.sessions[node] = s
	if err := a.verify(ctx, node, conn); err != nil {
		return err
	}
	direct := a.Direct
	if direct == nil {
		direct = a.DSN
	}
	dsn, err := direct(ctx, node)
	if err != nil {
		return err
	}
	s.lease, err = a.lock(ctx, node, dsn)
	return err
}

func (a *Applier) dial(ctx context.Context, node string) (*pg.Conn, error) {
	dsn, err := a.DSN(ctx, node)
	if err != nil {
		return nil, err
	}
	return pg.Dial(ctx, dsn, pg.Options{App: a.app()})
}

// app is how other sessions see this apply.
func (a *Applier) app() string { return "skytools apply " + a.plan.ShortDigest() + " " + a.By }

// preflight looks at every object of the plan before anything is changed. An object
// that is at none of the points that the plan knows makes the plan stale as a
// whole: then nothing is changed anywhere. Each step looks again in its own
// transaction, so this is no guarantee, only the common case.
func (a *Applier) preflight(ctx context.Context) error {
	steps := map[planner.Address][]*planner.Step{}
	for _, s := range a.plan.Steps {
		steps[s.Address] = append(steps[s.Address], s)
	}
	found := map[planner.Address]planner.State{}
	for _, node := range slices.Sorted(maps.Keys(a.sessions)) {
		var wanted []planner.Address
		for address := range steps {
			if address.Database == node {
				wanted = append(wanted, address)
			}
		}
		states, err := observe.Objects(ctx, a.sessions[node].conn, wanted)
		if err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
		maps.Copy(found, states)
	}
	for _, first := range a.plan.Steps {
		known := slices.ContainsFunc(steps[first.Address], func(s *planner.Step) bool {
			return s.Expect.Holds(found[s.Address]) || s.Result.Holds(found[s.Address]) || s.Settled != nil && s.Settled.Holds(found[s.Address])
		})
		if !known {
			return &StaleError{first, found[first.Address], a.plan.MadeAt}
		}
	}
	return nil
}

// verify makes sure that the database is the one of the plan.
func (a *Applier) verify(ctx context.Context, node string, conn *pg.Conn) error {
	i := slices.IndexFunc(a.plan.Nodes, func(n planner.Node) bool { return n.Name == node })
	if i < 0 {
		return fmt.Errorf("the plan does not say which server %s is on; plan again", node)
	}
	row, err := pg.One[json.RawMessage](ctx, conn, meta.Context.Text)
	if err != nil {
		return err
	}
	var c meta.ContextRow
	if err := json.Unmarshal(row, &c); err != nil {
		return err
	}
	planned := a.plan.Nodes[i]
	if c.SystemID != planned.SystemID || c.Database != planned.Database {
		return &WrongServerError{node, planned.Database + " on system " + planned.SystemID, c.Database + " on system " + c.SystemID}
	}
	if !c.Primary && !a.afar(node) {
		return fmt.Errorf("it is a standby, which cannot be changed; connect to its primary")
	}
	a.sessions[node].logged, err = pg.One[bool](ctx, conn, "select to_regclass('skytools.step_log') is not null")
	return err
}

// afar reports whether a node is a standby that the plan changes as one: by statements that
// write nothing to its databases.
func (a *Applier) afar(node string) bool {
	return !slices.ContainsFunc(a.plan.Steps, func(s *planner.Step) bool {
		return recordedIn(s) == node || s.Node == node && s.RecordedIn == ""
	})
}

// recordedIn is the node that keeps the record of a step.
func recordedIn(s *planner.Step) string { return cmp.Or(s.RecordedIn, s.Node) }

const holderQuery = `
select coalesce(a.application_name, '') || ' since ' || to_char(a.backend_start at time zone 'UTC', 'HH24:MI:SS') || 'Z (pid ' || a.pid || ')'
  from pg_locks l
  join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'advisory' and l.granted and ((l.classid::int8 << 32) | l.objid::int8) = $1 and l.objsubid = 1
   and l.database = (select oid from pg_database where datname = current_database())`

// EndHolder ends the session that holds the lock of key $1.
const EndHolder = `
select pg_terminate_backend(l.pid)
  from pg_locks l
 where l.locktype = 'advisory' and l.granted and ((l.classid::int8 << 32) | l.objid::int8) = $1 and l.objsubid = 1
   and l.database = (select oid from pg_database where datname = current_database())`

// LockKey is the advisory lock that an apply holds in each database of a cluster.
func LockKey(cluster string) int64 { return meta.LockKey("apply " + cluster) }

// Holder says who holds a cluster's lock in the database of conn; empty: nobody,
// or somebody whom the role may not see.
func Holder(ctx context.Context, conn *pg.Conn, cluster string) string {
	holder, err := pg.One[string](ctx, conn, holderQuery, LockKey(cluster))
	if err != nil {
		return ""
	}
	return holder
}

// lock takes the cluster's lock in one database.
func (a *Applier) lock(ctx context.Context, node, dsn string) (*pg.Lease, error) {
	began := time.Now()
	for told := false; ; {
		lease, err := pg.Acquire(ctx, dsn, a.app(), LockKey(a.plan.Cluster))
		if !errors.Is(err, pg.ErrHeld) {
			if errors.Is(err, pg.ErrPooled) {
				err = &PooledError{node, err}
			}
			return lease, err
		}
		waited := time.Since(began)
		holder := Holder(ctx, a.sessions[node].conn, a.plan.Cluster)
		if waited >= a.LockTimeout {
			return nil, &LockError{node, holder, waited}
		}
		if !told {
			a.say(Event{Type: "lock-wait", Node: node, Note: holder})
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(min(250*time.Millisecond, a.LockTimeout-waited)):
		}
	}
}

// A PooledError says that a database's lock cannot be trusted, because a
// connection pooler is in between.
type PooledError struct {
	Node string
	Err  error
}

func (e *PooledError) Error() string { return fmt.Sprintf("take the lock: %v", e.Err) }
func (e *PooledError) Unwrap() error { return e.Err }

// Hint says what to declare.
func (e *PooledError) Hint() string {
	return "declare how to reach the server itself: databases." + e.Node + ".direct"
}

// ExitCode is that of a refusal by a guard.
func (e *PooledError) ExitCode() int { return 12 }

func (a *Applier) close() {
	for _, s := range a.sessions {
		if s.lease != nil {
			s.lease.Release()
		}
		s.conn.Close()
	}
}
