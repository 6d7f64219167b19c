// Package pg runs the statements of package sql. It is the only package that
// imports pgx, and so the only door to a PostgreSQL server: connections,
// transactions, COPY, advisory locks, and the fault hook that tests use to fail
// any statement.
//
// It knows how to talk to a server. It does not know what skytools keeps there.
package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/skytools-go/skytools/sql"
)

// A Conn is one session. It is not safe for concurrent use.
type Conn struct {
	raw  *pgx.Conn
	mode []any // how statements are sent, where that is not pgx's own way
}

// Options say what a session needs beyond a place to connect to.
type Options struct {
	App      string            // application_name, so that pg_stat_activity tells who this is
	Settings map[string]string // run-time parameters of the session
	Notify   func(channel, payload string)
}

// Dial connects to dsn, a conninfo string or URL. PG* variables, .pgpass and
// service files fill in what it leaves out. The error never holds a password.
func Dial(ctx context.Context, dsn string, o Options) (*Conn, error) {
	cfg, err := o.config(dsn)
	if err != nil {
		return nil, err
	}
	if o.Notify != nil {
		cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { o.Notify(n.Channel, n.Payload) }
	}
	return dial(ctx, cfg)
}

// config is how a session begins.
func (o Options) config(dsn string) (*pgx.ConnConfig, error) {
	cfg, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	if o.App != "" {
		cfg.RuntimeParams["application_name"] = o.App
	}
	for name, value := range o.Settings {
		cfg.RuntimeParams[name] = value
	}
	return cfg, nil
}

func dial(ctx context.Context, cfg *pgx.ConnConfig) (*Conn, error) {
	raw, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(cfg, err)
	}
	c := &Conn{raw: raw}
	pooled, err := c.pooled(ctx)
	if err != nil {
		c.Close()
		return nil, connectError(cfg, err)
	}
	if pooled {
		c.mode = unnamed
	}
	return c, nil
}

// unnamed keeps a session free of named prepared statements. Behind a transaction
// pooler they would stay in a server process that is not ours alone, and the next
// session with the same statement would find the name taken.
var unnamed = []any{pgx.QueryExecModeCacheDescribe}

// pooled reports whether a pooler is in between: then it is not the process that
// greeted us that answers.
func (c *Conn) pooled(ctx context.Context) (bool, error) {
	answers, err := c.raw.PgConn().Exec(ctx, "select pg_backend_pid()").ReadAll()
	if err != nil || len(answers) != 1 || len(answers[0].Rows) != 1 {
		return false, err
	}
	return string(answers[0].Rows[0][0]) != strconv.FormatUint(uint64(c.PID()), 10), nil
}

// Check reports what is wrong with dsn without connecting.
func Check(dsn string) error {
	_, err := parse(dsn)
	return err
}

// Place is where dsn leads, for people: host and database, never a password.
func Place(dsn string) string {
	cfg, err := parse(dsn)
	if err != nil {
		return "an unreadable conninfo"
	}
	return place(cfg)
}

// Location is a conninfo for other nodes: where dsn leads, without role and
// password, which are theirs to know. Empty when dsn cannot be read.
func Location(dsn string) string {
	cfg, err := parse(dsn)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("host=%s port=%d dbname=%s", conninfo(cfg.Host), cfg.Port, conninfo(cfg.Database))
}

// conninfo quotes a value where a conninfo string needs it.
// Source: PostgreSQL documentation, 34.1.1.1 Keyword/Value Connection Strings.
func conninfo(value string) string {
	if value != "" && !strings.ContainsAny(value, " '\\\t\n") {
		return value
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

func place(cfg *pgx.ConnConfig) string {
	return fmt.Sprintf("host=%s port=%d dbname=%s user=%s", cfg.Host, cfg.Port, cfg.Database, cfg.User)
}

func parse(dsn string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		var parse *pgconn.ParseConfigError
		if errors.As(err, &parse) && errors.Unwrap(parse) != nil {
			err = errors.Unwrap(parse) // the outer text repeats the whole string
		}
		return nil, fmt.Errorf("read the conninfo: %w", err)
	}
	if cfg.Password != "" { // a file on disk with a newline at its end is the usual source
		cfg.Password = strings.TrimRight(cfg.Password, "\r\n")
	}
	if cfg.RuntimeParams == nil {
		cfg.RuntimeParams = map[string]string{}
	}
	return cfg, nil
}

// Close ends the session. It is safe to call on a broken one.
func (c *Conn) Close() {
	if c != nil && c.raw != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		c.raw.Close(ctx)
	}
}

