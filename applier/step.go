package applier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/skytools-go/skytools/applier/observe"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pg"
)

// steps runs the plan's steps in order. After a failure, what needs the failed
// step is skipped and the rest goes on; after a stale object, the rest of that
// database is skipped too.
func (a *Applier) steps(ctx context.Context, outcome *Outcome) error {
	broken, closed := map[string]bool{}, map[string]bool{}
	var first error
	for _, s := range a.plan.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if broken[s.ID] = a.needsBroken(s, broken) || closed[s.Node]; broken[s.ID] {
			outcome.Skipped = append(outcome.Skipped, s.ID)
			a.say(Event{Type: "step-skipped", Step: s.ID, Address: s.Address, Node: s.Node, Title: s.Title, Result: Skipped})
			continue
		}
		err := a.step(ctx, s, outcome)
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			broken[s.ID] = true
			var stale *StaleError
			if errors.As(err, &stale) {
				closed[s.Node] = true
			}
			if first == nil {
				first = err
			}
			if a.FailFast {
				break
			}
		}
		if s.ID == a.Until {
			break
		}
	}
	return a.verdict(first, outcome)
}

func (a *Applier) needsBroken(s *planner.Step, broken map[string]bool) bool {
	for _, id := range s.Needs {
		if broken[id] {
			return true
		}
	}
	return false
}

// verdict is the error of the whole apply.
func (a *Applier) verdict(first error, outcome *Outcome) error {
	var stale *StaleError
	switch {
	case first == nil:
		return nil
	case errors.As(first, &stale) && outcome.Failed == 0:
		return first
	}
	return &PartError{outcome, first}
}

// step runs one step, tells of it and counts it.
func (a *Applier) step(ctx context.Context, s *planner.Step, outcome *Outcome) error {
	e := Event{Step: s.ID, Address: s.Address, Node: s.Node, Title: s.Title}
	start := e
	start.Type = "step-start"
	a.say(start)
	began := time.Now()
	result, settled, warnings, err := a.attempt(ctx, s)
	if err == nil && s.Wait != nil && !s.Alone && !settled {
		err = a.wait(ctx, s, nil)
	}
	e.Type, e.Result, e.Took, e.Warnings = "step-done", result, time.Since(began), warnings
	if err != nil {
		e.Type, e.Result, e.Err = "step-failed", Failed, fmt.Errorf("%s: %w", s.Address, err)
		var stale *StaleError
		if errors.As(err, &stale) {
			e.Result, e.Err = Stale, err
		}
		e.Error = e.Err.Error()
		a.log(ctx, s, e)
	}
	a.say(e)
	switch e.Result {
	case Done:
		outcome.Done++
	case Already:
		outcome.Already++
	case Stale:
		outcome.Stale++
	default:
		outcome.Failed++
	}
	return e.Err
}

// log records a failure, which its own transaction could not. It is a courtesy:
// the failure itself has been told.
func (a *Applier) log(ctx context.Context, s *planner.Step, e Event) {
	session := a.sessions[recordedIn(s)]
	if !session.logged || session.conn.Closed() {
		return
	}
	session.conn.Exec(ctx, "update skytools.step_log set finished = clock_timestamp(), outcome = $3, error = $4 where plan = $1 and step = $2 and outcome is null",
		a.plan.Digest, s.ID, string(e.Result), e.Error)
}

// attempt runs a step's transaction. When the connection is lost nobody knows
// whether it was committed: we connect again and look, once.
func (a *Applier) attempt(ctx context.Context, s *planner.Step) (result Result, settled bool, warnings []string, err error) {
	session := a.sessions[s.Node]
	if err := session.lease.Context().Err(); err != nil {
		return Failed, false, nil, fmt.Errorf("the lock on %s: %w", s.Node, context.Cause(session.lease.Context()))
	}
	result, settled, warnings, err = a.transact(ctx, session, s)
	if pg.Lost(err) && session.lease.Context().Err() == nil {
		conn, again := a.dial(ctx, s.Node)
		if again != nil {
			return Failed, false, nil, errors.Join(err, again)
		}
		session.conn.Close()
		session.conn = conn
		return a.transact(ctx, session, s)
	}
	return result, settled, warnings, err
}

