package pg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/skytools-go/skytools/sql"
)

// BackupOptions say what BASE_BACKUP is asked for. WAL is never included and never
// waited for: whoever takes the backup knows where its WAL has to arrive.
type BackupOptions struct {
	Label string
	Fast  bool // checkpoint at once instead of spread over minutes
	Rate  int  // kB per second at most, 32 to 1048576; 0: as fast as it goes

	// BadPages: a backup in which the server has found pages whose checksum is wrong is
	// one all the same, and BaseBackup.BadPages says which. Otherwise it ends with a
	// BadPagesError.
	BadPages bool
}

// A BaseBackup is a backup on its way from the server. It is read part by part:
//
//	Next -> archive (tar of a tablespace) ... -> Next -> manifest -> Next -> io.EOF, then End
//
// The data directory's archive comes last on servers of all versions, with
// pg_control as its last file. The connection is of no other use meanwhile, and
// Close gives up the rest of the backup by dropping the connection.
type BaseBackup struct {
	Start       sql.LSN // where the WAL that it needs begins
	Timeline    uint32
	Tablespaces []Tablespace
	End         BackupEnd // after Next has answered io.EOF
	BadPages    []string  // then, too: the server's words, one per file or page, as many as it gives

	badPages bool // are no error

	r        *Replication
	framed   bool        // 15 and later: one stream, each message with its kind
	squeezed bool        // archives come under LZ4
	plain    *unsqueezer // of the part in hand; nil: it is plain
	stop     func() bool
	ctx      context.Context
	begun    int    // before 15: how many archives have begun
	rest     []byte // of the message in hand
	inPart   bool
	pending  *Part // framed: the part that was announced at the end of the one before
	copied   bool  // framed: the COPY has ended
	err      error
}

// A Tablespace is one archive of a backup.
type Tablespace struct {
	OID  uint32 // 0: the data directory itself
	Path string // empty for the data directory
	Size int64  // bytes, as the server estimates them before it begins
}

// BackupEnd is where the backup ended: WAL up to here makes it consistent.
type BackupEnd struct {
	LSN      sql.LSN
	Timeline uint32
}

// A Part is what the bytes that follow belong to.
type Part struct {
	Manifest bool   // the server's backup_manifest; otherwise a tar archive
	OID      uint32 // the tablespace; 0: the data directory
}

// A BadPagesError says that the server found pages whose checksum is wrong. All
// that it sent is on disk as it sent it.
type BadPagesError struct {
	Pages []string // the server's words, one per file or page, as many as it gives
	Err   error
}

func (e *BadPagesError) Error() string {
	return fmt.Sprintf("the server found bad pages (%s): %v", strings.Join(e.Pages, "; "), e.Err)
}
func (e *BadPagesError) Unwrap() error { return e.Err }

// BaseBackup begins a backup of the whole server, which may be a standby. Page
// checksums are verified where the server has them, and the manifest carries the
// CRC-32C of every file. ctx holds for the whole backup.
//
// A server of 15 or later that can compress with LZ4 does, unless the rate is limited:
// that costs both sides less than to pass the plain bytes from one to the other.
//
// Source: PostgreSQL documentation, 53.4, BASE_BACKUP; for 14 its edition.
func (r *Replication) BaseBackup(ctx context.Context, o BackupOptions) (*BaseBackup, error) {
	b := &BaseBackup{r: r, framed: r.Major() >= 15, ctx: ctx, badPages: o.BadPages}
	r.warnings = nil
	b.stop = context.AfterFunc(ctx, r.conn.Cut)
	b.squeezed = b.framed && o.Rate == 0
	err := b.ask(o)
	if b.squeezed && withoutLZ4(err) && r.drain() == nil {
		b.squeezed = false
		err = b.ask(o)
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("begin a base backup: %w", err)
	}
	return b, nil
}

// withoutLZ4 reports what a server answers that was built without it: the specification is
// refused as a whole. Source: PostgreSQL's error codes, 0A000 and 42601.
func withoutLZ4(err error) bool {
	code := Code(err)
	return code == "0A000" || code == "42601"
}

