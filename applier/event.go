package applier

import (
	"time"

	"github.com/skytools-go/skytools/planner"
)

// An Event tells what apply does, as it does it. Readers must ignore types and
// fields that they do not know.
type Event struct {
	Type     string          `json:"type"` // plan, lock-wait, step-start, step-progress, step-done, step-skipped, step-failed, summary
	At       time.Time       `json:"at"`
	Plan     string          `json:"plan"`
	Step     string          `json:"step,omitempty"`
	Address  planner.Address `json:"address,omitzero"`
	Node     string          `json:"node,omitempty"`
	Title    string          `json:"title,omitempty"`
	Result   Result          `json:"result,omitempty"`
	Took     time.Duration   `json:"took_ns,omitempty"`
	Progress float64         `json:"progress,omitempty"` // 0 to 1
	Note     string          `json:"note,omitempty"`
	Error    string          `json:"error,omitempty"`
	Err      error           `json:"-"`
	Warnings []string        `json:"warnings,omitempty"`
	Outcome  *Outcome        `json:"outcome,omitempty"`
}

// Result is what became of a step.
type Result string

// The results.
const (
	Done    Result = "done"
	Already Result = "already" // its result was there before
	Failed  Result = "failed"
	Stale   Result = "stale"
	Skipped Result = "skipped" // something that it needs failed
)

// Outcome counts the results.
type Outcome struct {
	Steps   int      `json:"steps"`
	Done    int      `json:"done"`
	Already int      `json:"already"`
	Failed  int      `json:"failed"`
	Stale   int      `json:"stale"`
	Skipped []string `json:"skipped"` // ids of steps that did not start
}