// inputs reads the values that databases have for a step. Those of the step's own
// database are read in its transaction, when it is in one.
func (a *Applier) inputs(ctx context.Context, wanted []planner.Input, here string, own *pg.Tx) (map[string]any, error) {
	values := map[string]any{}
	for _, in := range wanted {
		read := func(tx *pg.Tx) error {
			found, err := pg.Rows[any](ctx, tx, in.Stmt.Text, in.Stmt.Args...)
			if err == nil && (len(found) == 0 || found[0] == nil) {
				err = errors.New("there is no such value yet")
			}
			if err == nil {
				values[in.Name] = found[0]
			}
			return err
		}
		var err error
		if own != nil && in.Node == here {
			err = read(own)
		} else {
			err = a.sessions[in.Node].conn.Read(ctx, read)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s from %s: %w", in.Name, in.Node, err)
		}
	}
	return values, nil
}

// fill puts inputs in the place of the arguments that stand for them.
func fill(s sql.Stmt, values map[string]any) (sql.Stmt, error) {
	args := make([]any, len(s.Args))
	for i, arg := range s.Args {
		args[i] = plainArg(arg)
		stand, ok := arg.(map[string]any)
		if !ok {
			continue
		}
		name, _ := stand["input"].(string)
		value, known := values[name]
		if !known {
			return s, fmt.Errorf("the plan has no input %q for %s", name, pg.FunctionOf(s.Text))
		}
		args[i] = value
	}
	s.Args = args
	return s, nil
}

// plainArg undoes what JSON does to the arguments of a saved plan.
func plainArg(arg any) any {
	switch v := arg.(type) {
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	case []any:
		texts := make([]string, len(v))
		for i, item := range v {
			texts[i] = fmt.Sprint(item)
		}
		return texts
	}
	return arg
}

