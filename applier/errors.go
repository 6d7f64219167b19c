package applier

import (
	"fmt"
	"strings"
	"time"

	"github.com/skytools-go/skytools/planner"
)

// A StaleError says that an object is neither as it was when the plan was made nor
// as the plan would leave it. Nothing was changed there.
type StaleError struct {
	Step   *planner.Step
	Found  planner.State
	MadeAt time.Time
}

func (e *StaleError) Error() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s changed since this plan was made (%s)", e.Step.Address, e.MadeAt.UTC().Format("15:04:05Z"))
	for _, path := range e.Step.Expect.Missed(e.Found) {
		fmt.Fprintf(&out, "\n  %-20s plan expected %s, found %s", path, Show(e.Step.Expect[path]), Show(e.Found[path]))
	}
	return out.String()
}

// Hint says what to try.
func (e *StaleError) Hint() string { return "plan again" }

// ExitCode is that of a stale plan. Source: design/plan-apply.md section 5.11.
func (e *StaleError) ExitCode() int { return 11 }

// A WrongServerError says that a database is not the one that was planned for.
type WrongServerError struct{ Node, Planned, Found string }

func (e *WrongServerError) Error() string {
	return fmt.Sprintf("%s is not the database that this plan was made for: planned %s, found %s", e.Node, e.Planned, e.Found)
}

// ExitCode is that of a stale plan.
func (e *WrongServerError) ExitCode() int { return 11 }

// A RefusedError says that a plan waits for approvals, or holds errors. Nothing
// was changed.
type RefusedError struct {
	Pending []planner.Hazard
	Errors  []planner.Diagnostic
}

func (e *RefusedError) Error() string {
	var out strings.Builder
	for _, d := range e.Errors {
		fmt.Fprintf(&out, "%s: %s\n", d.Address, d.Message)
	}
	for _, h := range e.Pending {
		fmt.Fprintf(&out, "%s needs approval: %s: %s\n", h.Allow, h.Code, h.Message)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// Hint is what would let the plan proceed.
func (e *RefusedError) Hint() string {
	var flags []string
	for _, h := range e.Pending {
		flags = append(flags, "--allow "+quoteArg(h.Allow))
	}
	if len(flags) == 0 {
		return "mend what the errors say, then plan again"
	}
	return "to approve: " + strings.Join(flags, " ")
}

// ExitCode is that of a refusal.
func (e *RefusedError) ExitCode() int { return 12 }

func quoteArg(s string) string {
	if strings.ContainsAny(s, " '\"\\;*?$&|<>()") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// A WaitError says that what a step waits for did not come in time, or has failed.
type WaitError struct {
	Wait   *planner.Wait
	Failed bool
	Note   string // what the query answered last
}

func (e *WaitError) Error() string {
	if e.Failed {
		return fmt.Sprintf("waited in vain on %s: %s", e.Wait.Node, e.Note)
	}
	return fmt.Sprintf("waited %s on %s: %s", time.Duration(e.Wait.LimitMS)*time.Millisecond, e.Wait.Node, e.Note)
}

// Hint says what to try.
func (e *WaitError) Hint() string { return e.Wait.Try }

// A LockError says that somebody else is applying.
type LockError struct {
	Node   string
	Holder string // application_name and pid, or empty
	Waited time.Duration
}

func (e *LockError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another session"
	}
	return fmt.Sprintf("%s is locked by %s; waited %s", e.Node, holder, e.Waited.Round(time.Second))
}

// Hint says what to try.
func (e *LockError) Hint() string {
	return "wait longer with --lock-timeout, or look with: skytools status"
}

// ExitCode is that of a held lock.
func (e *LockError) ExitCode() int { return 13 }

// A PartError says that some steps failed. The others are done, and applying again
// goes on where this ended.
type PartError struct {
	Outcome *Outcome
	First   error
}

func (e *PartError) Error() string { return e.First.Error() }
func (e *PartError) Unwrap() error { return e.First }

// ExitCode is that of a plan applied in part, or of a stale plan when that is what
// stopped it.
func (e *PartError) ExitCode() int { return 14 }

// Show writes a setting for people.
func Show(v any) string {
	if v == nil {
		return "nothing"
	}
	return fmt.Sprint(v)
}
