// Package runners holds what all loops share: how they wait, and how they stop.
//
// A loop's context is a request to stop: it ends the waiting and lets the work in
// hand finish. The work runs under [Work], which only the hard stop ends.
package runners

import (
	"context"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
)

type hardKey struct{}

// WithHardStop returns ctx with a second context in it: when hard ends, work in
// hand is given up. Without one, work always finishes.
func WithHardStop(ctx, hard context.Context) context.Context {
	return context.WithValue(ctx, hardKey{}, hard)
}

// Work is the context for the work in hand: it has the values of ctx, does not end
// with it, and ends with the hard stop.
func Work(ctx context.Context) context.Context {
	hard, ok := ctx.Value(hardKey{}).(context.Context)
	if !ok {
		return context.WithoutCancel(ctx)
	}
	return working{hard, ctx}
}

// working ends with one context and holds the values of another.
type working struct {
	context.Context
	values context.Context
}

func (w working) Value(key any) any {
	if v := w.values.Value(key); v != nil {
		return v
	}
	return w.Context.Value(key)
}

// Sleep waits for d. It reports false when ctx has ended, at once if it ends meanwhile.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// Unapplied reports an error of a database that does not have our schemas.
func Unapplied(err error) bool {
	code := pg.Code(err)
	return code == "3F000" || code == "42883" // invalid_schema_name, undefined_function
}
