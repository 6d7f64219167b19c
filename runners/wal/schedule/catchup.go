package schedule

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/wal/archive"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/verify"
)

// CatchUpStats tell how the stores fare that are not required. They are safe for
// concurrent use.
type CatchUpStats struct {
	Down    atomic.Int64 // stores that do not answer
	Missing atomic.Int64 // objects that those which answer lack
	Copied  atomic.Int64 // objects that this process has brought
}

// CatchUpConfig says whose stores are brought up to date.
type CatchUpConfig struct {
	Archive *archive.Archive
	Every   time.Duration // how often to look whether a store is back; 0: a minute
	Limit   int           // objects to copy before looking again; 0: 1000
	Log     hclog.Logger
	Stats   *CatchUpStats
}

// A CatchUp copies to stores that are not required what they lack: as soon as one is back
// that was seen down, and every ten minutes, since what others could not put there only its
// list tells. Nothing is read that every store lists, and required stores are not written
// to; that is for [Scrubber].
type CatchUp struct {
	CatchUpConfig
	stores map[string]*optional
}

// An optional is what is known of a store that is not required.
type optional struct {
	down   bool
	looked time.Time // zero: it is to be looked at
	left   int64     // objects that it lacked then
}

// NewCatchUp returns one.
func NewCatchUp(c CatchUpConfig) *CatchUp {
	c.Log, c.Stats, c.Limit = cmp.Or(c.Log, hclog.NewNullLogger()), cmp.Or(c.Stats, &CatchUpStats{}), cmp.Or(c.Limit, 1000)
	return &CatchUp{c, map[string]*optional{}}
}

const (
	lookAgain = 10 * time.Minute
	answering = 20 * time.Second
)

// Run looks every so often until ctx ends, which gives up what is in hand. It returns at
// the first error of a required store.
func (c *CatchUp) Run(ctx context.Context) error { return watch(ctx, c.Every, c.RunOnce) }

// RunOnce copies what the stores lack whose time has come.
func (c *CatchUp) RunOnce(ctx context.Context, now time.Time) error {
	var down, missing int64
	for _, s := range c.Archive.Repo.Stores {
		if s.Required {
			continue
		}
		known := c.stores[s.Name()]
		if known == nil {
			known = &optional{}
			c.stores[s.Name()] = known
		}
		if err := c.one(ctx, s, known, now); err != nil {
			return err
		}
		missing += known.left
		if known.down {
			down++
		}
	}
	c.Stats.Down.Store(down)
	c.Stats.Missing.Store(missing)
	return nil
}

// one looks at a store. Only errors of others are returned.
func (c *CatchUp) one(ctx context.Context, s repo.Store, known *optional, now time.Time) error {
	err := c.answers(ctx, s)
	if err == nil && now.Sub(known.looked) < lookAgain {
		return nil
	}
	again := false
	if err == nil {
		if known.left, again, err = c.copy(ctx, s); err != nil && c.answers(ctx, s) == nil {
			return err
		}
	}
	if err != nil && !known.down {
		c.Log.Warn("a store that is not required does not answer, and gets what it lacks when it is back", "store", s.Name(), "error", err)
	}
	known.down, known.looked = err != nil, now
	if err != nil || again {
		known.looked = time.Time{}
	}
	return nil
}

// answers looks whether a store is there, and is the one that it was.
func (c *CatchUp) answers(ctx context.Context, s repo.Store) error {
	ctx, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	return c.Archive.Repo.Alive(ctx, s)
}

// copy brings what a store lacks, and returns how much it lacks then. again: there was
// more than may be copied at a time.
func (c *CatchUp) copy(ctx context.Context, to repo.Store) (left int64, again bool, err error) {
	some := c.Archive.Repo.Config
	some.Stores = nil
	for _, s := range c.Archive.Repo.Stores {
		if s.Required || s.Name() == to.Name() {
			some.Stores = append(some.Stores, s)
		}
	}
	opened, err := repo.Open(some)
	if err != nil {
		return 0, false, err
	}
	r, err := verify.Run(ctx, &archive.Archive{Repo: opened, System: c.Archive.System, Size: c.Archive.Size}, verify.Options{
		Lacking: true, Limit: c.Limit, Repair: true, Workers: 1, Only: to.Name(),
	})
	if err != nil {
		return 0, false, err
	}
	left = int64(r.Left)
	copied := int64(0)
	for _, p := range r.Problems {
		switch {
		case p.Store != to.Name():
		case p.Repaired:
			copied++
		default:
			left++
			c.Log.Warn("a store that is not required does not get an object", "store", p.Store, "key", p.Key, "error", p.Text)
		}
	}
	c.Stats.Copied.Add(copied)
	if copied+left > 0 {
		c.Log.Info("a store that is not required got what it lacked", "store", to.Name(), "objects", copied, "left", left)
	}
	return left, r.Left > 0, nil
}
