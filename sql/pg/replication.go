package pg

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/skytools-go/skytools/sql"
)

// A Replication is a physical replication connection: it runs replication commands
// and no SQL. The role needs REPLICATION, and pg_hba.conf a line for the database
// named replication. It is not safe for concurrent use.
//
// It knows the commands and their framing on servers 14 to 18. It does not know
// what becomes of the bytes.
//
// Source: PostgreSQL documentation, 53.4 Streaming Replication Protocol.
type Replication struct {
	conn       *Conn
	identified bool     // Identify was called, without which 14 refuses to stream
	warnings   []string // what the server has said during the command in hand
}

// Replicate connects to the server of dsn for physical replication. The database in
// dsn plays no part. A pooler in between cannot work.
func Replicate(ctx context.Context, dsn string, o Options) (*Replication, error) {
	cfg, err := o.config(dsn)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["replication"] = "true"
	r := &Replication{}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			r.warnings = append(r.warnings, n.Message)
		}
	}
	raw, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, replicateError(connectError(cfg, err))
	}
	r.conn = &Conn{raw: raw}
	return r, nil
}

// replicateError adds what to try when it is replication that the server refused.
func replicateError(err error) error {
	var connect *ConnectError
	if !errors.As(err, &connect) {
		return err
	}
	switch Code(err) {
	case "42501":
		connect.Hint_ = "the role needs the attribute: alter role … replication"
	case "28000":
		connect.Hint_ = "pg_hba.conf of the server has no line for the database replication and this role from here, or the role does not exist"
	}
	return err
}

// Close ends the connection. It is safe to call on a broken one.
func (r *Replication) Close() { r.conn.Close() }

// Cut drops the connection at once. It is the one method that may be called while
// another one runs, which then fails.
func (r *Replication) Cut() { r.conn.Cut() }

// ServerVersion is the server's version, such as "15.18".
func (r *Replication) ServerVersion() string { return r.conn.ServerVersion() }

// Major is the server's major version, such as 15.
func (r *Replication) Major() int {
	digits := strings.TrimLeft(r.ServerVersion(), "0123456789")
	n, _ := strconv.Atoi(strings.TrimSuffix(r.ServerVersion(), digits))
	return n
}

// A System is what a server says it is.
type System struct {
	ID       string  // the system identifier, which initdb gives and copies keep
	Timeline uint32  // the current one
	At       sql.LSN // flushed so far; on a standby: replayed or received
}

// Identify asks the server what it is.
func (r *Replication) Identify(ctx context.Context) (System, error) {
	row, err := r.row(ctx, "IDENTIFY_SYSTEM", 3)
	if err != nil {
		return System{}, err
	}
	r.identified = true
	timeline, err := parseTimeline(row[1])
	if err != nil {
		return System{}, err
	}
	at, err := sql.ParseLSN(row[2])
	return System{ID: row[0], Timeline: timeline, At: at}, err
}

// Show is the value of a setting of the server, with its unit as SHOW prints it.
func (r *Replication) Show(ctx context.Context, setting string) (string, error) {
	row, err := r.row(ctx, "SHOW "+sql.Ident(setting), 1)
	if err != nil {
		return "", err
	}
	return row[0], nil
}

// CreateSlot makes a physical slot that reserves WAL from this moment on. A
// temporary one goes with the connection. Code 42710: there is one of that name.
func (r *Replication) CreateSlot(ctx context.Context, name string, temporary bool) error {
	kind := ""
	if temporary {
		kind = " TEMPORARY"
	}
	_, err := r.row(ctx, "CREATE_REPLICATION_SLOT "+sql.Ident(name)+kind+" PHYSICAL RESERVE_WAL", 1)
	return err
}

// DropSlot removes a slot that nobody uses.
func (r *Replication) DropSlot(ctx context.Context, name string) error {
	_, err := r.rows(ctx, "DROP_REPLICATION_SLOT "+sql.Ident(name))
	return err
}

