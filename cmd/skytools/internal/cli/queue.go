package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
)

// reach says in which databases a queue command looks: the declared ones, or the one at
// a conninfo.
type reach struct {
	app   *app
	paths []string
	dsn   string
	dead  bool // look in databases that are declared dead, too
}

// place is one of them. The name of one that is not declared is known when it has
// answered.
type place struct {
	name string
	dsn  func(context.Context) (string, error)
}

func (a *app) queue() *cobra.Command {
	r := &reach{app: a}
	cmd := &cobra.Command{
		Use: "queue", Short: "Look into queues and handle their events: list, show, tail, insert, retry, skip, export, lost", Args: cobra.ArbitraryArgs,
		Long: `Works on the queues of the declared databases, declared themselves or not. QUEUE is
NAME@DATABASE, or NAME where one database has it. With --dsn it works without YAML on
the database there, also on one where the original PgQ is installed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	f := cmd.PersistentFlags()
	f.StringArrayVarP(&r.paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	f.StringVar(&r.dsn, "dsn", "", "conninfo of a database, to work without YAML, also SKYTOOLS_DSN; keep passwords in ~/.pgpass")
	for _, add := range []func(*reach) *cobra.Command{
		(*reach).list, (*reach).show, (*reach).tail, (*reach).insert, (*reach).retry, (*reach).skip, (*reach).export, (*reach).lost,
	} {
		c := add(r)
		c.ValidArgsFunction = r.complete
		cmd.AddCommand(c)
	}
	return cmd
}

// complete offers the declared queues, and where a consumer is wanted the declared ones
// of the queue; it connects to nothing.
func (r *reach) complete(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if r.dsn != "" || len(args) > strings.Count(cmd.Use, " CONSUMER") || cmd.Name() == "list" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	set, err := r.app.load(r.paths)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all []string
	for _, address := range planner.Addresses(set) {
		queue, consumer, _ := strings.Cut(address.Name, "/")
		switch {
		case len(args) == 0 && address.Kind == "queue":
			all = append(all, address.Name+"@"+address.Database)
		case len(args) == 1 && address.Kind == "consumer" && (args[0] == queue || args[0] == queue+"@"+address.Database):
			all = append(all, consumer)
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// needArgs requires some arguments and names those that are missing.
func needArgs(cmd *cobra.Command, args []string, names ...string) error {
	if len(args) < len(names) {
		return usage("%s: %s is missing: %s", cmd.CommandPath(), names[len(args)], cmd.UseLine())
	}
	return nil
}

// exactArgs is needArgs for commands that take no more.
func exactArgs(cmd *cobra.Command, args []string, names ...string) error {
	if len(args) > len(names) {
		return usage("%s: %q is too much: %s", cmd.CommandPath(), args[len(names)], cmd.UseLine())
	}
	return needArgs(cmd, args, names...)
}

// places are the databases to look in. set is nil with --dsn.
func (r *reach) places() (all []place, set *spec.Set, err error) {
	if r.dsn != "" {
		if len(r.paths) > 0 {
			return nil, nil, usage("queue: --dsn names a database without YAML, and --spec names YAML: give one of them")
		}
		if err := pg.Check(r.dsn); err != nil {
			return nil, nil, usage("queue: --dsn: %v", err)
		}
		return []place{{dsn: func(context.Context) (string, error) { return r.dsn, nil }}}, nil, nil
	}
	if set, err = r.app.load(r.paths); errors.As(err, new(hinted)) {
		return nil, nil, hinted{err, "name the YAML with --spec PATH, or a database with --dsn CONNINFO"}
	} else if err != nil {
		return nil, nil, err
	}
	for _, d := range set.Databases {
		if d.State != spec.Dead || r.dead {
			all = append(all, place{d.Name, d.DSN.Reveal})
		}
	}
	return all, set, nil
}

// dial connects to a place, and learns its name where it has none yet.
func (p *place) dial(ctx context.Context, o pg.Options) (*pg.Conn, error) {
	dsn, err := p.dsn(ctx)
	if err != nil {
		return nil, err
	}
	if o.App == "" {
		o.App = "skytools queue"
	}
	conn, err := pg.Dial(ctx, dsn, o)
	if err != nil || p.name != "" {
		return conn, err
	}
	if p.name, err = pg.One[string](ctx, conn, "select current_database()"); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// An openQueue is a queue with a session in its database.
type openQueue struct {
	pgq.QueueDetail // as it was when it was opened
	place           place
	conn            *pg.Conn
	user            string // the role of the session
}

// address is NAME@DATABASE, for people.
func (q *openQueue) address() string { return render.Clean(q.Name + "@" + q.place.name) }

// permit says which role is needed when a privilege is missing.
func (q *openQueue) permit(err error, group string) error {
	return permitted(err, group, q.user)
}

func permitted(err error, group, user string) error {
	if pg.Code(err) != "42501" {
		return err
	}
	return hinted{err, "this needs " + group + ": grant " + group + " to " + sql.Ident(user)}
}

// open finds the queue that a person has named and connects to its database.
func (r *reach) open(ctx context.Context, name string) (*openQueue, error) {
	ctx, cancel := context.WithTimeout(ctx, r.app.timeout)
	defer cancel()
	all, set, err := r.places()
	if err != nil {
		return nil, err
	}
	found := search(ctx, all)
	q, err := choose(found, set, name)
	for _, f := range found {
		if f.conn != nil && (q == nil || f.conn != q.conn) {
			f.conn.Close()
		}
	}
	return q, err
}

// A finding is what one database answered.
type finding struct {
	place  place
	conn   *pg.Conn
	user   string
	queues []pgq.QueueDetail
	err    error
}

// search asks all databases at once for their queues.
func search(ctx context.Context, all []place) []finding {
	found := make([]finding, len(all))
	var group sync.WaitGroup
	for i, p := range all {
		group.Go(func() {
			f := finding{place: p}
			if f.conn, f.err = f.place.dial(ctx, pg.Options{}); f.err == nil {
				f.err = f.conn.Read(ctx, func(tx *pg.Tx) (err error) {
					if f.user, err = pg.One[string](ctx, tx, "select current_user"); err != nil {
						return err
					}
					f.queues, err = details[pgq.QueueDetail](ctx, tx, pgq.QueueDetails)
					return err
				})
			}
			f.err = permitted(f.err, "pgq_reader", f.user)
			found[i] = f
		})
	}
	group.Wait()
	return found
}

// details runs a catalog query and decodes its rows; where pgq is not installed there
// are none.
func details[T any](ctx context.Context, tx *pg.Tx, c sql.Catalog) ([]T, error) {
	var raw []json.RawMessage
	err := tx.Attempt(ctx, func() (err error) { raw, err = tx.Catalog(ctx, c); return err })
	switch pg.Code(err) {
	case "3F000", "42P01", "42883":
		return []T{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the %s details: %w", c.Kind, err)
	}
	all := make([]T, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &all[i]); err != nil {
			return nil, fmt.Errorf("read the %s details: %w", c.Kind, err)
		}
	}
	return all, nil
}

// choose picks the queue that a name means: NAME@DATABASE where that is one of the
// databases, otherwise NAME in the only database that has it.
func choose(found []finding, set *spec.Set, text string) (*openQueue, error) {
	name, within := text, found
	if at := strings.LastIndex(text, "@"); at > 0 {
		if i := slices.IndexFunc(found, func(f finding) bool { return f.place.name == text[at+1:] }); i >= 0 && (set != nil || !has(found[i], text)) {
			name, within = text[:at], found[i:i+1]
		}
	}
	var those []*openQueue
	var names, unread []string
	for _, f := range within {
		if f.err != nil {
			unread = append(unread, f.place.name)
		}
		for _, d := range f.queues {
			names = append(names, d.Name)
			if d.Name == name {
				those = append(those, &openQueue{QueueDetail: d, place: f.place, conn: f.conn, user: f.user})
			}
		}
	}
	switch {
	case len(those) == 1 && (len(unread) == 0 || !declaredOn(set, name, unread)):
		return those[0], nil
	case len(unread) > 0 && len(those) < 2:
		i := slices.IndexFunc(within, func(f finding) bool { return f.err != nil })
		err := fmt.Errorf("look for queue %q: %w", name, named(within[i].place, within[i].err))
		if len(those) == 1 {
			return nil, hinted{err, "there is one on " + those[0].place.name + ": name it " + name + "@" + those[0].place.name}
		}
		return nil, err
	case len(those) > 1:
		var at []string
		for _, q := range those {
			at = append(at, q.address())
		}
		return nil, usage("queue %q is on %d databases: name one of %s", name, len(those), strings.Join(at, ", "))
	}
	return nil, noQueue(found, set, text, name, within, names)
}

func has(f finding, name string) bool {
	return slices.ContainsFunc(f.queues, func(d pgq.QueueDetail) bool { return d.Name == name })
}

// declaredOn says whether the YAML has the queue on one of the databases.
func declaredOn(set *spec.Set, name string, databases []string) bool {
	return set != nil && slices.ContainsFunc(planner.Addresses(set), func(a planner.Address) bool {
		return a.Kind == "queue" && a.Name == name && slices.Contains(databases, a.Database)
	})
}

// named says which database an error is about; the errors of a place without a name
// begin with where it is.
func named(p place, err error) error {
	if p.name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

func noQueue(found []finding, set *spec.Set, text, name string, within []finding, names []string) error {
	var databases []string
	for _, f := range within {
		databases = append(databases, f.place.name)
	}
	if at := strings.LastIndex(text, "@"); at > 0 && name == text {
		var all []string
		for _, f := range found {
			all = append(all, f.place.name)
		}
		near := spec.Nearest(text[at+1:], all)
		if near != "" {
			return usage("queue %q: there is no database %q; did you mean %s?", text, text[at+1:], render.Clean(text[:at]+"@"+near))
		}
	}
	err := fmt.Sprintf("there is no queue %q on %s", name, strings.Join(databases, ", "))
	if near := spec.Nearest(name, names); near != "" {
		return usage("%s; did you mean %s?", err, render.Clean(near))
	}
	if len(names) == 0 {
		return usage("%s, nor any other", err)
	}
	return &codeError{code: exitUsage, message: err, hint: "skytools queue list shows those that are there"}
}

// consumer finds a consumer of the queue by its name.
func (q *openQueue) consumer(ctx context.Context, tx *pg.Tx, name string) (*pgq.ConsumerDetail, []pgq.ConsumerDetail, error) {
	all, err := details[pgq.ConsumerDetail](ctx, tx, pgq.ConsumerDetails)
	if err != nil {
		return nil, nil, err
	}
	all = slices.DeleteFunc(all, func(c pgq.ConsumerDetail) bool { return c.Queue != q.Name })
	var names []string
	for i, c := range all {
		if c.Name == name {
			return &all[i], all, nil
		}
		names = append(names, c.Name)
	}
	if near := spec.Nearest(name, names); near != "" {
		return nil, nil, usage("queue %s has no consumer %q; did you mean %s?", q.address(), name, render.Clean(near))
	}
	if len(names) == 0 {
		return nil, nil, usage("queue %s has no consumer %q, nor any other", q.address(), name)
	}
	return nil, nil, usage("queue %s has no consumer %q; it has %s", q.address(), name, render.Clean(strings.Join(names, ", ")))
}

// confirm wants a yes: by the flag, or from a person.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.InTTY {
		return &codeError{code: exitApproval, message: "nobody is there to ask, and --yes was not given", hint: "if that is what you want, add --yes"}
	}
	fmt.Fprintf(a.Err, "\n%s Only yes is a yes: ", question)
	if answer, _ := bufio.NewReader(a.In).ReadString('\n'); strings.TrimSpace(answer) != "yes" {
		return &codeError{code: exitInterrupted, message: "nothing was changed"}
	}
	return nil
}

// moved turns a conflict with another transaction into a plain answer.
func moved(err error, what string) error {
	if pg.Code(err) == "40001" {
		return &codeError{code: exitStale, message: what + " has changed meanwhile; nothing was changed", hint: "look again with the same command"}
	}
	return err
}

// isInterrupt says whether a command ended because it was asked to.
func isInterrupt(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || pg.Code(err) == "57014" || err == nil)
}

func (a *app) encode(v any) error {
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