func (b *BaseBackup) ask(o BackupOptions) error {
	command := b.command(o)
	return guarded(b.ctx, b.r.conn, command, func() error {
		frontend := b.r.conn.raw.PgConn().Frontend()
		frontend.SendQuery(&pgproto3.Query{String: command})
		if err := frontend.Flush(); err != nil {
			return err
		}
		return b.begin()
	})
}

func (b *BaseBackup) command(o BackupOptions) string {
	checkpoint := "spread"
	if o.Fast {
		checkpoint = "fast"
	}
	if b.framed {
		options := []string{"LABEL " + word(o.Label), "PROGRESS true", "CHECKPOINT " + word(checkpoint), "WAL false", "WAIT false",
			"TABLESPACE_MAP true", "VERIFY_CHECKSUMS true", "MANIFEST 'yes'", "MANIFEST_CHECKSUMS 'CRC32C'"}
		if o.Rate > 0 {
			options = append(options, "MAX_RATE "+strconv.Itoa(o.Rate))
		}
		if b.squeezed {
			options = append(options, "COMPRESSION 'lz4'")
		}
		return "BASE_BACKUP (" + strings.Join(options, ", ") + ")"
	}
	command := "BASE_BACKUP LABEL " + word(o.Label) + " PROGRESS NOWAIT TABLESPACE_MAP MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'"
	if o.Fast {
		command += " FAST"
	}
	if o.Rate > 0 {
		command += " MAX_RATE " + strconv.Itoa(o.Rate)
	}
	return command
}

