package pg_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// primary starts a server that can be replicated, with a database and 2 MB in it.
func primary(t *testing.T) (*sandbox.Server, *sandboxtest.DB) {
	t.Helper()
	s := sandboxtest.Private(t, sandbox.Options{Settings: map[string]string{"wal_level": "replica", "max_wal_senders": "4", "wal_keep_size": "64MB"}})
	db := sandboxtest.DatabaseOn(t, s, "template1")
	db.Script(t, "create table filler as select n, repeat(md5(n::text), 8) as text from generate_series(1, 8000) n")
	return s, db
}

func replicate(t *testing.T, s *sandbox.Server) *pg.Replication {
	t.Helper()
	r, err := pg.Replicate(t.Context(), s.DSN("ignored"), pg.Options{App: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestReplicationCommands(t *testing.T) {
	s, db := primary(t)
	r := replicate(t, s)
	ctx := t.Context()

	system, err := r.Identify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := sandboxtest.One[string](t, db, "select system_identifier::text from pg_control_system()"); system.ID != want || system.Timeline != 1 || system.At == 0 {
		t.Errorf("identified as %+v; want system %s on timeline 1", system, want)
	}
	if size, err := r.Show(ctx, "wal_segment_size"); err != nil || size != "16MB" {
		t.Errorf("wal_segment_size: %q, %v", size, err)
	}
	if _, err := r.Show(ctx, "no_such_setting"); pg.Code(err) != "42704" {
		t.Errorf("an unknown setting: %v", err)
	}
	if _, _, err := r.History(ctx, 1); err == nil {
		t.Error("timeline 1 has a history")
	}

	if err := r.CreateSlot(ctx, "ours", false); err != nil {
		t.Fatal(err)
	}
	if err := r.CreateSlot(ctx, "ours", false); pg.Code(err) != "42710" {
		t.Errorf("a slot made twice: %v", err)
	}
	if got := sandboxtest.One[string](t, db, "select slot_type || ' ' || (restart_lsn is not null) from pg_replication_slots where slot_name = 'ours'"); got != "physical true" {
		t.Errorf("the slot is %s", got)
	}
	slot, err := r.ReadSlot(ctx, "ours")
	switch {
	case r.Major() < 15:
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("read a slot of 14: %v", err)
		}
	case err != nil || slot.Restart == 0 || slot.Timeline != 1:
		t.Errorf("the slot is %+v, %v", slot, err)
	default:
		if _, err := r.ReadSlot(ctx, "other"); !errors.Is(err, pg.ErrNoSlot) {
			t.Errorf("a slot that is not there: %v", err)
		}
	}
	if err := r.DropSlot(ctx, "ours"); err != nil {
		t.Error(err)
	}
}

func TestReplicateNeedsTheAttribute(t *testing.T) {
	s, db := primary(t)
	db.Script(t, "create role plain login")
	_, err := pg.Replicate(t.Context(), strings.ReplaceAll(s.DSN("x"), "user="+sandbox.User, "user=plain"), pg.Options{})
	var connect *pg.ConnectError
	if !errors.As(err, &connect) || !strings.Contains(connect.Hint(), "replication") {
		t.Errorf("got %v", err)
	}
}

// received is a backup, taken apart.
type received struct {
	files    map[uint32]map[string][]byte // by tablespace
	last     string                       // file of the data directory
	manifest []byte
}

func receive(t *testing.T, b *pg.BaseBackup) received {
	t.Helper()
	got := received{files: map[uint32]map[string][]byte{}}
	for {
		part, err := b.Next()
		if err == io.EOF {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if part.Manifest {
			if got.manifest, err = io.ReadAll(b); err != nil {
				t.Fatal(err)
			}
			continue
		}
		files := map[string][]byte{}
		for archive := tar.NewReader(b); ; {
			h, err := archive.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if files[h.Name], err = io.ReadAll(archive); err != nil {
				t.Fatal(err)
			}
			if part.OID == 0 && h.Typeflag == tar.TypeReg {
				got.last = h.Name
			}
		}
		got.files[part.OID] = files
	}
}

// TestBaseBackup: every file arrives as the server's own manifest has it.
func TestBaseBackup(t *testing.T) {
	s, db := primary(t)
	space := filepath.Join(s.Dir, "space")
	makeSpace(t, s, space)
	db.Script(t, "create tablespace other location "+sql.Literal(space))
	db.Script(t, "create table elsewhere tablespace other as select * from filler")
	r := replicate(t, s)
	for n := range 2 { // the connection can be used again
		b, err := r.BaseBackup(t.Context(), pg.BackupOptions{Label: `it's "ours" \ ` + fmt.Sprint(n), Fast: true})
		if err != nil {
			t.Fatal(err)
		}
		if b.Start == 0 || b.Timeline != 1 || len(b.Tablespaces) != 2 {
			t.Errorf("it starts at %s on timeline %d with %+v", b.Start, b.Timeline, b.Tablespaces)
		}
		got := receive(t, b)
		b.Close()
		if b.End.LSN < b.Start || b.End.Timeline != 1 {
			t.Errorf("it ends at %+v", b.End)
		}
		base := got.files[0]
		if !strings.Contains(string(base["backup_label"]), `LABEL: it's "ours" \ `+fmt.Sprint(n)+"\n") {
			t.Errorf("backup_label: %s", base["backup_label"])
		}
		if got.last != "global/pg_control" {
			t.Errorf("the last file is %s", got.last)
		}
		if !strings.Contains(string(base["tablespace_map"]), space) {
			t.Errorf("tablespace_map: %s", base["tablespace_map"])
		}
		checkManifest(t, got)
	}
	if _, err := r.Identify(t.Context()); err != nil {
		t.Error(err)
	}
}

func checkManifest(t *testing.T, got received) {
	t.Helper()
	var manifest struct {
		Files []struct {
			Path     string
			Size     int
			Checksum string
		}
	}
	if err := json.Unmarshal(bytes.ReplaceAll(got.manifest, []byte("Checksum-Algorithm"), []byte("Algorithm")), &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Files) < 900 {
		t.Errorf("the manifest has %d files", len(manifest.Files))
	}
	elsewhere := 0
	for _, f := range manifest.Files {
		files, name := got.files[0], f.Path
		if rest, is := strings.CutPrefix(f.Path, "pg_tblspc/"); is {
			var oid uint32
			fmt.Sscan(strings.SplitN(rest, "/", 2)[0], &oid)
			files, name = got.files[oid], strings.SplitN(rest, "/", 2)[1]
			elsewhere++
		}
		data, found := files[name]
		sum := binary.LittleEndian.AppendUint32(nil, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
		if !found || len(data) != f.Size || hex.EncodeToString(sum) != f.Checksum {
			t.Errorf("%s: found %v, %d bytes of %d", f.Path, found, len(data), f.Size)
		}
	}
	if elsewhere == 0 {
		t.Error("nothing came from the tablespace")
	}
}

func makeSpace(t *testing.T, s *sandbox.Server, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Give(dir); err != nil {
		t.Fatal(err)
	}
}

func TestBaseBackupFindsBadPages(t *testing.T) {
	s := sandboxtest.Private(t, sandbox.Options{Initdb: []string{"--data-checksums"}, Settings: map[string]string{"wal_level": "replica"}})
	db := sandboxtest.DatabaseOn(t, s, "template1")
	db.Script(t, "create table spoilt as select n from generate_series(1, 10000) n; checkpoint")
	file := sandboxtest.One[string](t, db, "select pg_relation_filepath('spoilt')")
	f, err := os.OpenFile(filepath.Join(s.Dir, "data", file), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("rot"), 3*8192+5000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	b, err := replicate(t, s).BaseBackup(t.Context(), pg.BackupOptions{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for err == nil {
		_, err = b.Next()
	}
	var bad *pg.BadPagesError
	if !errors.As(err, &bad) || !strings.Contains(strings.Join(bad.Pages, " "), file) {
		t.Errorf("got %v; want a word of %s", err, file)
	}

	// Where they are no error, the backup is complete, and the connection goes on.
	r := replicate(t, s)
	for range 2 {
		b, err = r.BaseBackup(t.Context(), pg.BackupOptions{Fast: true, BadPages: true})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for err == nil {
			_, err = b.Next()
		}
		if err != io.EOF || b.End.LSN < b.Start || !strings.Contains(strings.Join(b.BadPages, " "), file) {
			t.Errorf("got %v up to %s, with %q", err, b.End.LSN, b.BadPages)
		}
	}
}

func TestBaseBackupIsGivenUp(t *testing.T) {
	s, _ := primary(t)
	for name, end := range map[string]func(cancel func(), b *pg.BaseBackup){
		"by its context": func(cancel func(), b *pg.BaseBackup) { cancel() },
		"by closing it":  func(cancel func(), b *pg.BaseBackup) { b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b, err := replicate(t, s).BaseBackup(ctx, pg.BackupOptions{Fast: true, Rate: 1024})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Next(); err != nil {
				t.Fatal(err)
			}
			end(cancel, b)
			if _, err := io.Copy(io.Discard, b); err == nil {
				t.Error("it came to an end all the same")
			}
			b.Close()
		})
	}
}

// TestStream: WAL arrives as the server has it on disk, and what comes after the end
// of a timeline is told.
func TestStream(t *testing.T) {
	s, db := primary(t)
	r := replicate(t, s)
	ctx := t.Context()
	system, err := r.Identify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	start := system.At &^ (16<<20 - 1)
	stream, err := r.Stream(ctx, "", start, 1)
	if err != nil {
		t.Fatal(err)
	}
	db.Script(t, "insert into filler select * from filler")
	upTo, err := sql.ParseLSN(sandboxtest.One[string](t, db, "select pg_current_wal_flush_lsn()::text"))
	if err != nil {
		t.Fatal(err)
	}
	wal := collect(t, stream, start, upTo)
	if onDisk := segment(t, s, 1, start); !bytes.Equal(wal[:min(len(wal), len(onDisk))], onDisk[:min(len(wal), len(onDisk))]) {
		t.Error("the WAL differs from that on disk")
	}

	// A wait that ends loses nothing, and the server answers when it is asked to.
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	for err = nil; err == nil; {
		_, err = stream.Receive(short)
	}
	cancel()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a short wait: %v", err)
	}
	if err := stream.Report(ctx, upTo, upTo, 0, true); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(ctx); err != nil {
		t.Error(err)
	}
	if got := sandboxtest.One[string](t, db, "select flush_lsn::text from pg_stat_replication where application_name = $1", t.Name()); got != upTo.String() {
		t.Errorf("the server knows of %s flushed; want %s", got, upTo)
	}

	if next, err := stream.End(ctx); err != nil || next != (pg.Switch{}) {
		t.Errorf("ended by us: %+v, %v", next, err)
	}
	if _, err := r.Identify(ctx); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if _, err := r.Stream(ctx, "", start, 7); err == nil {
		t.Error("it streams a timeline that there never was")
	}
	if _, err := r.Identify(ctx); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
	stream, err = r.Stream(ctx, "", 0, 1)
	if err == nil {
		_, err = stream.Receive(ctx)
	}
	if pg.Code(err) != "58P01" {
		t.Errorf("WAL that is gone: %v", err)
	}
}

// collect receives up to a position and checks that nothing is left out.
func collect(t *testing.T, stream *pg.Stream, from, to sql.LSN) []byte {
	t.Helper()
	var wal []byte
	for at := from; at < to; {
		m, err := stream.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m.WAL == nil {
			continue
		}
		if m.At != at || m.Sent.Before(time.Now().Add(-time.Hour)) {
			t.Fatalf("WAL from %s sent %s; want from %s", m.At, m.Sent, at)
		}
		wal, at = append(wal, m.WAL...), at+sql.LSN(len(m.WAL))
	}
	return wal
}

func segment(t *testing.T, s *sandbox.Server, timeline int, start sql.LSN) []byte {
	t.Helper()
	name := fmt.Sprintf("%08X%08X%08X", timeline, uint64(start)>>32, uint64(start)&0xFFFFFFFF>>24)
	data, err := os.ReadFile(filepath.Join(s.Dir, "data", "pg_wal", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestStreamOverATimelinesEnd(t *testing.T) {
	s, db := primary(t)
	system, err := replicate(t, s).Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := system.At &^ (16<<20 - 1)
	db.Script(t, "insert into filler select * from filler")

	// The server becomes a standby of nobody, and is promoted while we stream.
	s.Halt()
	touch(t, filepath.Join(s.Dir, "data", "standby.signal"))
	if err := s.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := replicate(t, s)
	stream, err := r.Stream(t.Context(), "", start, 1)
	if err != nil {
		t.Fatal(err)
	}
	db.Script(t, "select pg_promote()")
	for err == nil {
		_, err = stream.Receive(t.Context())
	}
	if !errors.Is(err, pg.ErrTimelineEnd) {
		t.Fatalf("got %v", err)
	}
	next, err := stream.End(t.Context())
	if err != nil || next.Timeline != 2 || next.At <= start {
		t.Fatalf("it goes on at %+v, %v", next, err)
	}
	name, text, err := r.History(t.Context(), 2)
	if err != nil || name != "00000002.history" || !strings.HasPrefix(string(text), "1\t"+next.At.String()+"\t") {
		t.Errorf("history %s: %q, %v", name, text, err)
	}

	// Who asks for the very end of the old timeline hears the same at once.
	stream, err = r.Stream(t.Context(), "", next.At, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(t.Context()); !errors.Is(err, pg.ErrTimelineEnd) {
		t.Errorf("at the end: %v", err)
	}
	if again, err := stream.End(t.Context()); err != nil || again != next {
		t.Errorf("at the end it goes on at %+v, %v; want %+v", again, err, next)
	}
	if stream, err = r.Stream(t.Context(), "", next.At&^(16<<20-1), 2); err != nil {
		t.Fatal(err)
	}
	db.Script(t, "insert into filler select * from filler limit 10")
	if m, err := stream.Receive(t.Context()); err != nil || m.WAL == nil {
		t.Errorf("on timeline 2: %+v, %v", m, err)
	}
}

func touch(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Give(file); err != nil {
		t.Fatal(err)
	}
}
