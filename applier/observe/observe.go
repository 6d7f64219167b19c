// Package observe reads what a plan needs from live databases.
//
// It reads each database in one REPEATABLE READ, READ ONLY transaction, so the
// server itself makes sure that looking changes nothing, and a database is seen at
// one moment. It knows which catalogs to read from the planner and leaves their
// meaning to it.
package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pg"
)

// A Target is a database to read.
type Target struct {
	Name string // as the YAML calls it
	DSN  func(context.Context) (string, error)

	Standby bool // a declared standby, which is asked only for what it does not have from its primary
}

// Options bound the reading.
type Options struct {
	App      string        // application_name of the sessions
	Parallel int           // databases read at a time; 0: 8
	Timeout  time.Duration // for each database; 0: a minute
	Progress func(name string)
}

// Cluster reads all targets. A database that cannot be read is in the answer with
// its error; only the end of ctx is an error here.
func Cluster(ctx context.Context, targets []Target, o Options) (*planner.Live, error) {
	if o.Parallel == 0 {
		o.Parallel = 8
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	live := &planner.Live{Format: planner.LiveFormat, At: time.Now().UTC().Truncate(time.Second), Databases: map[string]*planner.Database{}}
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, o.Parallel)
	for _, t := range targets {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			d := database(ctx, t, o)
			mu.Lock()
			defer mu.Unlock()
			live.Databases[t.Name] = d
			if o.Progress != nil {
				o.Progress(t.Name)
			}
		})
	}
	all.Wait()
	return live, ctx.Err()
}

func database(ctx context.Context, t Target, o Options) *planner.Database {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	d := &planner.Database{Rows: map[string][]json.RawMessage{}, Facts: map[string][]json.RawMessage{}, Unreadable: map[string]string{}, Applied: []planner.Applied{}}
	if err := read(ctx, t, o, d); err != nil {
		hint := hintOf(err)
		if t.Standby {
			hint = "skytools standby create " + t.Name + ", on its host, if it is not there yet; skytools standby status says more"
		}
		return &planner.Database{Error: err.Error(), Hint: hint}
	}
	return d
}

func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

func read(ctx context.Context, t Target, o Options, d *planner.Database) error {
	dsn, err := t.DSN(ctx)
	if err != nil {
		return err
	}
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: o.App})
	if err != nil {
		return err
	}
	defer conn.Close()
	d.Server, d.Location = conn.ServerVersion(), pg.Location(dsn)
	if major(d.Server) < 14 {
		return fmt.Errorf("PostgreSQL %s is too old: skytools needs 14 or newer", d.Server)
	}
	return conn.Read(ctx, func(tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, "set local jit = off"); err != nil {
			return err
		}
		return whole(ctx, tx, t, d)
	})
}

func major(version string) int {
	digits, _, _ := strings.Cut(version, ".")
	n, _ := strconv.Atoi(strings.TrimRight(digits, "abcdefghijklmnopqrstuvwxyz"))
	return n
}

// whole reads everything that a plan is made from.
func whole(ctx context.Context, tx *pg.Tx, t Target, d *planner.Database) error {
	row, err := pg.One[json.RawMessage](ctx, tx, meta.Context.Text)
	if err != nil {
		return fmt.Errorf("read the session's context: %w", err)
	}
	var c meta.ContextRow
	if err := json.Unmarshal(row, &c); err != nil {
		return err
	}
	d.Name, d.User, d.SystemID, d.Primary = c.Database, c.User, c.SystemID, c.Primary
	d.Rights = planner.Rights{Superuser: c.Superuser, CreateRole: c.CreateRole, CreateIn: c.CreateIn, ReplicaRole: c.ReplicaRole}
	if major(d.Server) >= 15 && !c.ReplicaRole {
		if d.Rights.ReplicaRole, err = pg.One[bool](ctx, tx, meta.MaySetReplicaRole); err != nil {
			return err
		}
	}
	catalogs, facts := planner.Catalogs(), planner.FactCatalogs()
	if t.Standby {
		catalogs, facts = planner.StandbyCatalogs(), nil
	}
	for _, q := range catalogs {
		rows, why, err := attempt(ctx, tx, q)
		if err != nil {
			return err
		}
		if d.Rows[q.Kind] = rows; why != "" {
			d.Unreadable[q.Kind] = why
		}
	}
	for _, q := range facts {
		rows, _, err := attempt(ctx, tx, q)
		if err != nil {
			return err
		}
		d.Facts[q.Kind] = rows
	}
	if t.Standby {
		return nil
	}
	return applied(ctx, tx, d)
}

