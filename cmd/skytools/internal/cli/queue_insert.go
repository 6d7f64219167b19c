package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
)

type insertFlags struct {
	stdin  bool
	input  string
	extras [4]string
}

func (r *reach) insert() *cobra.Command {
	a := r.app
	var f insertFlags
	cmd := &cobra.Command{
		Use: "insert QUEUE [TYPE DATA]", Short: "Insert an event, or with --stdin many in one transaction",
		Long: `Inserts one event and prints its id. With --stdin it reads events in one of these forms and
inserts all of them or none:

  json   an object a line: {"type": "t", "data": "d", "extra1": "e"}. What has no text
         is NULL; data that is no string is stored as its JSON.
  tsv    type, data, extra1 to extra4 between tabs, as COPY writes them: \N is NULL,
         \t, \n, \r and \\ stand for themselves.
  csv    with a first line that names the columns: type,data,extra1. A field with
         nothing in it is NULL, "" is empty.

What queue export writes can be read again; ids and times are new.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if f.stdin {
				if err := exactArgs(cmd, args, "QUEUE"); err != nil {
					return err
				}
				return a.insertAll(cmd.Context(), r, args[0], &f)
			}
			if err := exactArgs(cmd, args, "QUEUE", "TYPE", "DATA"); err != nil {
				return err
			}
			e := pgq.NewEvent{Type: &args[1], Data: &args[2]}
			for i, to := range []**string{&e.Extra1, &e.Extra2, &e.Extra3, &e.Extra4} {
				if cmd.Flags().Changed(fmt.Sprintf("extra%d", i+1)) {
					*to = &f.extras[i]
				}
			}
			return a.insertOne(cmd.Context(), r, args[0], e)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.stdin, "stdin", false, "read events from standard input")
	fl.StringVar(&f.input, "input", "auto", "form of the input: json, tsv, csv; auto looks at its first line")
	for i := range f.extras {
		fl.StringVar(&f.extras[i], fmt.Sprintf("extra%d", i+1), "", fmt.Sprintf("ev_extra%d of the event", i+1))
	}
	return cmd
}

func (a *app) insertOne(ctx context.Context, r *reach, name string, e pgq.NewEvent) error {
	if err := storable(e); err != nil {
		return usage("queue insert: %v", err)
	}
	q, err := r.open(ctx, name)
	if err != nil {
		return err
	}
	defer q.conn.Close()
	insert := pgq.InsertEvents(q.Name, []pgq.NewEvent{e})
	id, err := pg.One[int64](ctx, q.conn, insert.Text, insert.Args...)
	if err != nil {
		return fmt.Errorf("insert into queue %s: %w", q.address(), q.permit(err, "pgq_writer"))
	}
	if a.format == "json" {
		return a.encode(map[string]int64{"id": id})
	}
	fmt.Fprintln(a.Out, id)
	return nil
}

// insertChunk is how many events go to the server in one statement.
const insertChunk = 1000

// insertAll reads events from standard input and inserts all or none.
func (a *app) insertAll(ctx context.Context, r *reach, name string, f *insertFlags) error {
	in, err := newEventReader(a.In, f.input)
	if err != nil {
		return err
	}
	q, err := r.open(ctx, name)
	if err != nil {
		return err
	}
	defer q.conn.Close()
	var done inserted
	err = q.conn.Write(ctx, func(tx *pg.Tx) error {
		for {
			events, lines, err := in.chunk(insertChunk)
			if err != nil {
				return &codeError{code: exitError, message: err.Error() + "; nothing was inserted"}
			}
			if len(events) == 0 {
				return nil
			}
			if err := done.insert(ctx, tx, q, events, lines); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("insert into queue %s: %w", q.address(), q.permit(err, "pgq_writer"))
	}
	if a.format == "json" {
		return a.encode(done)
	}
	if done.Events == 0 {
		fmt.Fprintln(a.Out, "There was no event to insert.")
		return nil
	}
	fmt.Fprintf(a.Out, "%s inserted, ids %d to %d.\n", counted(done.Events, "event"), *done.First, *done.Last)
	return nil
}

// inserted is what an insert of many has done.
type inserted struct {
	Events int    `json:"events"`
	First  *int64 `json:"first_id"`
	Last   *int64 `json:"last_id"`
}

func (d *inserted) insert(ctx context.Context, tx *pg.Tx, q *openQueue, events []pgq.NewEvent, lines []int) error {
	send := func(events []pgq.NewEvent) (ids []int64, err error) {
		err = tx.Attempt(ctx, func() (err error) {
			insert := pgq.InsertEvents(q.Name, events)
			ids, err = pg.Rows[int64](ctx, tx, insert.Text, insert.Args...)
			return err
		})
		return ids, err
	}
	ids, err := send(events)
	if pg.Code(err) != "" { // one by one, to tell which
		for i := range events {
			if _, one := send(events[i : i+1]); one != nil {
				return fmt.Errorf("line %d: %w; nothing was inserted", lines[i], one)
			}
		}
		return err
	}
	if err != nil {
		return err
	}
	if d.First == nil {
		d.First = &ids[0]
	}
	d.Events, d.Last = d.Events+len(ids), &ids[len(ids)-1]
	return nil
}

// chunk returns up to n events, none at the end, with the line that each begins on.
func (r *eventReader) chunk(n int) (events []pgq.NewEvent, lines []int, err error) {
	for len(events) < n {
		e, line, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = storable(e)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", line, err)
		}
		events, lines = append(events, e), append(lines, line)
	}
	return events, lines, nil
}