// alone runs statements that cannot be part of a transaction, if the object is as the plan
// expects it. Another process may have to carry out what they ask for, so their effect is
// waited for, as the step says how; the transaction that follows sees it. To be interrupted
// in between leaves a part of them done, and the step is done again.
func (a *Applier) alone(ctx context.Context, session *session, s *planner.Step) (ran bool, err error) {
	find := func() (found planner.State, err error) {
		err = session.conn.Read(ctx, func(tx *pg.Tx) error {
			found, err = observe.Object(ctx, tx, s.Address)
			return err
		})
		return found, err
	}
	found, err := find()
	if err != nil || !s.Expect.Holds(found) || s.Result.Holds(found) {
		return false, err // transact says what that means
	}
	inputs, err := a.inputs(ctx, s.Inputs, s.Node, nil)
	if err != nil {
		return false, err
	}
	for _, stmt := range s.Do {
		filled, err := fill(stmt, inputs)
		if err != nil {
			return true, err
		}
		if _, err := session.conn.Exec(ctx, filled.Text, filled.Args...); err != nil {
			return true, &StatementError{stmt, err}
		}
	}
	if s.Wait != nil {
		if err := a.wait(ctx, s, inputs); err != nil {
			return true, err
		}
	}
	for wait := time.Now().Add(effectTimeout); ; {
		if found, err = find(); err != nil || s.Result.Holds(found) || s.Settled != nil && s.Settled.Holds(found) || time.Now().After(wait) {
			return true, err
		}
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// effectTimeout is how long a server may take to read its files again.
const effectTimeout = 30 * time.Second

// transact looks, acts and looks again.
func (a *Applier) transact(ctx context.Context, session *session, s *planner.Step) (result Result, settled bool, warnings []string, err error) {
	id, err := a.intend(ctx, a.sessions[recordedIn(s)], s)
	if err != nil {
		return Failed, false, nil, err
	}
	if s.RecordedIn != "" {
		result, err := a.actAfar(ctx, session, s, id)
		return result, false, nil, err
	}
	result = Already
	if s.Alone {
		ran, err := a.alone(ctx, session, s)
		if err != nil {
			return Failed, false, nil, err
		}
		if ran {
			result = Done
		}
	}
	err = session.conn.Write(ctx, func(tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, "select set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true)",
			fmt.Sprint(s.StatementTimeout), fmt.Sprint(s.LockTimeout)); err != nil {
			return err
		}
		if err := hurry(ctx, tx, s); err != nil {
			return err
		}
		found, err := observe.Object(ctx, tx, s.Address)
		if err != nil {
			return err
		}
		settled = s.Settled != nil && s.Settled.Holds(found)
		switch {
		case settled, s.Result.Holds(found):
		case s.Expect.Holds(found):
			if warnings, err = a.run(ctx, tx, s); err != nil {
				return err
			}
			result = Done
		default:
			return &StaleError{s, found, a.plan.MadeAt}
		}
		return a.end(ctx, tx, s, id, result)
	})
	if err == nil && !session.logged && s.Address.Kind == "schema" && s.Address.Name == meta.Schema.Name {
		session.logged = true
	}
	return result, settled, warnings, err
}

// end records what a step has led to.
func (a *Applier) end(ctx context.Context, tx *pg.Tx, s *planner.Step, id int64, result Result) error {
	if err := a.record(ctx, tx, s); err != nil || id == 0 {
		return err
	}
	end := meta.End(id, string(result), "")
	_, err := tx.Exec(ctx, end.Text, end.Args...)
	return err
}

// actAfar is transact for a standby, on which no transaction can write: its statements run
// alone, and the record is made on its primary, afterwards.
func (a *Applier) actAfar(ctx context.Context, session *session, s *planner.Step, id int64) (Result, error) {
	result := Already
	ran, err := a.alone(ctx, session, s)
	if err != nil {
		return Failed, err
	}
	if ran {
		result = Done
	}
	var found planner.State
	err = session.conn.Read(ctx, func(tx *pg.Tx) error {
		found, err = observe.Object(ctx, tx, s.Address)
		return err
	})
	switch {
	case err != nil:
		return Failed, err
	case !s.Result.Holds(found) && ran:
		return Failed, errNoEffect
	case !s.Result.Holds(found):
		return Failed, &StaleError{s, found, a.plan.MadeAt}
	}
	return result, a.sessions[s.RecordedIn].conn.Write(ctx, func(tx *pg.Tx) error { return a.end(ctx, tx, s, id, result) })
}

// errNoEffect says that statements which ran alone led to nothing.
var errNoEffect = errors.New("the statements ran without an error, but the server did not take over what they say: what does its log tell?")

// hurry keeps a step that changes settings from waiting for a standby that may be what the
// settings are changed for. Source: PostgreSQL documentation, synchronous_commit.
func hurry(ctx context.Context, tx *pg.Tx, s *planner.Step) error {
	if !s.Alone {
		return nil
	}
	_, err := tx.Exec(ctx, "select set_config('synchronous_commit', 'local', true)")
	return err
}

// run executes the statements and requires their effect.
func (a *Applier) run(ctx context.Context, tx *pg.Tx, s *planner.Step) ([]string, error) {
	if s.Alone { // they ran before, and the object is still as it was
		return nil, errNoEffect
	}
	inputs, err := a.inputs(ctx, s.Inputs, s.Node, tx)
	if err != nil {
		return nil, err
	}
	var warnings []string
	for _, stmt := range s.Do {
		filled, err := fill(stmt, inputs)
		if err != nil {
			return nil, err
		}
		replies, err := tx.Run(ctx, filled)
		if err != nil {
			return nil, &StatementError{stmt, err}
		}
		for _, r := range replies {
			warnings = append(warnings, fmt.Sprintf("%d %s", r.Code, r.Note))
		}
	}
	found, err := observe.Object(ctx, tx, s.Address)
	if err != nil {
		return nil, err
	}
	if missed := s.Result.Missed(found); len(missed) > 0 {
		var details []string
		for _, path := range missed {
			details = append(details, fmt.Sprintf("%s: expected %s, found %s", path, Show(s.Result[path]), Show(found[path])))
		}
		return nil, fmt.Errorf("the statements ran without an error, but not to the planned effect (rolled back): %s", strings.Join(details, "; "))
	}
	return warnings, nil
}

// A StatementError says which statement failed. PostgreSQL's own words are behind it.
type StatementError struct {
	Stmt sql.Stmt
	Err  error
}

func (e *StatementError) Error() string { return e.Err.Error() }
func (e *StatementError) Unwrap() error { return e.Err }

// intend logs that a step is about to run, in a transaction of its own: should we
// die now, the log says where. An earlier row without an outcome belongs to an
// apply that was interrupted; nobody else can be at it, because we hold the lock.
func (a *Applier) intend(ctx context.Context, session *session, s *planner.Step) (int64, error) {
	if !session.logged {
		return 0, nil
	}
	var id int64
	err := session.conn.Write(ctx, func(tx *pg.Tx) error {
		if err := hurry(ctx, tx, s); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "update skytools.step_log set outcome = 'interrupted', finished = clock_timestamp() where plan = $1 and step = $2 and outcome is null",
			a.plan.Digest, s.ID); err != nil {
			return err
		}
		begin := meta.Begin(a.plan.Digest, s.ID, s.Address.String(), s.Title, a.By)
		var err error
		id, err = pg.One[int64](ctx, tx, begin.Text, begin.Args...)
		return err
	})
	return id, err
}