// applied reads what was last applied.
func applied(ctx context.Context, tx *pg.Tx, d *planner.Database) error {
	rows, why, err := attempt(ctx, tx, meta.Applied)
	if err != nil {
		return err
	}
	if why != "" {
		d.Unreadable["applied"] = why
	}
	for _, raw := range rows {
		var row planner.Applied
		if err := json.Unmarshal(raw, &row); err != nil {
			return fmt.Errorf("read skytools.applied: %w", err)
		}
		d.Applied = append(d.Applied, row)
	}
	return nil
}

// attempt runs one catalog query. A schema that is not there has no objects; what
// the role may not see is told apart from that. Any other error ends the reading.
func attempt(ctx context.Context, tx *pg.Tx, q sql.Catalog) (rows []json.RawMessage, why string, err error) {
	err = tx.Attempt(ctx, func() (err error) { rows, err = tx.Catalog(ctx, q); return err })
	switch pg.Code(err) {
	case "3F000", "42P01", "42883", "42703": // no such schema, table, function, column
		return nil, "", nil
	case "42501": // insufficient privilege
		return nil, err.Error(), nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the %s catalog: %w", q.Kind, err)
	}
	return rows, "", nil
}

// Object reads the state of one object, inside the transaction that is about to
// change it, or has just done so.
func Object(ctx context.Context, tx *pg.Tx, a planner.Address) (planner.State, error) {
	q, ok := planner.CatalogOf(a.Kind)
	if !ok {
		return nil, fmt.Errorf("%s: there is no kind %q", a, a.Kind)
	}
	before, err := pg.One[string](ctx, tx, "select current_setting('search_path')")
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, look, a.Name); err != nil {
		return nil, err
	}
	rows, _, err := attempt(ctx, tx, q)
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, "select set_config('search_path', $1, true), set_config('skytools.only', '', true)", before); err != nil {
		return nil, err
	}
	return planner.Find(a, rows)
}

// Objects reads the states of several objects of one database at once.
func Objects(ctx context.Context, conn *pg.Conn, addresses []planner.Address) (map[planner.Address]planner.State, error) {
	states, byKind := map[planner.Address]planner.State{}, map[string]map[string]planner.State{}
	err := conn.Read(ctx, func(tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, "set local jit = off"); err != nil {
			return err
		}
		for _, a := range addresses {
			if byKind[a.Kind] == nil {
				q, ok := planner.CatalogOf(a.Kind)
				if !ok {
					return fmt.Errorf("%s: there is no kind %q", a, a.Kind)
				}
				rows, _, err := attempt(ctx, tx, q)
				if err != nil {
					return err
				}
				if byKind[a.Kind], err = planner.FindAll(a.Kind, rows); err != nil {
					return err
				}
			}
			if states[a] = byKind[a.Kind][a.Name]; states[a] == nil {
				states[a] = planner.State{}
			}
		}
		return nil
	})
	return states, err
}

// look prepares a transaction for reading one object: names as [pg.Conn.Read] has
// them, and the name that catalogs with many rows limit themselves to.
const look = "select set_config('search_path', '', true), set_config('jit', 'off', true), set_config('skytools.only', $1, true)"
