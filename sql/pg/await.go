package pg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Await takes the advisory lock key in the database of dsn as soon as nobody else
// holds it, on a connection of its own that stays open meanwhile. It asks again
// after every, give or take a quarter, so that several who wait do not ask in step.
func Await(ctx context.Context, dsn, app string, key int64, every time.Duration) (*Lease, error) {
	conn, err := Dial(ctx, dsn, Options{App: app})
	if err != nil {
		return nil, err
	}
	for {
		l, err := acquire(ctx, conn, key)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, ErrHeld) {
			conn.Close()
			return nil, fmt.Errorf("take the lock: %w", err)
		}
		select {
		case <-ctx.Done():
			conn.Close()
			return nil, ctx.Err()
		case <-time.After(every*3/4 + rand.N(every/2+1)):
		}
	}
}
