package consume

import (
	"context"

	"github.com/skytools-go/skytools/runners/group"
	"github.com/skytools-go/skytools/sql/meta"
)

// Loop is the consumer as a loop that one process at a time runs and that is
// repeated after errors, later each time:
//
//	(&group.Group{App: "totals"}).Run(ctx, consume.Loop(c, h))
//
// Its lock is in the queue's database, one for each member, so c.DSN must not lead
// through a transaction pooler. The batch in hand is given up when the lock is lost.
func Loop(c Config, h Handler) group.Loop {
	name := "consume " + c.name()
	return group.Loop{Name: name, DSN: c.DSN, Key: meta.LockKey(name),
		Run: func(ctx context.Context) error { return Run(ctx, c, h) }}
}
