package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/store"
)

// content puts a file of a backup together.
func content(t *testing.T, shelf *backup.Shelf, m *backup.Manifest, path string) []byte {
	t.Helper()
	for i := range m.Files {
		f := &m.Files[i]
		if f.Path != path {
			continue
		}
		var all []byte
		for j := range f.Frames {
			frame := f.Frames[j]
			err := shelf.ReadPack(t.Context(), m.Packs[frame.Pack], backup.Extent{Offset: int64(frame.Offset), Length: int64(frame.Length)}, func(stored []byte) error {
				plain, err := frame.Unpack(stored, nil)
				all = append(all, plain...)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	t.Fatalf("the backup has no %s", path)
	return nil
}

// whole checks that a backup has the table's file as it is on disk.
func whole(t *testing.T, c *backuptest.Cluster, shelf *backup.Shelf, m *backup.Manifest, table string) {
	t.Helper()
	path := backuptest.One[string](c, "select pg_relation_filepath($1::regclass)", table)
	disk, err := os.ReadFile(filepath.Join(c.Dir, "data", path))
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, shelf, m, path); !bytes.Equal(got, disk) {
		t.Errorf("%s has %d bytes, which differ from the %d on disk", path, len(got), len(disk))
	}
	if !strings.Contains(string(content(t, shelf, m, "backup_label")), "START WAL LOCATION: "+m.Start.String()+" ") {
		t.Error("the label tells another start")
	}
}

func TestTake(t *testing.T) {
	c := backuptest.Start(t)
	c.Fill("large", 20)
	c.Fill("small", 1)
	c.Exec("checkpoint")
	shelf := c.Shelf(backuptest.Dir(t, "store"))
	var calls, last, total atomic.Int64
	o := c.Options()
	o.Progress = func(done, of int64) {
		calls.Add(1)
		if done < last.Swap(done) {
			t.Error("progress goes back")
		}
		total.Store(of)
	}
	first := c.Take(shelf, o)
	if first.Parent != "" || !first.Full() || first.NewBytes != first.Bytes || first.Stop < first.Start || len(first.Settings) != 5 {
		t.Errorf("the first backup is %+v %+v", first.Head, first.Tail)
	}
	if calls.Load() == 0 || last.Load() != first.Bytes || total.Load() < first.Bytes {
		t.Errorf("progress ended at %d of %d after %d calls; the backup has %d bytes", last.Load(), total.Load(), calls.Load(), first.Bytes)
	}
	whole(t, c, shelf, first, "large")

	c.Exec("update small set text = 'x' where n = 1; checkpoint")
	second := c.Take(shelf, c.Options())
	if second.Parent != first.ID || second.NewBytes > 4<<20 || second.NewBytes == 0 {
		t.Errorf("the second backup follows %q and wrote %d bytes", second.Parent, second.NewBytes)
	}
	whole(t, c, shelf, second, "large")
	whole(t, c, shelf, second, "small")

	o = c.Options()
	o.Full = true
	third := c.Take(shelf, o)
	if !third.Full() || third.NewBytes != third.Bytes {
		t.Errorf("a full backup wrote %d bytes of %d", third.NewBytes, third.Bytes)
	}
	for _, m := range []*backup.Manifest{first, second, third} {
		again, err := shelf.Load(t.Context(), m.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Error(diff)
		}
	}
	list, err := shelf.List(t.Context())
	if err != nil || len(list) != 3 || list[0].ID != first.ID || !list[2].Complete || list[0].Stored != first.Stored {
		t.Errorf("the list is %+v, %v", list, err)
	}
}

func TestTakeEncrypted(t *testing.T) {
	c := backuptest.Start(t)
	c.Fill("secret", 2)
	c.Exec("checkpoint")
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := backuptest.Dir(t, "store")
	writer := c.Shelf(dir)
	writer.Recipients = []string{identity.Recipient().String()}
	c.Take(writer, c.Options())
	second := c.Take(writer, c.Options()) // the writer cannot decrypt, and compares all the same
	if second.Full() || second.NewBytes > second.Bytes/2 {
		t.Errorf("the second backup wrote %d bytes of %d", second.NewBytes, second.Bytes)
	}
	err = writer.ReadPack(t.Context(), second.Packs[0], backup.Extent{Length: 1}, func([]byte) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "no identity") {
		t.Errorf("read without an identity: %v", err)
	}
	reader := c.Shelf(dir)
	reader.Identities = []age.Identity{identity}
	whole(t, c, reader, second, "secret")
	plain := c.Shelf(dir)
	if third := c.Take(plain, c.Options()); !third.Full() {
		t.Error("a backup that is not encrypted refers to packs that are")
	}
}

// failing is a store that fails at the n-th object.
type failing struct {
	store.Store
	left atomic.Int64
}

var errBroken = errors.New("broken on purpose")

func (f *failing) Put(ctx context.Context, key string, body io.ReadSeeker) error {
	if f.left.Add(-1) < 0 {
		return errBroken
	}
	return f.Store.Put(ctx, key, body)
}

// TestTakeUpAnUnfinishedOne: without a manifest there is no backup, and its packs save
// the next one work.
func TestTakeUpAnUnfinishedOne(t *testing.T) {
	c := backuptest.Start(t)
	c.Fill("large", 10)
	c.Exec("checkpoint")
	dir := backuptest.Dir(t, "store")
	shelf := c.Shelf(dir)
	broken := &failing{Store: shelf.Stores[0].Store}
	broken.left.Store(6) // three packs, each with its index, or nearly so
	shelf.Stores[0].Store = broken
	if _, err := backup.Take(t.Context(), shelf, c.Options()); !errors.Is(err, errBroken) {
		t.Fatalf("got %v", err)
	}
	shelf = c.Shelf(dir)
	list, err := shelf.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Complete || list[0].Packs < 2 {
		t.Fatalf("the list is %+v, %v", list, err)
	}
	m := c.Take(shelf, c.Options())
	if m.NewBytes > m.Bytes-10<<20 || m.Parent != "" {
		t.Errorf("it wrote %d of %d bytes again", m.NewBytes, m.Bytes)
	}
	whole(t, c, shelf, m, "large")

	// What is going to be removed is not used any more.
	if err := shelf.Write(t.Context(), list[0].ID, backup.Tombstone, "gone"); err != nil {
		t.Fatal(err)
	}
	if err := shelf.Write(t.Context(), m.ID, backup.Tombstone, "gone"); err != nil {
		t.Fatal(err)
	}
	if m := c.Take(shelf, c.Options()); m.NewBytes != m.Bytes {
		t.Errorf("it refers to what is going to be removed: %d of %d bytes are new", m.NewBytes, m.Bytes)
	}
}

func TestTakeWithABrokenStore(t *testing.T) {
	c := backuptest.Start(t)
	c.Fill("kept", 1)
	c.Exec("checkpoint")
	good, other := backuptest.Dir(t, "good"), backuptest.Dir(t, "other")
	shelf := c.Shelf(good, other)
	shelf.Stores[1].Store = &failing{Store: shelf.Stores[1].Store}
	first := c.Take(shelf, c.Options()) // the broken one is not required
	shelf = c.Shelf(good, other)
	second := c.Take(shelf, c.Options())
	if second.Parent != first.ID {
		t.Errorf("the second backup follows %q", second.Parent)
	}
	// The other store lacks what the second backup refers to, and must not claim to have it.
	if list, err := c.Shelf(other).List(t.Context()); err != nil || len(list) > 0 && list[0].Complete {
		t.Errorf("the other store has %+v, %v", list, err)
	}
	// Once it is required the next backup is whole there.
	shelf.Stores[1].Required = true
	third := c.Take(shelf, c.Options())
	if !third.Full() {
		t.Error("the backup refers to packs that a required store does not have")
	}
	whole(t, c, c.Shelf(other), c.Take(shelf, c.Options()), "kept")
}

func TestTakeRefuses(t *testing.T) {
	c := backuptest.Start(t)
	shelf := c.Shelf(backuptest.Dir(t, "store"))
	ctx := t.Context()

	wrong := *shelf
	wrong.System = "1"
	var system *backup.SystemError
	if _, err := backup.Take(ctx, &wrong, c.Options()); !errors.As(err, &system) {
		t.Errorf("another system: %v", err)
	}

	c.Exec("alter system set archive_command = 'false'")
	c.Exec("select pg_reload_conf()")
	o := c.Options()
	o.Patience = 500 * time.Millisecond
	var archive *backup.ArchiveError
	if _, err := backup.Take(ctx, shelf, o); !errors.As(err, &archive) || !strings.Contains(err.Error(), "prove") {
		t.Errorf("a server that does not archive: %v", err)
	}
	if list, err := shelf.List(ctx); err != nil || len(list) != 0 {
		t.Errorf("it left %+v, %v", list, err)
	}
	c.Exec("alter system reset archive_command")
	c.Exec("select pg_reload_conf()")

	blocked := make(chan struct{})
	o = c.Options()
	var once atomic.Bool
	o.Progress = func(int64, int64) {
		if once.CompareAndSwap(false, true) {
			_, err := backup.Take(ctx, shelf, c.Options())
			if !errors.Is(err, backup.ErrRunning) {
				t.Errorf("a second backup at the same time: %v", err)
			}
			close(blocked)
		}
	}
	c.Take(shelf, o)
	<-blocked
}

func TestTakeFindsBadPages(t *testing.T) {
	c := backuptest.Start(t)
	c.Fill("spoilt", 1)
	c.Exec("checkpoint")
	file := backuptest.One[string](c, "select pg_relation_filepath('spoilt')")
	f, err := os.OpenFile(filepath.Join(c.Dir, "data", file), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("rot"), 3*8192+5000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	shelf := c.Shelf(backuptest.Dir(t, "store"))
	var hinted interface{ Hint() string }
	if _, err := backup.Take(t.Context(), shelf, c.Options()); err == nil || !strings.Contains(err.Error(), file) || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "on_bad_page") {
		t.Errorf("got %v", err)
	}
	if list, err := shelf.List(t.Context()); err != nil || len(list) > 0 && list[0].Complete {
		t.Errorf("it left %+v, %v", list, err)
	}
	o := c.Options()
	o.BadPages = true
	taken := c.Take(shelf, o)
	m, err := shelf.Load(t.Context(), taken.ID)
	if err != nil || len(m.BadPages) == 0 || !strings.Contains(m.BadPages[0], file) {
		t.Errorf("the manifest names %q, %v", m.BadPages, err)
	}
	whole(t, c, shelf, m, "spoilt")
}

// TestTakeIsStopped at any moment: then there is no backup, and nothing keeps the next.
func TestTakeIsStopped(t *testing.T) {
	c := backuptest.Start(t)
	c.Fill("large", 10)
	shelf := c.Shelf(backuptest.Dir(t, "store"))
	for n := range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		o := c.Options()
		var calls atomic.Int64
		o.Progress = func(int64, int64) {
			if calls.Add(1) == int64(1+200*n) {
				cancel()
			}
		}
		if _, err := backup.Take(ctx, shelf, o); !errors.Is(err, context.Canceled) {
			t.Errorf("stopped at call %d: %v", 1+200*n, err)
		}
		cancel()
	}
	if list, err := shelf.List(t.Context()); err != nil || len(list) > 0 && list[len(list)-1].Complete {
		t.Errorf("it left %+v, %v", list, err)
	}
	c.Take(shelf, c.Options())
}

func TestDecodeRefusesDamage(t *testing.T) {
	m := &backup.Manifest{Head: backup.Head{Format: 1, ID: "x", System: "1"}, Tail: backup.Tail{Packs: []backup.Pack{{Backup: "x"}}}}
	for i := range 50 {
		m.Files = append(m.Files, backup.File{Path: fmt.Sprint("base/", i), Size: 5, Frames: backup.Frames{{Length: 7}}})
	}
	good, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Decode(bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		bad := bytes.Clone(good)
		bad[n] ^= 0x41
		if got, err := backup.Decode(bytes.NewReader(bad)); err == nil && !cmp.Equal(got, m) {
			t.Errorf("byte %d was changed and nobody noticed", n)
		}
		if _, err := backup.Decode(bytes.NewReader(good[:n])); err == nil && n < len(good)-8 {
			t.Errorf("cut off after %d of %d bytes and nobody noticed", n, len(good))
		}
	}
	for name, spoil := range map[string]func(*backup.Manifest){
		"a path that leads outside": func(m *backup.Manifest) { m.Files[0].Path = "../../etc/passwd" },
		"an absolute path":          func(m *backup.Manifest) { m.Files[0].Path = "/etc/passwd" },
		"a frame too few":           func(m *backup.Manifest) { m.Files[0].Frames = nil },
		"a pack that is not there":  func(m *backup.Manifest) { m.Files[0].Frames = backup.Frames{{Pack: 1}} },
		"another format":            func(m *backup.Manifest) { m.Format = 2 },
	} {
		copied, err := backup.Decode(bytes.NewReader(good))
		if err != nil {
			t.Fatal(err)
		}
		spoil(copied)
		text, err := copied.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := backup.Decode(bytes.NewReader(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
