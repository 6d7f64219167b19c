package pg

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/skytools-go/skytools/sql"
)

const closeTimeout = 2 * time.Second

// A ConnectError says that a server could not be reached, or did not let us in.
type ConnectError struct {
	Place string
	Hint_ string
	Err   error
}

func (e *ConnectError) Error() string { return fmt.Sprintf("connect to %s: %v", e.Place, e.Err) }
func (e *ConnectError) Unwrap() error { return e.Err }

// Hint is what a person can try, or empty.
func (e *ConnectError) Hint() string { return e.Hint_ }

// Code is the SQLSTATE that the server answered with, or empty when err is not
// an answer of the server. Source: PostgreSQL documentation, Appendix A.
func Code(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// A ScriptError says in which line of a script the statement is that failed.
type ScriptError struct {
	Line int
	Err  error
}

func (e *ScriptError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *ScriptError) Unwrap() error { return e.Err }

// inScript finds the line of an answer to a script of several, of which so many
// statements were done: where the server says a position, or where the next begins.
func inScript(script string, done int, err error) error {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return err
	}
	line := 0
	if at := int(pgErr.Position); at > 0 && at <= utf8.RuneCountInString(script) {
		line = 1 + strings.Count(string([]rune(script)[:at-1]), "\n")
	} else if all := sql.Statements(script); done < len(all) {
		line = all[done].Line
	}
	if line == 0 || !strings.Contains(strings.TrimSpace(script), "\n") {
		return err
	}
	return &ScriptError{line, err}
}

// Lost reports whether err means that the session is gone, so that nobody knows
// what became of the statement in flight.
func Lost(err error) bool {
	if err == nil {
		return false
	}
	switch Code(err) {
	case "57P01", "57P02", "57P03": // admin_shutdown, crash_shutdown, cannot_connect_now
		return true
	case "":
		var connect *ConnectError
		return errors.As(err, &connect) || !errors.As(err, new(*ReplyError)) && pgconn.SafeToRetry(err) || isNetwork(err)
	}
	return false
}

// Details is everything that the server said beside its message: detail, hint,
// context and position, a line each. Empty when it said nothing more.
func Details(err error) []string {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return nil
	}
	var lines []string
	for _, d := range []struct{ label, text string }{
		{"detail", pgErr.Detail}, {"server's hint", pgErr.Hint}, {"where", pgErr.Where},
	} {
		if d.text != "" {
			lines = append(lines, d.label+": "+d.text)
		}
	}
	return lines
}

// A ReplyError is the refusal of a PgQ or Londiste function, which answer with a
// code and a note instead of raising. The caller must roll back: the function may
// have changed rows before it refused.
//
// Source: contract/londiste.md section 0.3.
type ReplyError struct {
	Statement string
	Code      int
	Note      string
}

func (e *ReplyError) Error() string {
	return fmt.Sprintf("%s: %d %s", FunctionOf(e.Statement), e.Code, e.Note)
}