// record says in skytools.applied what the object is now meant to be.
func (a *Applier) record(ctx context.Context, tx *pg.Tx, s *planner.Step) error {
	var stmt sql.Stmt
	var err error
	switch {
	case s.Forget:
		stmt = meta.Forget(s.Address.String(), a.plan.Cluster)
	case s.Record != nil:
		stmt, err = meta.Record(s.Address.String(), a.plan.Cluster, s.Record, a.plan.Digest, a.By, a.plan.Spec.Revision, a.plan.ShortDigest())
	default:
		return nil
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, stmt.Text, stmt.Args...)
	return err
}

// wait asks until the step's wait is over. known are values that were read for the step
// before.
func (a *Applier) wait(ctx context.Context, s *planner.Step, known map[string]any) error {
	w := s.Wait
	limit, cancel := context.WithTimeout(ctx, time.Duration(w.LimitMS)*time.Millisecond)
	defer cancel()
	inputs, err := a.inputs(limit, w.Inputs, w.Node, nil)
	if err != nil {
		return err
	}
	maps.Copy(inputs, known)
	stmt, err := fill(w.Stmt, inputs)
	if err != nil {
		return err
	}
	for last := ""; ; {
		now, err := pg.Struct[waiting](limit, a.sessions[w.Node].conn, stmt.Text, stmt.Args...)
		if err == nil && now.Done != nil && *now.Done {
			return nil
		}
		if limit.Err() != nil && ctx.Err() == nil {
			return &WaitError{w, false, last}
		}
		if err != nil {
			return err
		}
		if now.Done == nil {
			return &WaitError{w, true, now.Note}
		}
		if now.Note != last {
			a.say(Event{Type: "step-progress", Step: s.ID, Address: s.Address, Node: w.Node, Title: s.Title, Progress: now.Progress, Note: now.Note})
			last = now.Note
		}
		select {
		case <-limit.Done():
		case <-time.After(time.Duration(w.EveryMS) * time.Millisecond):
		}
	}
}

type waiting struct {
	Done     *bool
	Progress float64
	Note     string
}
