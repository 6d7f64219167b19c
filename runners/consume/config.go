package consume

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/sql"
)

// Config says what to read, and how. Queue, Consumer and DSN are required.
type Config struct {
	Queue    string
	Consumer string
	Member   string // of a cooperative consumer, whose batches members share; empty: a plain consumer

	// DSN is the queue's database. It is asked for every session: one reads, and
	// with no Target another one works.
	DSN func(ctx context.Context) (string, error)

	// Target is the database that the handler works in, which has schema pgq_ext.
	// Nil: the queue's.
	Target func(ctx context.Context) (string, error)

	// As is the name by which the target knows this consumer; empty: queue/consumer.
	// Give the plain name of the consumer to go on where the SerialConsumer of
	// python3-pgq has stopped.
	As string

	// Formerly is the name by which the target may know a consumer of another program,
	// in whose place this one comes: a first batch that it has done is not done again.
	Formerly string

	// Register registers the consumer, or member, in the first round: a new one sees
	// what comes after. Members are registered by pgq_coop in any case.
	Register bool

	// A batch is what lies between two ticks. With these it spans more of them while
	// the consumer is behind: at least MinCount events or MinInterval, whichever is
	// first; and none is opened before it is MinLag old. The numbers of events are
	// estimates. Source: contract/pgq.md section 4.1.
	MinLag      time.Duration
	MinCount    int
	MinInterval time.Duration

	// DeadAfter lets a member take over the batch of another that has not asked for
	// one for so long: more than a batch ever takes. 0: never.
	DeadAfter time.Duration

	// Only events that meet all of these are read. The others are passed over, for good.
	Types  []string // ev_type is one of them
	Tables []string // ev_extra1, where triggers write schema.table, is one of them
	Where  string   // SQL over the columns ev_id, ev_time, ev_type, ev_data and so on; never made from data

	Fetch    int           // events in a piece; 0: 500. A piece ends sooner when it holds 8 MB
	Prefetch int           // pieces that are read while the handler works; 0: 1, negative: none
	Poll     time.Duration // how long to wait for a tick that nobody announces; 0: 1 s
	Log      hclog.Logger  // may be nil
	Stats    *Stats        // may be nil
}

// Stats count what was done. They may be read at any time.
type Stats struct {
	Batches atomic.Int64 // finished
	Events  atomic.Int64 // read
	Retried atomic.Int64 // put aside, in batches that are finished
	Errors  atomic.Int64 // rounds that failed
	Tick    atomic.Int64 // end of the last batch
	Lag     atomic.Int64 // nanoseconds: the age of that tick when it was done
}

func (c Config) filled() Config {
	if c.As == "" {
		c.As = c.Queue + "/" + c.Consumer
	}
	if c.Fetch <= 0 {
		c.Fetch = 500
	}
	if c.Prefetch == 0 {
		c.Prefetch = 1
	}
	if c.Poll <= 0 {
		c.Poll = time.Second
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if c.Stats == nil {
		c.Stats = &Stats{}
	}
	return c
}

// registered is the name that the queue knows.
// Source: contract/pgq.md section 1.4.
func (c *Config) registered() string {
	if c.Member == "" {
		return c.Consumer
	}
	return c.Consumer + "." + c.Member
}

// name is for people: queue/consumer, and the member.
func (c *Config) name() string { return c.Queue + "/" + c.registered() }

// condition is the filter as SQL; empty: all events.
func (c *Config) condition() string {
	var all []string
	if len(c.Types) > 0 {
		all = append(all, "ev_type in ("+literals(c.Types)+")")
	}
	if len(c.Tables) > 0 {
		var names []string
		for _, t := range c.Tables {
			names = append(names, sql.ParseName(t).String())
		}
		all = append(all, "ev_extra1 in ("+literals(names)+")")
	}
	if c.Where != "" {
		all = append(all, "(\n"+c.Where+"\n)")
	}
	return strings.Join(all, " and ")
}

func literals(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = sql.Literal(v)
	}
	return strings.Join(quoted, ", ")
}
