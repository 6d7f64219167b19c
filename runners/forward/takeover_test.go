package forward_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/consume"
)

// TestTakesOver comes in the place of a queue_mover, which has the same consumer: what that
// has moved does not come again, whether or not it could say so before it ended.
func TestTakesOver(t *testing.T) {
	t.Parallel()
	source, target := pair(t, true)
	move := func(text string) (batch int64) { // as queue_mover does, up to the commit in the target
		source.insert("q", text)
		batch = one[int64](t, source.conn, "select pgq.next_batch('q', 'f')")
		tick := one[int64](t, source.conn, "select tick_id from pgq.get_batch_info($1)", batch)
		target.exec("select pgq.insert_event('p', 't', $1)", text)
		target.exec("select pgq_ext.set_last_tick('f', $1)", tick)
		return batch
	}
	source.exec("select pgq.finish_batch($1)", move("moved"))
	last := move("moved, and not finished")
	source.insert("q", "new")
	f := start(t, config(source, target))
	_, err := f.RunOnce(t.Context())
	var former *consume.FormerError
	if !errors.As(err, &former) || former.Batch != last || !strings.Contains(former.Hint(), "pgq.finish_batch") {
		t.Fatalf("a batch that is done: %v", err)
	}
	if n := one[int64](t, target.conn, "select count(*) from pgq.event_template where ev_data = 'moved, and not finished'"); n != 1 {
		t.Errorf("it came %d times", n)
	}
	source.exec("select pgq.finish_batch($1)", last)
	source.insert("q", "newer")
	drain(t, f)
	if diff := cmp.Diff([]string{"moved", "moved, and not finished", "new", "newer"}, target.data("p")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Its own position is under a name of its own by now: the other one means nothing.
	source.insert("q", "newest")
	batch := one[int64](t, source.conn, "select pgq.next_batch('q', 'f')")
	target.exec("select pgq_ext.set_last_tick('f', $1)", one[int64](t, source.conn, "select tick_id from pgq.get_batch_info($1)", batch))
	drain(t, f)
	if diff := cmp.Diff([]string{"newest"}, target.data("p")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
