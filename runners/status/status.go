// Package status says how everything that is declared fares, from the catalogs
// alone: it works whether or not anything is running.
package status

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// A Report is the state of all databases at one moment. Lists are never nil.
type Report struct {
	At        time.Time  `json:"at"`
	Databases []Database `json:"databases"`
	Standbys  []Standby  `json:"standbys,omitempty"`
	Archives  []Archive  `json:"archives,omitempty"`
	Problems  []string   `json:"problems"` // what somebody should look at, worst first
}

// A Database is one database's part.
type Database struct {
	Name      string    `json:"name"`
	Dead      bool      `json:"declared_dead,omitempty"` // and it answers
	Error     string    `json:"error,omitempty"`
	Server    string    `json:"server,omitempty"`
	Queues    []Queue   `json:"queues"`
	Nodes     []Node    `json:"nodes"`
	Steps     []Step    `json:"steps"`              // of applies that are running, or were interrupted
	Archiver  *Archiver `json:"archiver,omitempty"` // of the server, where it archives
	Skipped   []Skipped `json:"skipped_events"`     // that replay leaves out, or has left out in the last 30 days
	system    string    // identifier of the server
	sizes     map[string]meta.Size
	cascade   map[string]pgqnode.Node                       // by queue
	subscribe map[string]map[string]pgqnode.SubscriberFacts // queue -> node -> how far it is
}

// A Queue tells how far a queue and its consumers are.
type Queue struct {
	Name      string     `json:"name"`
	New       int64      `json:"new_events"` // after the newest tick
	LastTick  int64      `json:"last_tick"`
	TickerLag float64    `json:"ticker_lag_seconds"`
	Bytes     int64      `json:"bytes"`
	Consumers []Consumer `json:"consumers"`
}

// A Consumer tells how far a consumer is.
type Consumer struct {
	Name      string  `json:"name"`
	Pending   int64   `json:"pending_events"`
	Lag       float64 `json:"lag_seconds"`
	HoldsBack float64 `json:"holds_back_seconds"` // that a due rotation waits for it
}

// A Node tells how far a node of a cascade is.
type Node struct {
	Queue    string   `json:"queue"`
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Provider string   `json:"provider"`
	Merged   string   `json:"merged_into,omitempty"` // leaf: the queue here that its events go into, too
	Tick     int64    `json:"tick"`
	Lag      *float64 `json:"lag_seconds"` // behind its provider; nil: the provider does not say
	Paused   bool     `json:"paused"`
	Rival    string   `json:"rival,omitempty"` // root: the database whose node believes that it is the root, too
	Error    string   `json:"error,omitempty"`
	Tables   []Table  `json:"tables"`
}

// A Table tells where the copy of a replicated table stands.
type Table struct {
	Name     string  `json:"name"`
	State    string  `json:"state"`                 // waiting, in-copy, catching-up, wanna-sync, do-sync, ok
	Progress float64 `json:"progress"`              // 0 to 1
	Rows     int64   `json:"rows_copied,omitempty"` // while it is copied
	Of       int64   `json:"rows_total,omitempty"`  // about, at the source; 0: unknown
	Bytes    int64   `json:"bytes_total,omitempty"` // of the rows at the source
	Note     string  `json:"note,omitempty"`
	sent     int64   // bytes, by the COPY commands that run
}

// A Step is a step of an apply that has not ended.
type Step struct {
	Address string    `json:"address"`
	Title   string    `json:"title"`
	By      string    `json:"by"`
	Started time.Time `json:"started"`
}

// A Skipped is an event that somebody had replay leave out.
type Skipped struct {
	Queue   string     `json:"queue"`
	Table   string     `json:"table"`
	Event   int64      `json:"event"`
	By      string     `json:"by"`
	Because string     `json:"because"`
	At      time.Time  `json:"at"`
	Skipped *time.Time `json:"skipped"` // nil: not yet
}

// A Source is a database to report on.
type Source struct {
	Name string
	Dead bool // is declared so: it is in the report only if it answers, and soon
	DSN  func(context.Context) (string, error)
}

// Collect reads all sources at once. What cannot be read is in the report.
func Collect(ctx context.Context, sources []Source, timeout time.Duration) *Report {
	r := &Report{At: time.Now().UTC().Truncate(time.Second), Databases: make([]Database, len(sources)), Problems: []string{}}
	var all sync.WaitGroup
	for i, s := range sources {
		all.Go(func() {
			patience := timeout
			if s.Dead {
				patience = min(timeout, deadPatience)
			}
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			d := Database{Name: s.Name, Dead: s.Dead, Queues: []Queue{}, Nodes: []Node{}, Steps: []Step{}, Skipped: []Skipped{}}
			if err := d.read(ctx, s); err != nil {
				d.Error = err.Error()
			}
			r.Databases[i] = d
		})
	}
	all.Wait()
	r.Databases = slices.DeleteFunc(r.Databases, func(d Database) bool { return d.Dead && d.Error != "" })
	r.relate()
	r.dispute()
	r.complain()
	return r
}

// deadPatience is how long a database that is declared dead may take to answer.
const deadPatience = 2 * time.Second