// word quotes a string for a replication command, whose grammar knows no escapes.
func word(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// begin reads the two result sets before the data: where it starts, and tablespaces.
func (b *BaseBackup) begin() error {
	start, err := b.r.resultSet()
	if err != nil {
		return err
	}
	end, err := position(start)
	if err != nil {
		return err
	}
	b.Start, b.Timeline = end.LSN, end.Timeline
	spaces, err := b.r.resultSet()
	if err != nil {
		return err
	}
	for _, row := range spaces {
		if len(row) < 3 {
			return fmt.Errorf("a tablespace of %d columns", len(row))
		}
		oid, _ := strconv.ParseUint(row[0], 10, 32) // NULL for the data directory
		kilobytes, _ := strconv.ParseInt(row[2], 10, 64)
		b.Tablespaces = append(b.Tablespaces, Tablespace{OID: uint32(oid), Path: row[1], Size: kilobytes * 1024})
	}
	if b.framed {
		_, err = b.expectCopy()
	}
	return err
}

func position(rows [][]string) (BackupEnd, error) {
	if len(rows) != 1 || len(rows[0]) < 2 {
		return BackupEnd{}, fmt.Errorf("%d rows where the position was due", len(rows))
	}
	lsn, err := sql.ParseLSN(rows[0][0])
	if err != nil {
		return BackupEnd{}, err
	}
	timeline, err := parseTimeline(rows[0][1])
	return BackupEnd{lsn, timeline}, err
}

// Next moves on to the next part, past what was not read of this one. io.EOF: the
// backup is complete, and End is known.
func (b *BaseBackup) Next() (Part, error) {
	if b.err != nil {
		return Part{}, b.err
	}
	part, err := b.advance()
	if err != nil && err != io.EOF {
		err = fmt.Errorf("receive a base backup: %w", b.cause(err))
	}
	b.err = err
	return part, err
}

func (b *BaseBackup) advance() (Part, error) {
	if b.inPart {
		if _, err := io.Copy(io.Discard, received{b}); err != nil {
			return Part{}, err
		}
	}
	if b.framed {
		return b.announced()
	}
	// Before 15 each archive is a COPY of its own, then the manifest.
	more, err := b.expectCopy()
	if err != nil || !more {
		return Part{}, err
	}
	b.inPart = true
	b.begun++
	if b.begun > len(b.Tablespaces) {
		return Part{Manifest: true}, nil
	}
	return Part{OID: b.Tablespaces[b.begun-1].OID}, nil
}

// announced waits for the message that begins a part.
func (b *BaseBackup) announced() (Part, error) {
	if b.pending == nil && !b.copied {
		if err := b.fill(); err != nil && err != io.EOF {
			return Part{}, err
		}
	}
	if b.pending == nil {
		return Part{}, b.finish()
	}
	part := *b.pending
	b.pending, b.inPart, b.plain = nil, true, nil
	if b.squeezed && !part.Manifest {
		b.plain = newUnsqueezer(received{b})
	}
	return part, nil
}

// Read reads the part in hand. io.EOF is the end of the part.
func (b *BaseBackup) Read(p []byte) (int, error) {
	if b.plain != nil {
		return b.plain.Read(p)
	}
	return received{b}.Read(p)
}

// received is the part in hand as the server sends it.
type received struct{ *BaseBackup }

func (b received) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if !b.inPart {
			return 0, io.EOF
		}
		if err := b.fill(); err != nil {
			if err == io.EOF {
				b.inPart = false
				return 0, io.EOF
			}
			return 0, b.cause(err)
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// fill receives one message of data. io.EOF: the part has ended, because the COPY
// did or because another part was announced.
func (b *BaseBackup) fill() error {
	for {
		msg, err := b.r.receive()
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.CopyDone:
			b.copied = true
			return io.EOF
		case *pgproto3.CopyData:
			if !b.framed {
				b.rest = msg.Data
				return nil
			}
			if done, err := b.unframe(msg.Data); done || err != nil {
				return err
			}
		}
	}
}

// unframe takes one message of a server of 15 or later apart. The byte in front says
// what it is: n a new archive, m the manifest, d data, p progress.
func (b *BaseBackup) unframe(data []byte) (done bool, err error) {
	if len(data) == 0 {
		return false, errors.New("an empty message")
	}
	switch data[0] {
	case 'd':
		b.rest = data[1:]
		return len(b.rest) > 0, nil
	case 'p':
		return false, nil // we count the bytes ourselves
	case 'm':
		b.pending = &Part{Manifest: true}
		return true, io.EOF
	case 'n':
		part, err := newArchive(data[1:])
		if err != nil {
			return false, err
		}
		b.pending = &part
		return true, io.EOF
	}
	return false, fmt.Errorf("a message of unknown kind %q", data[0])
}

// newArchive reads the name of an archive: base.tar, or the tablespace's OID.
func newArchive(data []byte) (Part, error) {
	name, _, found := bytes.Cut(data, []byte{0})
	if !found {
		return Part{}, errors.New("an archive without a name")
	}
	stem, _, _ := strings.Cut(string(name), ".tar") // and .lz4
	if stem == "base" {
		return Part{}, nil
	}
	oid, err := strconv.ParseUint(stem, 10, 32)
	if err != nil {
		return Part{}, fmt.Errorf("an archive named %q", name)
	}
	return Part{OID: uint32(oid)}, nil
}

// finish reads what comes after the data: the end position, and the verdict on pages.
func (b *BaseBackup) finish() error {
	rows, err := b.r.resultSet()
	if err != nil {
		return err
	}
	if b.End, err = position(rows); err != nil {
		return err
	}
	if err := b.r.drain(); err != nil {
		// The verdict on pages comes last: what was sent is complete.
		bad := (*BadPagesError)(nil)
		if !b.badPages || !errors.As(b.cause(err), &bad) {
			return err
		}
		if err := b.r.drain(); err != nil {
			return err
		}
		b.BadPages = bad.Pages
	}
	b.stop()
	return io.EOF
}

// cause turns an error into what lies behind it: the end of the context, or pages.
func (b *BaseBackup) cause(err error) error {
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	if Code(err) == "XX001" && len(b.r.warnings) > 0 { // data_corrupted
		return &BadPagesError{Pages: slices.Clone(b.r.warnings), Err: err}
	}
	return err
}

// Close ends the backup wherever it is. Unless Next has answered io.EOF the server
// gives it up, and the connection is gone.
func (b *BaseBackup) Close() {
	if b.stop() && b.err != io.EOF {
		b.r.conn.Cut()
	}
}

// expectCopy waits for a COPY to begin. Before 15 the result set with the end may
// come instead, which is false and io.EOF.
func (b *BaseBackup) expectCopy() (bool, error) {
	for {
		msg, err := b.r.receive()
		if err != nil {
			return false, err
		}
		switch msg.(type) {
		case *pgproto3.CopyOutResponse:
			return true, nil
		case *pgproto3.RowDescription:
			return false, b.finish()
		case *pgproto3.ReadyForQuery:
			return false, errors.New("the server ended the command early")
		}
	}
}