// A Slot is what a server keeps for whoever comes back.
type Slot struct {
	Restart  sql.LSN // WAL from here on is kept; 0: none is
	Timeline uint32  // of Restart
}

// ErrNoSlot says that the server has no physical slot of that name.
var ErrNoSlot = errors.New("there is no such replication slot")

// ReadSlot looks at a physical slot. Servers before 15 do not know the command:
// errors.ErrUnsupported; there pg_replication_slots tells an ordinary session.
func (r *Replication) ReadSlot(ctx context.Context, name string) (Slot, error) {
	if r.Major() < 15 {
		return Slot{}, fmt.Errorf("read the slot %s of a server before version 15: %w", name, errors.ErrUnsupported)
	}
	row, err := r.row(ctx, "READ_REPLICATION_SLOT "+sql.Ident(name), 3)
	if err != nil {
		return Slot{}, err
	}
	if row[0] == "" {
		return Slot{}, fmt.Errorf("slot %s: %w", name, ErrNoSlot)
	}
	s := Slot{}
	if row[1] != "" {
		if s.Restart, err = sql.ParseLSN(row[1]); err != nil {
			return Slot{}, err
		}
	}
	if row[2] != "" {
		s.Timeline, err = parseTimeline(row[2])
	}
	return s, err
}

// History is a timeline's history file, its name and content. Timeline 1 has none.
func (r *Replication) History(ctx context.Context, timeline uint32) (name string, text []byte, err error) {
	row, err := r.row(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", timeline), 2)
	if err != nil {
		return "", nil, err
	}
	return row[0], []byte(row[1]), nil
}

// row runs a command that answers with one row of at least so many columns.
func (r *Replication) row(ctx context.Context, command string, columns int) ([]string, error) {
	rows, err := r.rows(ctx, command)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || len(rows[0]) < columns {
		return nil, fmt.Errorf("%s: the server answered with %d rows where one of %d columns was due", command, len(rows), columns)
	}
	return rows[0], nil
}

// rows runs a command and returns its rows as text; NULL is empty.
func (r *Replication) rows(ctx context.Context, command string) (rows [][]string, err error) {
	r.warnings = nil
	err = guarded(ctx, r.conn, command, func() error {
		answers, err := r.conn.raw.PgConn().Exec(ctx, command).ReadAll()
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		for _, answer := range answers {
			for _, values := range answer.Rows {
				rows = append(rows, texts(values))
			}
		}
		return nil
	})
	return rows, err
}

func texts(values [][]byte) []string {
	row := make([]string, len(values))
	for i, v := range values {
		row[i] = string(v)
	}
	return row
}

func parseTimeline(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no timeline", s)
	}
	return uint32(n), nil
}

// receive is one message; an error of the server is an error.
func (r *Replication) receive() (pgproto3.BackendMessage, error) {
	msg, err := r.conn.raw.PgConn().ReceiveMessage(context.Background())
	if err != nil {
		return nil, err
	}
	if refused, ok := msg.(*pgproto3.ErrorResponse); ok {
		return nil, pgconn.ErrorResponseToPgError(refused)
	}
	return msg, nil
}

// drain reads up to where the server waits for the next command.
func (r *Replication) drain() error {
	for {
		msg, err := r.receive()
		if err != nil {
			return err
		}
		if _, ready := msg.(*pgproto3.ReadyForQuery); ready {
			return nil
		}
	}
}

// resultSet reads the rows up to the end of one command's answer.
func (r *Replication) resultSet() (rows [][]string, err error) {
	for {
		msg, err := r.receive()
		if err != nil {
			return nil, err
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			rows = append(rows, texts(msg.Values))
		case *pgproto3.CommandComplete:
			return rows, nil
		case *pgproto3.ReadyForQuery:
			return nil, errors.New("the server ended the command early")
		}
	}
}