// Closed reports whether the session is known to have ended.
func (c *Conn) Closed() bool { return c.raw.IsClosed() }

// Cut drops the connection at once, as a failing network would.
func (c *Conn) Cut() { c.raw.PgConn().Conn().Close() }

// PID is the server process that serves the session.
func (c *Conn) PID() uint32 { return c.raw.PgConn().PID() }

// ServerVersion is the server's version, such as "15.18".
func (c *Conn) ServerVersion() string {
	version, _, _ := strings.Cut(c.raw.PgConn().ParameterStatus("server_version"), " ")
	return version
}

// Exec runs one statement and returns the number of rows it affected.
func (c *Conn) Exec(ctx context.Context, text string, args ...any) (n int64, err error) {
	err = guarded(ctx, c, text, func() error {
		tag, err := c.raw.Exec(ctx, text, slices.Concat(c.mode, args)...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// Script runs a text of any number of statements, which take no parameters.
// Outside a transaction block the server makes the whole text one transaction.
func (c *Conn) Script(ctx context.Context, text string) error {
	return guarded(ctx, c, text, func() error {
		_, err := c.raw.PgConn().Exec(ctx, text).ReadAll()
		return err
	})
}

// SortIn lets the session sort so many bytes without a file, if it may not sort more
// already.
func (c *Conn) SortIn(ctx context.Context, bytes int64) error {
	_, err := c.Exec(ctx, `
		select set_config('work_mem', ($1::int8 / 1024) || 'kB', false)
		 where pg_size_bytes(current_setting('work_mem')) < $1::int8`, bytes)
	if err != nil {
		return fmt.Errorf("set up the session: %w", err)
	}
	return nil
}

// Listen subscribes the session to a notification channel.
func (c *Conn) Listen(ctx context.Context, channel string) error {
	_, err := c.Exec(ctx, "listen "+sql.Ident(channel))
	return err
}

// Wait returns when a notification has arrived (and Options.Notify has seen it),
// when ctx is done, or with the error that ended the session.
func (c *Conn) Wait(ctx context.Context) error {
	_, err := c.raw.WaitForNotification(ctx)
	return err
}

// connectError says where we tried to connect, and what to try when that is known.
func connectError(cfg *pgx.ConnConfig, err error) error {
	var pgErr *pgconn.PgError
	var connect *pgconn.ConnectError
	cause := err
	if errors.As(err, &connect) && errors.Unwrap(connect) != nil {
		cause = errors.Unwrap(connect)
	}
	hint := ""
	switch {
	case errors.As(err, &pgErr):
		cause = pgErr
		hint = connectHint(pgErr.Code, cfg)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		hint = "no answer in time: is the host right, and does a firewall drop the packets?"
	case strings.Contains(cause.Error(), "connection refused"):
		hint = "nothing listens there: is the server running, and is the port right?"
	case strings.Contains(cause.Error(), "no such file"):
		hint = "no server has a socket there: is it running, and is host the directory of its socket?"
	case strings.Contains(cause.Error(), "hostname resolving"):
		hint = "the name does not resolve: check its spelling"
	}
	return &ConnectError{Place: place(cfg), Hint_: hint, Err: cause}
}

func connectHint(code string, cfg *pgx.ConnConfig) string {
	switch code {
	case "28P01":
		return "the password is wrong or missing for " + cfg.User
	case "28000":
		return "pg_hba.conf of the server has no line that lets " + cfg.User + " in from here, or the role does not exist"
	case "3D000":
		return "create it with: createdb " + cfg.Database
	case "53300":
		return "the server has no free connection: raise max_connections or close some"
	case "57P03":
		return "the server is starting up or recovering: try again in a moment"
	}
	return ""
}