func (d *Database) read(ctx context.Context, s Source) error {
	dsn, err := s.DSN(ctx)
	if err != nil {
		return err
	}
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "skytools status"})
	if err != nil {
		return err
	}
	defer conn.Close()
	d.Server = conn.ServerVersion()
	return conn.Read(ctx, func(tx *pg.Tx) error {
		for _, read := range []func(context.Context, *pg.Tx) error{d.queues, d.nodes, d.tables, d.steps, d.skips, d.measure, d.archiver} {
			if err := read(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// rows runs a catalog query and decodes its rows. Where its schema is missing
// there are none.
func rows[T any](ctx context.Context, tx *pg.Tx, q sql.Catalog) (all []T, err error) {
	var raw []json.RawMessage
	err = tx.Attempt(ctx, func() (err error) { raw, err = tx.Catalog(ctx, q); return err })
	switch pg.Code(err) {
	case "3F000", "42P01", "42883":
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the %s facts: %w", q.Kind, err)
	}
	for _, r := range raw {
		var row T
		if err := json.Unmarshal(r, &row); err != nil {
			return nil, fmt.Errorf("read the %s facts: %w", q.Kind, err)
		}
		all = append(all, row)
	}
	return all, nil
}

func or[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func (d *Database) queues(ctx context.Context, tx *pg.Tx) error {
	facts, err := rows[pgq.QueueFact](ctx, tx, pgq.QueueFacts)
	if err != nil {
		return err
	}
	readers, err := rows[pgq.ConsumerFact](ctx, tx, pgq.ConsumerFacts)
	if err != nil {
		return err
	}
	for _, f := range facts {
		q := Queue{Name: f.Name, New: or(f.EvNew), LastTick: or(f.LastTickID), TickerLag: or(f.TickerLag), Bytes: or(f.Bytes), Consumers: []Consumer{}}
		for _, c := range readers {
			if c.Queue == f.Name && !strings.HasPrefix(c.Name, ".") {
				q.Consumers = append(q.Consumers, Consumer{c.Name, or(c.Pending), or(c.Lag), c.HoldsBack})
			}
		}
		d.Queues = append(d.Queues, q)
	}
	return nil
}

func (d *Database) nodes(ctx context.Context, tx *pg.Tx) error {
	nodes, err := rows[pgqnode.Node](ctx, tx, pgqnode.Nodes)
	if err != nil {
		return err
	}
	facts, err := rows[pgqnode.Facts](ctx, tx, pgqnode.NodeFacts)
	if err != nil {
		return err
	}
	d.cascade = map[string]pgqnode.Node{}
	for _, n := range nodes {
		d.cascade[n.Queue] = n
	}
	d.subscribe = map[string]map[string]pgqnode.SubscriberFacts{}
	for _, f := range facts {
		d.subscribe[f.Queue] = f.Subscribers
		for _, n := range nodes {
			if n.Queue == f.Queue {
				d.Nodes = append(d.Nodes, Node{
					Queue: n.Queue, Name: n.Name, Type: n.Type, Provider: n.Provider, Merged: n.Combined, Tick: or(f.CompletedTick),
					Paused: f.Paused, Error: or(f.Error), Tables: []Table{},
				})
			}
		}
	}
	return nil
}

func (d *Database) tables(ctx context.Context, tx *pg.Tx) error {
	facts, err := rows[londiste.Facts](ctx, tx, londiste.TableFacts)
	if err != nil {
		return err
	}
	copies, err := pg.Structs[copying](ctx, tx, copyingQuery)
	if err != nil {
		return err
	}
	for _, f := range facts {
		for i := range d.Nodes {
			if n := &d.Nodes[i]; n.Queue == f.Queue {
				n.Tables = append(n.Tables, tableOf(f, copies))
			}
		}
	}
	return nil
}

// copying is what COPY commands that are running have brought into a table.
type copying struct {
	Dest        string
	Rows, Bytes int64
}

const copyingQuery = `
select n.nspname || '.' || c.relname as dest, sum(p.tuples_processed)::int8 as rows, sum(p.bytes_processed)::int8 as bytes
  from pg_catalog.pg_stat_progress_copy p
  join pg_catalog.pg_class c on c.oid = p.relid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where p.command = 'COPY FROM' and p.datname = current_database()
 group by n.nspname, c.relname`

func tableOf(f londiste.Facts, copies []copying) Table {
	t := Table{Name: f.Name, State: "waiting"}
	if f.MergeState != nil {
		t.State, _, _ = strings.Cut(*f.MergeState, ":")
	}
	switch t.State {
	case "ok", "?":
		t.State, t.Progress = "ok", 1
		if f.PendingFkeys > 0 {
			t.Note = fmt.Sprintf("%d foreign keys wait to be restored", f.PendingFkeys)
		}
	case "catching-up", "wanna-sync", "do-sync":
		t.Progress = 0.99
		if f.DroppedDDL {
			t.Progress, t.Note = 0.98, "all rows are copied; indexes are made again"
		}
	case "in-copy":
		t.Rows = f.Rows
		for _, c := range copies {
			if c.Dest == f.Dest {
				t.Rows, t.sent = t.Rows+c.Rows, c.Bytes
			}
		}
	}
	return t
}

func (d *Database) measure(ctx context.Context, tx *pg.Tx) error {
	all, err := rows[meta.Size](ctx, tx, meta.Sizes)
	d.sizes = map[string]meta.Size{}
	for _, s := range all {
		d.sizes[s.Name] = s
	}
	return err
}

func (d *Database) steps(ctx context.Context, tx *pg.Tx) error {
	err := tx.Attempt(ctx, func() (err error) {
		d.Steps, err = pg.Structs[Step](ctx, tx, "select address, title, by, started from skytools.step_log where outcome is null order by id")
		return err
	})
	if d.Steps == nil {
		d.Steps = []Step{}
	}
	if c := pg.Code(err); c == "42P01" || c == "3F000" {
		return nil
	}
	return err
}

func (d *Database) skips(ctx context.Context, tx *pg.Tx) error {
	err := tx.Attempt(ctx, func() error {
		all, err := pg.Structs[Skipped](ctx, tx, `
			select queue_name as queue, table_name as table, event_id as event, by, because, at, skipped
			  from skytools.skipped_event
			 where skipped is null or skipped > now() - interval '30 days'
			 order by at`)
		d.Skipped = append(d.Skipped, all...)
		return err
	})
	if c := pg.Code(err); c == "42P01" || c == "3F000" {
		return nil
	}
	return err
}

// relate completes what one database knows with what another does: a node's lag
// stands on its provider, and the size of what is being copied too.
func (r *Report) relate() {
	for i := range r.Databases {
		for j := range r.Databases[i].Nodes {
			n := &r.Databases[i].Nodes[j]
			provider := r.byNode(n.Queue, n.Provider)
			if provider == nil {
				continue
			}
			if s, ok := provider.subscribe[n.Queue][n.Name]; ok {
				n.Lag = s.Lag
			}
			for k := range n.Tables {
				share(&n.Tables[k], provider.sizes)
			}
		}
	}
}

// share says how much of a table is copied, of what its source holds. Without a count
// of its rows there the bytes have to do, which are not quite the same on the way.
func share(t *Table, sizes map[string]meta.Size) {
	if t.State != "in-copy" {
		return
	}
	source := sizes[t.Name]
	t.Of, t.Bytes = source.Rows, source.Bytes
	switch {
	case t.Of > 0:
		t.Progress = min(0.98, float64(t.Rows)/float64(t.Of))
		t.Note = fmt.Sprintf("%s of about %s rows, %.1f MB", count(t.Rows), count(t.Of), float64(t.Bytes)/(1<<20))
	case t.Bytes > 0:
		t.Progress = min(0.98, float64(t.sent)/float64(t.Bytes))
		fallthrough
	default:
		t.Note = count(t.Rows) + " rows"
	}
}

// count writes a number with commas.
func count(n int64) string {
	text := strconv.FormatInt(n, 10)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

func (r *Report) byNode(queue, node string) *Database {
	for i := range r.Databases {
		for _, n := range r.Databases[i].Nodes {
			if n.Queue == queue && n.Name == node && !r.Databases[i].Dead {
				return &r.Databases[i]
			}
		}
	}
	return nil
}

// late is the lag from which a reader is a problem.
const late = 60.0

// complain lists what somebody should look at.
func (r *Report) complain() {
	for _, d := range r.Databases {
		if d.Dead { // nobody expects anything of it
			continue
		}
		if d.Error != "" {
			r.Problems = append(r.Problems, d.Name+": "+d.Error)
		}
		if d.Archiver != nil {
			r.Problems = append(r.Problems, d.Archiver.problems(d.Name)...)
		}
		for _, n := range d.Nodes {
			at := fmt.Sprintf("node/%s@%s", n.Queue, d.Name)
			switch {
			case n.Error != "":
				r.Problems = append(r.Problems, at+": "+n.Error)
			case n.Paused:
				r.Problems = append(r.Problems, at+" is paused")
			case n.Lag != nil && *n.Lag > late:
				r.Problems = append(r.Problems, fmt.Sprintf("%s is %.0f s behind %s", at, *n.Lag, n.Provider))
			}
		}
		for _, q := range d.Queues {
			if q.TickerLag > 300 {
				r.Problems = append(r.Problems, fmt.Sprintf("queue/%s@%s had no tick for %.0f s: is skytools run running?", q.Name, d.Name, q.TickerLag))
			}
			for _, c := range q.Consumers {
				if c.HoldsBack > 0 {
					r.Problems = append(r.Problems, fmt.Sprintf("consumer/%s/%s@%s holds back rotation for %.0f s", q.Name, c.Name, d.Name, c.HoldsBack))
				}
			}
		}
	}
}

// Pending counts the tables that are not in sync yet.
func (r *Report) Pending() int {
	n := 0
	for _, d := range r.Databases {
		if d.Dead {
			continue
		}
		for _, node := range d.Nodes {
			for _, t := range node.Tables {
				if t.State != "ok" {
					n++
				}
			}
		}
	}
	return n
}
