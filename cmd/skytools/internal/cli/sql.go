package cli

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pg"
)

//go:embed grants.sql
var grantsSQL string

func (a *app) sql() *cobra.Command {
	cmd := &cobra.Command{
		Use: "sql", Short: "The SQL that skytools installs and the grants that it needs", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "print [SCHEMA...]", Short: "Print one script that installs schemas: psql -1 -f; it can be run again", ValidArgs: schemaNames(),
		RunE: func(_ *cobra.Command, names []string) error {
			script, err := printSchemas(names)
			if err != nil {
				return err
			}
			fmt.Fprint(a.Out, script)
			return nil
		},
	}, &cobra.Command{
		Use: "grants", Short: "Print the roles and grants for plan, apply and run", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprint(a.Out, grantsSQL)
			return nil
		},
	}, &cobra.Command{
		Use: "check DSN", Short: "Say what skytools could do with a database as the role of DSN; reads only", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.check(cmd.Context(), args[0]) },
	})
	return cmd
}

func schemaNames() []string {
	var names []string
	for _, s := range planner.Schemas {
		names = append(names, s.Name)
	}
	return names
}

// printSchemas is the script of the named schemas, by default all, with the ones
// that they require and the roles that their grants name.
func printSchemas(names []string) (string, error) {
	if len(names) == 0 {
		names = schemaNames()
	}
	wanted := map[string]bool{}
	var need func(name string) error
	need = func(name string) error {
		i := slices.IndexFunc(planner.Schemas, func(s sql.Schema) bool { return s.Name == name })
		if i < 0 {
			err := usage("sql print: there is no schema %q; there are %s", name, strings.Join(schemaNames(), ", "))
			if near := spec.Nearest(name, schemaNames()); near != "" {
				err = usage("sql print: there is no schema %q; did you mean %s?", name, near)
			}
			return err
		}
		wanted[name] = true
		for _, r := range planner.Schemas[i].Requires {
			if err := need(r); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range names {
		if err := need(name); err != nil {
			return "", err
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "-- Installs schemas of skytools %s. Run it with: psql -1 -v ON_ERROR_STOP=1 -f FILE\n", Version())
	out.WriteString("-- It needs CREATE on the database and CREATEROLE, no superuser, and can be run again.\n\n")
	for _, s := range planner.Schemas {
		if !wanted[s.Name] {
			continue
		}
		for _, r := range s.Roles {
			out.WriteString(r.Create().Text + ";\n\n")
		}
		out.WriteString(s.Script() + "\n")
	}
	return out.String(), nil
}

// check connects once and tells what would work.
func (a *app) check(ctx context.Context, place string) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	conn, err := pg.Dial(ctx, place, pg.Options{App: "skytools sql check"})
	if err != nil {
		return err
	}
	defer conn.Close()
	row, err := pg.One[json.RawMessage](ctx, conn, meta.Context.Text)
	if err != nil {
		return err
	}
	var c meta.ContextRow
	if err := json.Unmarshal(row, &c); err != nil {
		return err
	}
	bad := 0
	say := func(ok bool, what, otherwise string) {
		word := a.painted("ok", "yes")
		if !ok {
			word = a.painted("drop", "no ")
		}
		fmt.Fprintf(a.Out, "  %s  %s\n", word, what)
		if !ok {
			bad++
			fmt.Fprintf(a.Out, "       %s\n", otherwise)
		}
	}
	fmt.Fprintf(a.Out, "%s: PostgreSQL %s, database %s, role %s\n", pg.Place(place), conn.ServerVersion(), c.Database, c.User)
	major := strings.Split(conn.ServerVersion(), ".")[0]
	say(len(major) > 1 && major >= "14", "PostgreSQL 14 or newer", "older servers are not supported")
	say(c.Primary, "a primary, which can be changed", "a standby can be planned from, not applied to")
	say(c.CreateIn, "apply can create schemas", fmt.Sprintf("grant create on database %s to %s", sql.Ident(c.Database), sql.Ident(c.User)))
	say(c.CreateRole || a.rolesExist(ctx, conn), "apply can create the group roles, or they exist", "have them created once, as skytools sql print pgq begins, or: alter role "+sql.Ident(c.User)+" createrole")
	replica := c.ReplicaRole
	if !replica && major >= "15" {
		replica, _ = pg.One[bool](ctx, conn, meta.MaySetReplicaRole)
	}
	say(replica, "run can silence triggers and foreign keys while it replays", replicaAdvice(major, c.User))
	direct := directConnection(ctx, place)
	say(direct == nil, "session locks work (no transaction pooler in between)", "declare the server's own address as direct: in the YAML")
	if bad > 0 {
		fmt.Fprintf(a.Out, "%d points to look at; what each means is beside it. Reading and planning works in any case.\n", bad)
	}
	return nil
}

func replicaAdvice(major, role string) string {
	if major >= "15" {
		return "as a superuser: grant set on parameter session_replication_role to " + sql.Ident(role) + "; without it replay works, but user triggers and foreign keys fire on subscribers"
	}
	return "before PostgreSQL 15 only superusers may; replay works, but user triggers and foreign keys fire on subscribers"
}

func (a *app) rolesExist(ctx context.Context, conn *pg.Conn) bool {
	n, err := pg.One[int64](ctx, conn, "select count(*) from pg_roles where rolname in ('pgq_reader', 'pgq_writer', 'pgq_admin')")
	return err == nil && n == 3
}

// directConnection takes and gives back a lock that nobody else uses.
func directConnection(ctx context.Context, place string) error {
	lease, err := pg.Acquire(ctx, place, "skytools sql check", meta.LockKey(fmt.Sprint("check ", time.Now().UnixNano())))
	if errors.Is(err, pg.ErrHeld) {
		return nil
	}
	if err == nil {
		lease.Release()
	}
	return err
}
