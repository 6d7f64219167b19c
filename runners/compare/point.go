package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// most is how many events a provider may be ahead of what is compared.
const most = 20_000

// A point is the two snapshots, and what lies between them.
type point struct {
	provider, subscriber *server
	tick                 int64             // that the subscriber's snapshot is at
	snapshot             string            // of the provider
	table                *replay.Table     // as the subscriber has it
	busy                 []Key             // of rows that were changed between tick and snapshot
	first                map[string]change // the first change of each of them, by the id of the key
	whole                string            // why all rows may have changed between them; empty: they have not
}

// A change is what an event says about a row.
type change struct {
	insert bool            // the row was not there before
	row    json.RawMessage // the new one, or what was deleted
}

// A standing is how a node stands with a table.
type standing struct {
	Registered *replay.Registered
	Type       string
	Worker     string
	Error      string
	Tick       int64 // that its worker has completed
}

func readStanding(ctx context.Context, q pg.Queryer, queue, table string) (*standing, error) {
	type row struct {
		Type, Worker, Error string
		Tick                int64
	}
	found, err := pg.Structs[row](ctx, q, `
		select n.node_type as type, coalesce(n.worker_name, '') as worker, coalesce(s.cur_error, '') as error,
		       coalesce(s.last_tick_id, 0) as tick
		  from pgq_node.node_info n
		  left join pgq_node.local_state s on s.queue_name = n.queue_name and s.consumer_name = n.worker_name
		 where n.queue_name = $1`, queue)
	if err != nil {
		return nil, fmt.Errorf("read the state of the node: %w", err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no node of queue %s", queue)
	}
	r, err := replay.Lookup(ctx, q, queue, table)
	if err != nil {
		return nil, err
	}
	if r == nil || !r.Local {
		return nil, errors.New("the table is not replicated there")
	}
	if r.State != replay.StateOK {
		state, _, _ := strings.Cut(r.State, ":")
		if state == "" {
			state = "waiting for its copy"
		}
		return nil, &NotReady{State: state}
	}
	return &standing{r, found[0].Type, found[0].Worker, found[0].Error, found[0].Tick}, nil
}

// A NotReady says that a table is still being copied.
type NotReady struct{ State string }

func (e *NotReady) Error() string { return "the table is not in sync: " + e.State }
func (e *NotReady) Hint() string  { return "skytools wait says when it is" }

// destOf reads which table a node has, and whether its rows are other than the provider's
// anyway: the name comes before the lock, and the lock before the snapshot.
func destOf(ctx context.Context, conn *pg.Conn, queue, table string) (dest sql.Name, left bool, err error) {
	s, err := readStanding(ctx, conn, queue, table)
	if err != nil {
		return sql.Name{}, false, err
	}
	t, err := s.Registered.Table()
	if err != nil {
		return sql.Name{}, false, err
	}
	return s.Registered.Dest, s.Type != pgqnode.Root && (!t.Fills() || t.Parts != nil), nil
}

// othersOf lists the other queues whose leafs fill the table here.
func othersOf(ctx context.Context, conn *pg.Conn, queue string, dest sql.Name) (string, error) {
	others, err := pg.One[string](ctx, conn, `
		select coalesce(string_agg(o.queue_name || '/' || o.table_name, ', ' order by o.queue_name), '')
		  from pgq_node.node_info me
		  join pgq_node.node_info n on n.queue_name <> me.queue_name and n.node_type = 'leaf'
		  join londiste.table_info o on o.queue_name = n.queue_name and o.local
		 where me.queue_name = $1 and me.node_type = 'leaf' and coalesce(o.dest_table, o.table_name) = $2`, queue, dest.String())
	if err != nil {
		return "", fmt.Errorf("look for other sources of the table: %w", err)
	}
	return others, nil
}

// at opens the two snapshots and calls f. The subscriber's comes first: its position is
// read in it. The provider's is younger, so that everything up to that position is in it.
func (c *comparison) at(ctx context.Context, f func(*point) error) error {
	return c.here.Snapshot(ctx, func(here *pg.Tx) error {
		p := &point{}
		if err := c.openHere(ctx, here, p); err != nil {
			return fmt.Errorf("subscriber %s: %w", c.Subscriber.Name, err)
		}
		return c.above.Snapshot(ctx, func(above *pg.Tx) error {
			if err := c.complete(ctx, above, p); err != nil {
				return err
			}
			return f(p)
		})
	})
}

// complete adds the provider's side to a point whose subscriber is known.
func (c *comparison) complete(ctx context.Context, above *pg.Tx, p *point) error {
	if err := c.openAbove(ctx, above, p); err != nil {
		return fmt.Errorf("provider %s: %w", c.Provider.Name, err)
	}
	s, err := shapeOf(p.provider.relation, p.subscriber.relation, ignoredHere(p.table, slices.Concat(c.Ignore, c.ignored)), maskedOf(p))
	if err != nil {
		return err
	}
	p.provider.shape, p.subscriber.shape = s, s
	return c.between(ctx, above, p)
}

// maskedOf are the columns whose values do not come as they are.
func maskedOf(p *point) (columns []string) {
	for _, c := range p.provider.Columns {
		if p.table.Mask != nil && p.table.Mask[c.Name].Word != "keep" {
			columns = append(columns, c.Name)
		}
	}
	return columns
}

// hold keeps a table as it is until the transaction ends; readers and writers are not in
// its way. It comes before the snapshot: a table that is emptied is empty in older
// snapshots, too.
func hold(ctx context.Context, tx *pg.Tx, name sql.Name) error {
	if _, err := tx.Exec(ctx, "lock table "+name.Ident()+" in access share mode"); err != nil {
		return fmt.Errorf("lock %s against changes of its structure: %w", name, err)
	}
	return nil
}

func (c *comparison) openHere(ctx context.Context, tx *pg.Tx, p *point) error {
	if err := hold(ctx, tx, c.dest); err != nil {
		return err
	}
	return c.readHere(ctx, tx, p)
}

// readHere reads what the subscriber has, in a transaction that holds the table.
func (c *comparison) readHere(ctx context.Context, tx *pg.Tx, p *point) error {
	s, err := readStanding(ctx, tx, c.Queue, c.Table)
	if err != nil {
		return err
	}
	if s.Type == pgqnode.Root {
		return errors.New("it is the root, which follows nobody")
	}
	if s.Registered.Dest != c.dest {
		return errors.New("the table was replaced meanwhile")
	}
	t, err := replay.Load(ctx, tx, s.Registered)
	if err != nil {
		return err
	}
	r, err := describe(ctx, tx, c.dest)
	if err != nil {
		return err
	}
	p.subscriber = &server{tx: tx, relation: r}
	p.tick, p.table = s.Tick, t
	return nil
}

func (c *comparison) openAbove(ctx context.Context, tx *pg.Tx, p *point) error {
	lock := pgq.LockEvents(c.prefix)
	if _, err := tx.Exec(ctx, lock.Text); err != nil {
		return fmt.Errorf("hold the events of queue %s: %w", c.Queue, err)
	}
	if err := hold(ctx, tx, c.source); err != nil {
		return err
	}
	s, err := readStanding(ctx, tx, c.Queue, c.Table)
	if err != nil {
		return err
	}
	if s.Registered.Dest != c.source {
		return errors.New("the table was replaced meanwhile")
	}
	r, err := describe(ctx, tx, c.source)
	if err != nil {
		return err
	}
	if t, err := s.Registered.Table(); err != nil || t.Maps() {
		return errors.Join(err, errAltered)
	}
	if p.provider, err = serverAbove(tx, r, p); err != nil {
		return err
	}
	p.snapshot, err = pg.One[string](ctx, tx, "select txid_current_snapshot()::text")
	return err
}

// errAltered says that rows of the provider cannot tell what the subscriber should have.
var errAltered = errors.New("the table has other columns there than on the root: compare with the root (--from root)")

// between finds out which rows were changed after the subscriber's tick and before the
// provider's snapshot.
func (c *comparison) between(ctx context.Context, tx *pg.Tx, p *point) error {
	between := pgq.Between(c.queueID, &p.tick, nil)
	w, err := pg.Struct[pgq.Window](ctx, tx, between.Text, between.Args...)
	if errors.Is(err, pg.ErrNoRows) {
		return fmt.Errorf("provider %s: tick %d, at which the subscriber is, is not in its queue", c.Provider.Name, p.tick)
	}
	if err != nil {
		return fmt.Errorf("provider %s: look up tick %d: %w", c.Provider.Name, p.tick, err)
	}
	names := sql.Literal(c.Table)
	if bare, isPublic := strings.CutPrefix(c.Table, "public."); isPublic {
		names += ", " + sql.Literal(bare)
	}
	about := "ev_extra1 in (" + names + ") or ev_type = 'EXECUTE' or ev_type in ('londiste.add-table', 'londiste.remove-table') and ev_data in (" + names + ")"
	read := pgq.EventsIn(c.prefix, &w, pgq.Selection{Where: about, Limit: most + 1})
	events, err := pg.Structs[pgq.Event](ctx, tx, read.Text, read.Args...)
	if err != nil {
		return fmt.Errorf("provider %s: read the events after tick %d: %w", c.Provider.Name, p.tick, err)
	}
	if len(events) > most {
		p.whole = fmt.Sprintf("%d events of the table and more wait to be replayed", most)
		events = events[:most]
	}
	var changes []change
	for _, ev := range events {
		e := replay.Event{ID: ev.ID, Type: bytesOf(ev.Type), Data: bytesOf(ev.Data), Extra: [4][]byte{bytesOf(ev.Extra1)}}
		if !e.IsData() {
			p.whole = "a script or a change of the set is under way"
			break
		}
		row, err := e.Row()
		if err != nil {
			return err
		}
		if row == nil {
			p.whole = "it was emptied (TRUNCATE)"
			break
		}
		changes = append(changes, change{e.IsInsert(), row})
	}
	if changes, err = p.mapped(ctx, changes); err != nil {
		return fmt.Errorf("provider %s: %w", c.Provider.Name, err)
	}
	return p.readBusy(ctx, changes)
}

func bytesOf(s *string) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}

