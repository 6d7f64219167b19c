package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
)

func (r *reach) export() *cobra.Command {
	a := r.app
	var from, to int64
	var out string
	cmd := &cobra.Command{
		Use: "export QUEUE", Short: "Write the events of a queue as JSON lines or CSV; reads only",
		Long: `Writes all events that are still there, or those between two ticks, in one snapshot,
by their ids: an object a line, or with --format csv a table. queue insert --stdin reads
both again. Events that are delivered to one consumer again are left out.

The queue does not rotate while its export runs; everything else goes on.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json", "csv"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args, "QUEUE"); err != nil {
				return err
			}
			e := exporter{app: a}
			if cmd.Flags().Changed("from") {
				e.from = &from
			}
			if cmd.Flags().Changed("to") {
				e.to = &to
			}
			if e.from != nil && e.to != nil && from > to {
				return usage("queue export: --from %d is after --to %d", from, to)
			}
			q, err := r.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer q.conn.Close()
			e.queue = q
			return e.toFile(cmd.Context(), out)
		},
	}
	fl := cmd.Flags()
	fl.Int64Var(&from, "from", 0, "only what came after this tick")
	fl.Int64Var(&to, "to", 0, "only what came up to this tick")
	fl.StringVar(&out, "out", "", "write to this file instead of standard output")
	return cmd
}

// An exporter writes the events of a queue.
type exporter struct {
	app      *app
	queue    *openQueue
	from, to *int64
	lost     bool // leave out what the cascade tells itself
}

// toFile writes to a file beside the one that is wanted, so that one that is there is
// replaced by a whole one or not at all.
func (e *exporter) toFile(ctx context.Context, out string) error {
	if out == "" {
		n, err := e.write(ctx, e.app.Out)
		if err == nil {
			e.app.talk("%s.", counted(int(n), "event"))
		}
		return e.failed(err)
	}
	file, err := os.CreateTemp(filepath.Dir(out), filepath.Base(out)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	defer os.Remove(file.Name())
	n, err := e.write(ctx, file)
	if err != nil {
		file.Close()
		return e.failed(err)
	}
	if err := errors.Join(file.Chmod(0o644), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	if err := os.Rename(file.Name(), out); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	e.app.talk("%s to %s.", counted(int(n), "event"), out)
	return nil
}

func (e *exporter) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("export queue %s: %w", e.queue.address(), e.queue.permit(err, "pgq_reader"))
}

// write writes all events in one snapshot and returns how many.
func (e *exporter) write(ctx context.Context, to io.Writer) (n int64, err error) {
	out := bufio.NewWriterSize(to, 1<<16)
	err = readEvents(ctx, e.queue, e.queue.conn.Read, func(tx *pg.Tx, b pgq.TailBounds) error {
		between := pgq.Between(e.queue.ID, e.from, e.to)
		w, err := pg.Struct[pgq.Window](ctx, tx, between.Text, between.Args...)
		if errors.Is(err, pg.ErrNoRows) {
			return e.noTick(b)
		}
		if err != nil {
			return err
		}
		bar := e.app.newLateBar("export " + e.queue.address())
		defer bar.end()
		count := pgq.CountIn(e.queue.Prefix, &w)
		total, err := pg.One[int64](ctx, tx, count.Text, count.Args...)
		if err != nil {
			return err
		}
		line := jsonLine(out)
		if e.app.format == "csv" {
			line = csvLine(out)
		}
		query := pgq.EventsIn(e.queue.Prefix, &w, pgq.Selection{})
		seen := int64(0)
		return pg.Each(ctx, tx, func(row [][]byte) error {
			if seen++; seen%1000 == 0 {
				bar.set(float64(seen) / float64(max(total, 1)))
			}
			if e.lost && isOwn(row[5]) {
				return nil
			}
			n++
			return line(row)
		}, query.Text, query.Args...)
	})
	if err != nil {
		return n, err
	}
	return n, out.Flush()
}

func (e *exporter) noTick(b pgq.TailBounds) error {
	if b.Oldest == nil {
		return usage("the queue has no ticks")
	}
	var asked []string
	for _, tick := range []*int64{e.from, e.to} {
		if tick != nil {
			asked = append(asked, strconv.FormatInt(*tick, 10))
		}
	}
	return usage("there is no tick %s; there are %d to %d", strings.Join(asked, ", or no tick "), *b.Oldest, *b.Newest)
}

// jsonLine writes a row of [pgq.EventsIn] as an object.
func jsonLine(out io.Writer) func(row [][]byte) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return func(row [][]byte) error {
		e := pgq.Event{
			Time: string(row[1]), Type: text(row[5]), Data: text(row[6]),
			Extra1: text(row[7]), Extra2: text(row[8]), Extra3: text(row[9]), Extra4: text(row[10]),
		}
		var err error
		if e.ID, err = strconv.ParseInt(string(row[0]), 10, 64); err != nil {
			return err
		}
		if e.TxID, err = strconv.ParseInt(string(row[2]), 10, 64); err != nil {
			return err
		}
		return enc.Encode(e)
	}
}

func text(value []byte) *string {
	if value == nil {
		return nil
	}
	s := string(value)
	return &s
}

// csvLine writes a row of [pgq.EventsIn] as PostgreSQL would: NULL is nothing, and what
// is empty or needs it stands between quotes.
func csvLine(out *bufio.Writer) func(row [][]byte) error {
	columns := []int{0, 1, 2, 5, 6, 7, 8, 9, 10}
	header := false
	return func(row [][]byte) error {
		if !header {
			header = true
			if _, err := out.WriteString("id,time,txid,type,data,extra1,extra2,extra3,extra4\n"); err != nil {
				return err
			}
		}
		for i, c := range columns {
			if i > 0 {
				out.WriteByte(',')
			}
			if value := string(row[c]); row[c] != nil && (value == "" || strings.ContainsAny(value, ",\"\r\n")) {
				value = `"` + strings.ReplaceAll(value, `"`, `""`) + `"`
				out.WriteString(value)
			} else {
				out.WriteString(value)
			}
		}
		return out.WriteByte('\n')
	}
}

// lateBar is a bar that appears when the work takes longer than people like to wait,
// even if nothing is known of its progress then.
type lateBar struct {
	mu    sync.Mutex
	timer *time.Timer
	bar   *oneBar // nil: not yet, or not any more
	share float64
}

const patience = 2 * time.Second

func (a *app) newLateBar(title string) *lateBar {
	b := &lateBar{}
	b.mu.Lock() // the timer is known before it fires
	defer b.mu.Unlock()
	b.timer = time.AfterFunc(patience, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.timer != nil {
			b.bar = a.newBar(title)
			b.bar.set(b.share)
		}
	})
	return b
}

// set says how much is done, 0 to 1.
func (b *lateBar) set(share float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.share = share; b.bar != nil {
		b.bar.set(share)
	}
}

func (b *lateBar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer.Stop()
	b.timer = nil
	if b.bar != nil {
		b.bar.end()
		b.bar = nil
	}
}
