package consume_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
)

// TestModel lets producers commit, roll back and dawdle while consumers, plain ones
// and members, die at random statements, before and after these ran. In the end every
// event that was committed was done once, and once more each time it was put aside.
func TestModel(t *testing.T) {
	for _, members := range []int{0, 3} {
		both(t, func(t *testing.T, w *world) {
			t.Logf("members: %d", members)
			(&model{world: w, members: members}).run(t)
		})
	}
}

type model struct {
	*world
	members int
	mu      sync.Mutex
	written map[string]int // events that were committed, and how often they are done
	deaths  atomic.Int64
}

// wanted is how often an event is put aside: it depends on its data alone.
func wanted(data string) int {
	h := fnv.New32a()
	h.Write([]byte(data))
	return max(int(h.Sum32()%8)-5, 0)
}

func (m *model) run(t *testing.T) {
	m.written = map[string]int{}
	m.target.Script(t, "create table done (data text, retry int)")
	m.exec("select pgq_coop.register_subconsumer('q', 'coop', 'w0')") // before the first event
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var producers, others sync.WaitGroup
	for p := range 3 {
		conn := m.queue.Conn(t)
		producers.Go(func() { m.produce(ctx, conn, p) })
	}
	ticker := m.queue.Conn(t)
	others.Go(func() {
		for ctx.Err() == nil {
			for _, text := range []string{"select pgq.ticker('q')", "select pgq.maint_retry_events()"} {
				if _, err := ticker.Exec(ctx, text); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
			time.Sleep(40 * time.Millisecond) // a consumer that dies often must be able to follow
		}
	})
	for i := range max(m.members, 1) {
		others.Go(func() { m.live(ctx, i) })
	}
	producers.Wait()
	deadline := time.Now().Add(3 * time.Minute) // a busy machine is no failure
	total := 0
	for _, n := range m.written {
		total += n
	}
	for one[int64](t, m.target, "select count(*) from done") < int64(total) && time.Now().Before(deadline) && !t.Failed() {
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // for what would come twice
	stop()
	others.Wait()
	conn := m.target.Conn(t)
	type row struct {
		Data  string
		Times int64
		Plan  int64
	}
	rows, err := pg.Structs[row](t.Context(), conn, "select data, count(*) as times, count(distinct retry) as plan from done group by data")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, r := range rows {
		if r.Times != r.Plan {
			t.Errorf("%s was done %d times for %d deliveries", r.Data, r.Times, r.Plan)
		}
		got[r.Data] = int(r.Times)
	}
	if diff := cmp.Diff(m.written, got); diff != "" {
		t.Errorf("events (-written +done):\n%s", diff)
	}
	t.Logf("%d events, %d deliveries, %d deaths", len(m.written), total, m.deaths.Load())
	if len(m.written) < 50 || m.deaths.Load() == 0 {
		t.Error("too little has happened")
	}
}

// produce writes events in transactions of all kinds.
func (m *model) produce(ctx context.Context, conn *pg.Conn, producer int) {
	rollback := fmt.Errorf("rolled back")
	for i := range 40 {
		var texts []string
		err := conn.Write(ctx, func(tx *pg.Tx) error {
			for k := range 1 + rand.N(4) {
				text := fmt.Sprintf("%d-%d-%d", producer, i, k)
				if _, err := tx.Exec(ctx, "select pgq.insert_event('q', 'note', $1)", text); err != nil {
					return err
				}
				texts = append(texts, text)
				if rand.N(20) == 0 {
					time.Sleep(time.Duration(rand.N(60)) * time.Millisecond)
				}
			}
			if rand.N(5) == 0 {
				return rollback
			}
			return nil
		})
		switch {
		case err == nil:
			m.mu.Lock()
			for _, text := range texts {
				m.written[text] = 1 + wanted(text)
			}
			m.mu.Unlock()
		case err != rollback:
			m.Error(err)
			return
		}
		time.Sleep(time.Duration(rand.N(8)) * time.Millisecond)
	}
}

// live is a consumer that dies and comes back as a new process would.
func (m *model) live(ctx context.Context, number int) {
	for life := 0; ctx.Err() == nil; life++ {
		c := m.config()
		c.MinInterval = 200 * time.Millisecond
		c.Fetch, c.Prefetch = 1+rand.N(5), rand.N(3)-1
		if m.members > 0 {
			c.Consumer, c.Register = "coop", true
			c.Member = fmt.Sprint("w", number)
			c.DeadAfter = 50 * time.Millisecond // shorter than a slow batch, on purpose
			if life%3 == 2 {
				c.Member += fmt.Sprint(".", life) // its old name is dead for good
			}
		}
		made := consume.New(c, consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
			if _, err := tx.Exec(ctx, "insert into done values ($1, $2)", e.Data, e.Retry); err != nil {
				return err
			}
			if e.Retry < wanted(e.Data) {
				return consume.RetryAfter(time.Duration(rand.N(20)) * time.Millisecond)
			}
			return nil
		}))
		fault := &pg.Fault{Nth: 1 + rand.N(20<<rand.N(5)), After: rand.N(2) == 0}
		err := made.Run(pg.WithFault(ctx, fault))
		made.Close()
		if err != nil && ctx.Err() == nil {
			m.deaths.Add(1)
		}
	}
}
