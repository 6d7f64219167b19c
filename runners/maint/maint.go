// Package maint does the upkeep of the queues of a database: rotation of their
// tables, delivery of retried events, publication of watermarks and sequences, and
// what else pgq.maint_operations lists.
//
// Each operation is a transaction of its own, and a failed one does not keep the
// others from running.
package maint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// Config says where and how often.
type Config struct {
	DSN        func(context.Context) (string, error)
	MaintEvery time.Duration // rotation and upkeep; 0: 2 minutes
	RetryEvery time.Duration // delivery of retried events; 0: 30 seconds
	Absent     time.Duration // as in tick.Config
	Log        hclog.Logger
	Stats      *Stats // may be nil
}

// Stats count what was done. They may be read at any time.
type Stats struct {
	Rounds     atomic.Int64
	Operations atomic.Int64
	Failures   atomic.Int64
	Retried    atomic.Int64 // events put back into queues
}

// A Keeper does the upkeep of one database. It is used by one goroutine.
type Keeper struct {
	Config
	super bool // the role is a superuser
}

// New returns a keeper.
func New(c Config) *Keeper {
	if c.MaintEvery == 0 {
		c.MaintEvery = 2 * time.Minute
	}
	if c.RetryEvery == 0 {
		c.RetryEvery = 30 * time.Second
	}
	if c.Stats == nil {
		c.Stats = &Stats{}
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return &Keeper{Config: c}
}

// Run does the upkeep until ctx ends, or the database cannot be reached. Failures
// of single operations are logged and tried again in the next round.
func (k *Keeper) Run(ctx context.Context) error {
	var maint, retry time.Time
	for {
		now := time.Now()
		var err error
		if now.Sub(retry) >= k.RetryEvery {
			retry = now
			_, err = k.Retry(runners.Work(ctx))
		}
		if err == nil && now.Sub(maint) >= k.MaintEvery {
			maint = now
			err = k.Maintain(runners.Work(ctx))
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && k.Absent > 0 && runners.Unapplied(err):
			maint, retry = time.Time{}, time.Time{}
			runners.Sleep(ctx, k.Absent)
			continue
		case err != nil:
			return fmt.Errorf("maintain: %w", err)
		}
		if !runners.Sleep(ctx, min(time.Until(maint.Add(k.MaintEvery)), time.Until(retry.Add(k.RetryEvery)))) {
			return nil
		}
	}
}

func (k *Keeper) connect(ctx context.Context) (*pg.Conn, error) {
	dsn, err := k.DSN(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "skytools maint"})
	if err == nil {
		k.super, err = pg.One[bool](ctx, conn, "select rolsuper from pg_catalog.pg_roles where rolname = current_user")
	}
	return conn, err
}

// operation is one row of pgq.maint_operations.
// Source: contract/pgq.md section 4.8.
type operation struct {
	FuncName string
	FuncArg  *string
}

// Maintain does one round of all operations. Its error means that the list could
// not be read, or that the session was lost.
func (k *Keeper) Maintain(ctx context.Context) error {
	conn, err := k.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	list, err := pg.Structs[operation](ctx, conn, "select func_name, func_arg from pgq.maint_operations()")
	if err != nil {
		return fmt.Errorf("list the operations: %w", err)
	}
	k.Stats.Rounds.Add(1)
	for _, op := range list {
		if err := k.operate(ctx, conn, op); err != nil {
			if conn.Closed() || ctx.Err() != nil {
				return err
			}
			k.Stats.Failures.Add(1)
			k.Log.Warn("maintenance failed; the next round tries again", "operation", op.String(), "error", err)
		}
	}
	return nil
}

func (op operation) String() string {
	if op.FuncArg == nil {
		return op.FuncName
	}
	return op.FuncName + " " + *op.FuncArg
}

// again is how often an operation may ask to be called once more in a round.
const again = 1000

// own are the schemas whose operations come from our SQL or the original's. Other
// names stand in pgq.queue.queue_extra_maint, which every pgq_admin may write:
// a superuser must not run those.
var own = []string{"pgq", "pgq_node", "londiste"}

// operate runs one operation until it wants no more.
func (k *Keeper) operate(ctx context.Context, conn *pg.Conn, op operation) error {
	if op.FuncName == "vacuum" || op.FuncName == "vacuum analyze" {
		if op.FuncArg == nil {
			return errors.New("no table is named")
		}
		_, err := conn.Exec(ctx, op.FuncName+" "+sql.ParseName(*op.FuncArg).Ident())
		k.Stats.Operations.Add(1)
		return err
	}
	name := sql.ParseName(op.FuncName)
	if k.super && !slices.Contains(own, name.Schema) {
		return fmt.Errorf("%s is an extra function, and this role is a superuser: run skytools with a lesser role", op.FuncName)
	}
	text, args := "select coalesce("+name.Ident()+"()::text, '0')", []any{}
	if op.FuncArg != nil {
		text, args = "select coalesce("+name.Ident()+"($1)::text, '0')", []any{*op.FuncArg}
	}
	if name.String() == "londiste.root_check_seqs" { // answers a code and a note
		text = "select '0' from londiste.root_check_seqs($1)"
	}
	for range again {
		k.Stats.Operations.Add(1)
		answer, err := pg.One[string](ctx, conn, text, args...)
		if err != nil {
			return err
		}
		if strings.TrimSpace(answer) == "0" {
			return nil
		}
	}
	return fmt.Errorf("it asked to be called again %d times", again)
}

// Retry puts events whose time has come back into their queues, until there are
// none left. It returns how many there were.
func (k *Keeper) Retry(ctx context.Context) (moved int64, err error) {
	conn, err := k.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	for {
		n, err := pg.One[int64](ctx, conn, "select pgq.maint_retry_events()::int8")
		if err != nil {
			return moved, fmt.Errorf("retry events: %w", err)
		}
		moved += n
		k.Stats.Retried.Add(n)
		if n == 0 {
			return moved, nil
		}
	}
}
