package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/skytools-go/skytools/applier"
	"github.com/skytools-go/skytools/sql/pg"
)

// Exit codes. 1 and 2 are what any Go program can produce by accident, so nothing
// that CI acts on has them. Source: design/plan-apply.md section 5.11.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitYAML        = 3
	exitDiffers     = 10
	exitStale       = 11
	exitApproval    = 12
	exitLocked      = 13
	exitPart        = 14
	exitIncomplete  = 15
	exitInterrupted = 130
)

// exitCode is the only place that maps errors to codes.
func exitCode(err error) int {
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.ExitCode()
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitError
}

// codeError is an outcome that has a code and, when it has been told already, no
// message.
type codeError struct {
	code    int
	message string
	hint    string
}

func (e *codeError) Error() string { return e.message }
func (e *codeError) ExitCode() int { return e.code }
func (e *codeError) Hint() string  { return e.hint }

func usage(format string, args ...any) error {
	return &codeError{code: exitUsage, message: fmt.Sprintf(format, args...)}
}

// hinted adds what to try to an error.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }
func (h hinted) Hint() string  { return h.hint }

// tell writes an error with everything that is known about it.
func tell(err error) string {
	if err.Error() == "" {
		return ""
	}
	if errors.Is(err, context.Canceled) {
		return "interrupted: what is done stays done; the same command goes on from there\n"
	}
	var out strings.Builder
	out.WriteString("error: " + err.Error() + "\n")
	var statement *applier.StatementError
	if errors.As(err, &statement) {
		text := statement.Stmt.Pasteable()
		if line, _, long := strings.Cut(text, "\n"); long {
			text = line + " ..."
		}
		fmt.Fprintf(&out, "  statement   %s\n", text)
	}
	if code := pg.Code(err); code != "" {
		fmt.Fprintf(&out, "  sqlstate    %s\n", code)
	}
	for _, line := range pg.Details(err) {
		label, text, _ := strings.Cut(line, ": ")
		fmt.Fprintf(&out, "  %-11s %s\n", label, strings.ReplaceAll(text, "\n", "\n              "))
	}
	var with interface{ Hint() string }
	if errors.As(err, &with) && with.Hint() != "" {
		fmt.Fprintf(&out, "  try         %s\n", with.Hint())
	} else if try := hintOf(pg.Code(err)); try != "" {
		fmt.Fprintf(&out, "  try         %s\n", try)
	}
	return out.String()
}

// hintOf says what to try about an error of the server.
// Source: PostgreSQL documentation, Appendix A.
func hintOf(sqlstate string) string {
	switch sqlstate {
	case "42501":
		return "grant what is missing; skytools sql grants prints all that is needed, skytools sql check DSN says what there is"
	case "53100":
		return "free space on that server, then run the same command again: it goes on where it ended"
	case "53300":
		return "the server has no free connection; close some, then run the same command again"
	case "55P03":
		return "somebody holds a lock on the object for long: look at pg_locks, or try again when it is quiet"
	case "57014":
		return "it took longer than the step allows: is something else holding it up? run the same command again"
	case "25006":
		return "the session is read-only: is this a standby, or does the role have default_transaction_read_only?"
	case "42P07", "42710":
		return "it was made since the plan: plan again"
	}
	return ""
}