// readBusy lets the provider read the keys of events, as its columns would.
func (p *point) readBusy(ctx context.Context, changes []change) error {
	s := p.provider
	var declared, columns, texts []string
	for i, name := range s.shape.key {
		c := s.Column(name)
		declared = append(declared, sql.Ident(name)+" text")
		columns = append(columns, fmt.Sprintf("%s::%s as k%d", sql.Ident(name), c.Type, i))
		texts = append(texts, canonical(c.Base, "t.k"+strconv.Itoa(i)))
	}
	var hashes []int64
	p.first = map[string]change{}
	for part := range slices.Chunk(changes, 5000) {
		rows := make([]json.RawMessage, len(part))
		for i, c := range part {
			rows[i] = c.row
		}
		list, err := json.Marshal(rows)
		if err != nil {
			return fmt.Errorf("read the keys of events: %w", err)
		}
		keys, err := s.hashed(ctx, "select "+s.shape.hash(texts)+", "+strings.Join(texts, ", ")+
			" from (select "+strings.Join(columns, ", ")+" from pg_catalog.json_to_recordset($1::text::json) as j("+strings.Join(declared, ", ")+")) t", string(list))
		if err != nil {
			return fmt.Errorf("read the keys of events: %w", err)
		}
		for i, k := range keys { // in the order of rows: it is one function in FROM
			if id := k.key.id(); p.first[id].row == nil {
				p.first[id] = part[i]
				p.busy, hashes = append(p.busy, k.key), append(hashes, k.hash)
			}
		}
	}
	p.provider.busy, p.subscriber.busy = hashes, hashes
	return nil
}

// ignoredBy is the columns that triggers of the table leave out of its events.
func ignoredBy(ctx context.Context, conn *pg.Conn, queue, table string) (columns []string, err error) {
	err = conn.Read(ctx, func(tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, "select set_config('skytools.only', $1, true)", queue+"/"+table); err != nil {
			return err
		}
		raw, err := tx.Catalog(ctx, londiste.Tables)
		for _, r := range raw {
			var t londiste.Table
			if err := json.Unmarshal(r, &t); err != nil {
				return err
			}
			if t.Queue != queue || t.Name != table {
				continue
			}
			for _, trigger := range t.Triggers {
				for _, arg := range trigger.Args {
					if list, ok := strings.CutPrefix(arg, "ignore="); ok {
						columns = append(columns, strings.Split(list, ",")...)
					}
				}
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the triggers of the table: %w", err)
	}
	return columns, nil
}
