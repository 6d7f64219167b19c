package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/segment/segmenttest"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/sql"
)

var (
	cluster = segmenttest.Cluster
	system  = cluster.System
)

// A flaky store can be down.
type flaky struct {
	store.Store
	down atomic.Bool
}

var errDown = errors.New("the store is down")

func (f *flaky) Put(ctx context.Context, key string, body io.ReadSeeker) error {
	if f.down.Load() {
		return errDown
	}
	return f.Store.Put(ctx, key, body)
}

func (f *flaky) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if f.down.Load() {
		return nil, errDown
	}
	return f.Store.Get(ctx, key, offset, length)
}

func (f *flaky) List(ctx context.Context, prefix string) iter.Seq2[store.Info, error] {
	if f.down.Load() {
		return func(yield func(store.Info, error) bool) { yield(store.Info{}, errDown) }
	}
	return f.Store.List(ctx, prefix)
}

func (f *flaky) Stat(ctx context.Context, key string) (store.Info, error) {
	if f.down.Load() {
		return store.Info{}, errDown
	}
	return f.Store.Stat(ctx, key)
}

// An archive has two required stores and one that is not.
type archive struct {
	*repo.Repo
	roots  []string
	stores []*flaky
}

func newArchive(t testing.TB, c repo.Config) *archive {
	t.Helper()
	a := &archive{}
	for i := range 3 {
		a.roots = append(a.roots, t.TempDir())
		s, err := store.Open(t.Context(), store.Config{URL: "file://" + a.roots[i]})
		if err != nil {
			t.Fatal(err)
		}
		a.stores = append(a.stores, &flaky{Store: s})
		c.Stores = append(c.Stores, repo.Store{Store: a.stores[i], Required: i < 2})
	}
	var err error
	if a.Repo, err = repo.Open(c); err != nil {
		t.Fatal(err)
	}
	if err := a.Init(t.Context(), cluster, time.Now()); err != nil {
		t.Fatal(err)
	}
	return a
}

func name(t testing.TB, file string) segment.Name {
	t.Helper()
	n, err := segment.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// put archives the content of a file.
func (a *archive) put(t testing.TB, file string, content []byte) error {
	t.Helper()
	_, err := a.Put(t.Context(), system, name(t, file), bytes.NewReader(content))
	return err
}

// get is what comes back of a file.
func (a *archive) get(t testing.TB, file string) ([]byte, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "RECOVERYXLOG")
	if err := a.Get(t.Context(), system, name(t, file), path); err != nil {
		left, _ := os.ReadDir(filepath.Dir(path))
		if len(left) > 0 {
			t.Errorf("%v was left", left)
		}
		return nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content, nil
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	first  = "000000010000000000000001"
	second = "000000010000000000000002"
	third  = "000000010000000000000003"
)

func make1(t testing.TB, file string, seed uint64) []byte {
	return segmenttest.Make(cluster, name(t, file).Of(), seed)
}

func newIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	ok(t, err)
	return id
}

// TestRoundTrip brings all kinds of files in and out, and opens what a store has as the
// package comment says: without us.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, codec := range []repo.Codec{repo.Zstd, repo.LZ4, repo.None} {
		for _, encrypted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s encrypted=%v", codec, encrypted), func(t *testing.T) {
				t.Parallel()
				id := newIdentity(t)
				c := repo.Config{Codec: codec}
				if encrypted {
					c.Recipients = []age.Recipient{id.Recipient()}
				}
				a := newArchive(t, c)
				for file, content := range map[string][]byte{
					first: make1(t, first, 1), second + ".00000028.backup": []byte("START WAL LOCATION: 0/200028\n"),
					"00000002.history": []byte("1\t0/200000\tno recovery target specified\n"),
				} {
					ok(t, a.put(t, file, content))
					a.Identities = nil
					hidden := encrypted && !strings.HasSuffix(file, ".history") // what retention has to know
					if _, err := a.get(t, file); hidden != errors.Is(err, repo.ErrNoIdentity) || !hidden && err != nil {
						t.Errorf("%s without an identity: %v", file, err)
					}
					a.Identities = []age.Identity{id}
					got, err := a.get(t, file)
					ok(t, err)
					if !bytes.Equal(got, content) {
						t.Errorf("%s came back changed", file)
					}
				}
				recipe(t, a, id, encrypted, make1(t, first, 1))
			})
		}
	}
}

// recipe opens a segment in the shell.
func recipe(t *testing.T, a *archive, id *age.X25519Identity, encrypted bool, want []byte) {
	t.Helper()
	root, dir, data := a.roots[0], t.TempDir(), t.TempDir()
	script, err := filepath.Abs("../../../examples/archive/restore.sh")
	ok(t, err)
	key, to := filepath.Join(dir, "key"), filepath.Join(dir, "segment")
	ok(t, os.WriteFile(key, []byte(id.String()), 0o600))
	fetch := func(root, file string, code int) {
		t.Helper()
		cmd := exec.Command("sh", script, "wal", root, file, to)
		cmd.Dir = data
		cmd.Env = append(os.Environ(), "AGE_KEY="+key)
		if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != code {
			t.Errorf("%s ends with %d; want %d\n%s", file, cmd.ProcessState.ExitCode(), code, out)
		}
	}
	fetch(root, first, 0)
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// Exit code 1 ends recovery: only what is not there may have it.
	fetch(root, second, 1)
	fetch(dir, first, 255)
	// What there is of the last segment is for who ends recovery with it.
	start := cluster.Size.Start(name(t, second))
	part := make1(t, second, 1)
	clear(part[512<<10:])
	for _, upTo := range []int{100 << 10, 512 << 10, 200 << 10} {
		shorter := bytes.Clone(part)
		clear(shorter[upTo:])
		_, err := a.PutPartial(t.Context(), system, name(t, second), start+sql.LSN(upTo), bytes.NewReader(shorter))
		ok(t, err)
	}
	fetch(root, second, 1)
	ok(t, os.WriteFile(data+"/recovery.signal", nil, 0o600))
	fetch(root, second, 0)
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, part) {
		t.Errorf("of the last segment: %d bytes, %v", len(got), err)
	}
	fetch(root, third, 1)
	ok(t, os.WriteFile(data+"/standby.signal", nil, 0o600))
	fetch(root, second, 1)
	ok(t, os.Remove(data+"/standby.signal"))
	ok(t, a.put(t, third, make1(t, third, 1)))
	fetch(root, second, 1)
	if encrypted {
		ok(t, os.WriteFile(key, []byte(newIdentity(t).String()), 0o600))
		fetch(root, first, 255)
		ok(t, os.WriteFile(key, []byte(id.String()), 0o600))
	}
	object := fmt.Sprintf("%s/e/%d/wal/00000001/00000000/%s", root, system, first)
	whole, err := os.ReadFile(object)
	ok(t, err)
	ok(t, os.WriteFile(object, whole[:len(whole)-1], 0o600))
	fetch(root, first, 255)
}

// The same again is fine, however it is stored; another content is not, and replaces
// nothing. Source: design/wal.md, R6 and P2.
func TestNeverOverwrite(t *testing.T) {
	t.Parallel()
	a := newArchive(t, repo.Config{})
	for _, file := range []string{first, "00000002.history", first + ".00000028.backup"} {
		content, other := make1(t, first, 1), make1(t, first, 1)
		other[len(other)-1]++
		if !strings.HasPrefix(file, first) {
			content, other = []byte("1\t0/200000\twhy\n"), []byte("1\t0/300000\twhy\n")
		} else if file != first {
			content, other = []byte("one"), []byte("two")
		}
		ok(t, a.put(t, file, content))
		ok(t, a.put(t, file, content))
		for _, codec := range []repo.Codec{repo.LZ4, repo.None, repo.Zstd} {
			a.Codec = codec
			ok(t, a.put(t, file, content))
		}
		var split *repo.SplitBrainError
		if err := a.put(t, file, other); !errors.As(err, &split) || split.ExitCode() != 2 || split.Hint() == "" {
			t.Errorf("%s: %v", file, err)
		}
		got, err := a.get(t, file)
		ok(t, err)
		if !bytes.Equal(got, content) {
			t.Errorf("%s was replaced", file)
		}
	}
}

func TestRacingWriters(t *testing.T) {
	t.Parallel()
	a := newArchive(t, repo.Config{})
	errs := make([]error, 16)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { errs[i] = a.put(t, first, make1(t, first, uint64(i))) })
	}
	group.Wait()
	for i, err := range errs {
		var split *repo.SplitBrainError
		if err != nil && !errors.As(err, &split) {
			t.Error(err)
		}
		if got, getErr := a.get(t, first); err == nil && (getErr != nil || !bytes.Equal(got, make1(t, first, uint64(i)))) {
			t.Errorf("writer %d was told it had won: %v", i, getErr)
		}
	}
}

// Source: design/wal.md, R9, P5 and P6.
func TestRefused(t *testing.T) {
	t.Parallel()
	a := newArchive(t, repo.Config{})
	clone := cluster
	clone.System++
	for what, content := range map[string][]byte{
		"empty": nil, "short": make1(t, first, 1)[:1<<20-1], "long": append(make1(t, first, 1), 0), "zeros": make([]byte, 1<<20),
		"another segment": make1(t, second, 1), "another cluster": segmenttest.Make(clone, name(t, first), 1),
	} {
		var header *segment.HeaderError
		if err := a.put(t, first, content); !errors.As(err, &header) || header.Foreign != (what == "another cluster") {
			t.Errorf("%s: %v", what, err)
		}
	}
	var epoch *repo.EpochError
	if _, err := a.Put(t.Context(), clone.System, name(t, first), bytes.NewReader(segmenttest.Make(clone, name(t, first), 1))); !errors.As(err, &epoch) || epoch.Hint() == "" {
		t.Errorf("unknown cluster: %v", err)
	}
	if err := a.put(t, "00000003.history", []byte("4\t0/1\tlater\n")); err == nil {
		t.Error("a history of the future is taken")
	}
	if _, err := a.get(t, first); !errors.Is(err, repo.ErrAbsent) {
		t.Errorf("something was archived: %v", err)
	}
}

// Source: design/wal.md, R10.
func TestHistoryComesFirst(t *testing.T) {
	t.Parallel()
	a := newArchive(t, repo.Config{})
	const file = "000000020000000000000002"
	var history *repo.HistoryError
	if err := a.put(t, file, make1(t, file, 1)); !errors.As(err, &history) || history.Timeline != 2 {
		t.Errorf("without its history: %v", err)
	}
	ok(t, a.put(t, "00000002.history", []byte("1\t0/200000\twhy\n")))
	ok(t, a.put(t, file, make1(t, file, 1)))
}

// Source: design/wal.md, R5 and P7.
func TestStoresDown(t *testing.T) {
	t.Parallel()
	a := newArchive(t, repo.Config{})
	a.stores[2].down.Store(true)
	owed, err := a.Put(t.Context(), system, name(t, first), bytes.NewReader(make1(t, first, 1)))
	ok(t, err)
	if len(owed) != 1 || !errors.Is(owed[a.stores[2].Name()], errDown) {
		t.Errorf("owed: %v", owed)
	}
	a.stores[1].down.Store(true)
	if err := a.put(t, second, make1(t, second, 1)); !errors.Is(err, errDown) {
		t.Errorf("with a required store down: %v", err)
	}
	if there, err := a.Has(t.Context(), system, name(t, second)); there || !errors.Is(err, errDown) {
		t.Errorf("%v, %v", there, err)
	}
	a.stores[1].down.Store(false)
	ok(t, a.put(t, second, make1(t, second, 1)))
	if there, err := a.Has(t.Context(), system, name(t, second)); !there || err != nil {
		t.Errorf("%v, %v", there, err)
	}
	if there, err := a.Has(t.Context(), system, name(t, third)); there || err != nil {
		t.Errorf("%v, %v", there, err)
	}
}

// TestAbsent says absent only when nothing speaks against it: PostgreSQL ends recovery
// on it. Source: design/wal.md, R15, R16 and G2.
func TestAbsent(t *testing.T) {
	t.Parallel()
	a := newArchive(t, repo.Config{})
	ok(t, a.put(t, first, make1(t, first, 1)))
	if _, err := a.get(t, second); !errors.Is(err, repo.ErrAbsent) {
		t.Errorf("absent: %v", err)
	}
	for i := range a.stores {
		a.stores[i].down.Store(true)
		if _, err := a.get(t, second); err == nil || errors.Is(err, repo.ErrAbsent) {
			t.Errorf("absent with store %d down: %v", i, err)
		}
		if got, err := a.get(t, first); err != nil || !bytes.Equal(got, make1(t, first, 1)) {
			t.Errorf("store %d down: %v", i, err)
		}
		a.stores[i].down.Store(false)
		ok(t, os.Rename(a.roots[i], a.roots[i]+".away"))
		ok(t, os.Mkdir(a.roots[i], 0o700)) // what is left when a file system is not mounted
		if _, err := a.get(t, second); err == nil || errors.Is(err, repo.ErrAbsent) {
			t.Errorf("absent with store %d not mounted: %v", i, err)
		}
		ok(t, errors.Join(os.Remove(a.roots[i]), os.Rename(a.roots[i]+".away", a.roots[i])))
	}
	if _, err := a.get(t, second); !errors.Is(err, repo.ErrAbsent) {
		t.Errorf("absent: %v", err)
	}
}

// TestDamage spoils stored objects anywhere: another store helps, and without one the
// answer is not "absent".
func TestDamage(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	id := newIdentity(t)
	for _, c := range []repo.Config{{}, {Codec: repo.None}, {Codec: repo.LZ4}, {Recipients: []age.Recipient{id.Recipient()}, Identities: []age.Identity{id}}} {
		a := newArchive(t, c)
		want := make1(t, first, 1)
		ok(t, a.put(t, first, want))
		object := fmt.Sprintf("e/%d/wal/00000001/00000000/%s", system, first)
		good, err := os.ReadFile(filepath.Join(a.roots[0], object))
		ok(t, err)
		var lone *repo.Repo
		lone, err = repo.Open(repo.Config{Stores: a.Stores[:1], Identities: c.Identities})
		ok(t, err)
		for try := range 12 {
			bad := bytes.Clone(good)
			switch try % 3 {
			case 0:
				bad[r.IntN([]int{repo.HeaderSize, len(bad)}[try%2])] ^= 1 << r.IntN(8)
			case 1:
				bad = bad[:r.IntN(len(bad))]
			case 2:
				bad = append(bad, 0)
			}
			ok(t, os.WriteFile(filepath.Join(a.roots[0], object), bad, 0o600))
			if got, err := a.get(t, first); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("try %d: %v", try, err)
			}
			var damage *repo.DamageError
			alone := filepath.Join(t.TempDir(), "x")
			if err := lone.Get(t.Context(), system, name(t, first), alone); !errors.As(err, &damage) || errors.Is(err, repo.ErrAbsent) {
				// The SHA-256 of the content is left to Check, where a body is known to be whole.
				if got, readErr := os.ReadFile(alone); err != nil || readErr != nil || !bytes.Equal(got, want) || !bytes.Equal(bad[repo.HeaderSize:], good[repo.HeaderSize:]) {
					t.Fatalf("try %d, alone: %v", try, err)
				}
			}
			if _, err := a.Check(t.Context(), a.Stores[0], object); !errors.As(err, &damage) {
				t.Fatalf("try %d, check: %v", try, err)
			}
		}
		if _, err := a.Check(t.Context(), a.Stores[1], object); err != nil {
			t.Error(err)
		}
	}
}

// TestUnpackedWrong: a body that is what was stored, and does not unpack to what the header
// says, is found by its CRC, and by Check also by its SHA-256.
func TestUnpackedWrong(t *testing.T) {
	t.Parallel()
	a := newArchive(t, repo.Config{})
	want := make1(t, first, 1)
	ok(t, a.put(t, first, want))
	object := fmt.Sprintf("e/%d/wal/00000001/00000000/%s", system, first)
	good, err := os.ReadFile(filepath.Join(a.roots[0], object))
	ok(t, err)
	h, err := repo.ParseHeader(good)
	ok(t, err)
	lone, err := repo.Open(repo.Config{Stores: a.Stores[:1]})
	ok(t, err)
	for _, c := range []struct {
		name, is, becomes string
		got, checked      bool
	}{
		{"as it was", "", "", true, true},
		{"another CRC", fmt.Sprintf("%08x", uint32(h.CRC)), "00000001", false, false},
		{"another SHA-256", h.SHA256, strings.Repeat("0", 64), true, false},
	} {
		ok(t, os.WriteFile(filepath.Join(a.roots[0], object), bytes.Replace(good, []byte(c.is), []byte(c.becomes), 1), 0o600))
		var damage *repo.DamageError
		err := lone.Get(t.Context(), system, name(t, first), filepath.Join(t.TempDir(), "x"))
		if (err == nil) != c.got || err != nil && !errors.As(err, &damage) {
			t.Errorf("%s: got %v", c.name, err)
		}
		if _, err := a.Check(t.Context(), a.Stores[0], object); (err == nil) != c.checked || err != nil && !errors.As(err, &damage) {
			t.Errorf("%s: checked %v", c.name, err)
		}
	}
}

// TestMisplaced changes the one part of a header that no digest covers, and leaves an
// object under the name of another.
func TestMisplaced(t *testing.T) {
	t.Parallel()
	a := newArchive(t, repo.Config{})
	ok(t, a.put(t, first, make1(t, first, 1)))
	object := fmt.Sprintf("e/%d/wal/00000001/00000000/%s", system, first)
	file := filepath.Join(a.roots[0], object)
	good, err := os.ReadFile(file)
	ok(t, err)
	last := fmt.Sprint(system)
	changed := last[:len(last)-1] + string('0'+(last[len(last)-1]-'0'+1)%10)
	for from, to := range map[string]string{`"system":"` + last: `"system":"` + changed, `"name":"` + first: `"name":"` + second} {
		bad := bytes.Replace(good, []byte(from), []byte(to), 1)
		if bytes.Equal(bad, good) {
			t.Fatalf("no %s in the header", from)
		}
		ok(t, os.WriteFile(file, bad, 0o600))
		var damage *repo.DamageError
		if _, err := a.Check(t.Context(), a.Stores[0], object); !errors.As(err, &damage) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// Two promotions out of one segment leave different files of one name, and both are
// kept. They never stand for the segment, but at the tip. Source: design/wal.md, R11.
func TestPartial(t *testing.T) {
	t.Parallel()
	a := newArchive(t, repo.Config{})
	one, two := make1(t, second, 1), make1(t, second, 2)
	clear(one[700_000:])
	clear(two[:300_000][segment.HeaderSize:])
	clear(two[300_000:])
	ok(t, a.put(t, second+".partial", one))
	ok(t, a.put(t, second+".partial", two))
	ok(t, a.put(t, second+".partial", one))
	if _, err := a.get(t, second); !errors.Is(err, repo.ErrAbsent) {
		t.Errorf("a partial segment stands for the whole: %v", err)
	}
	tip := func() ([]byte, error) {
		path := filepath.Join(t.TempDir(), "RECOVERYXLOG")
		if err := a.GetPartial(t.Context(), system, name(t, second), path); err != nil {
			return nil, err
		}
		return os.ReadFile(path)
	}
	if got, err := tip(); err != nil || !bytes.Equal(got, one) {
		t.Errorf("the tip is not the longer one: %v", err)
	}
	start := cluster.Size.Start(name(t, second))
	three := make1(t, second, 3)
	_, err := a.PutPartial(t.Context(), system, name(t, second), start+900_000, bytes.NewReader(three))
	ok(t, err)
	if got, err := tip(); err != nil || !bytes.Equal(got, three) {
		t.Errorf("the tip is not the longest one: %v", err)
	}
	ok(t, a.put(t, third, make1(t, third, 1)))
	if _, err := tip(); !errors.Is(err, repo.ErrAbsent) {
		t.Errorf("it is no tip: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	a, b := newArchive(t, repo.Config{}), newArchive(t, repo.Config{})
	ok(t, a.Init(t.Context(), cluster, time.Now()))
	mixed, err := repo.Open(repo.Config{Stores: []repo.Store{a.Stores[0], b.Stores[0]}})
	ok(t, err)
	var identity *repo.IdentityError
	if err := mixed.Init(t.Context(), cluster, time.Now()); !errors.As(err, &identity) {
		t.Errorf("stores of two archives: %v", err)
	}
	other := cluster
	other.Size *= 2
	if err := a.Init(t.Context(), other, time.Now()); !errors.As(err, &identity) {
		t.Errorf("another segment size: %v", err)
	}
	upgraded := segment.Cluster{System: system + 1, Major: 16, Size: cluster.Size}
	ok(t, a.Init(t.Context(), upgraded, time.Now()))
	systems, err := a.Systems(t.Context())
	ok(t, err)
	if diff := cmp.Diff([]uint64{system, system + 1}, systems); diff != "" {
		t.Error(diff)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	a := newArchive(t, repo.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	ok(t, a.put(t, first, make1(t, first, 1)))
	ok(t, a.Wait(ctx, system, 1, 0x100028, 0x200000))
	if err := a.Wait(ctx, system, 1, 0x100028, 0x200001); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second segment is not there: %v", err)
	}
	done := make(chan error)
	go func() { done <- a.Wait(t.Context(), system, 1, 0x100028, 0x200001) }()
	ok(t, a.put(t, second, make1(t, second, 1)))
	ok(t, <-done)
}

func TestGaps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		files     string
		histories []segment.Lineage
		want      string
	}{
		{"", nil, ""},
		{"1/1 1/2 1/3", nil, ""},
		{"1/1 1/3", nil, "000000010000000000000002"},
		{"1/1 1/4 1/5 1/9", nil, "000000010000000000000002 to 000000010000000000000003 (2 segments), 000000010000000000000006 to 000000010000000000000008 (3 segments)"},
		{"1/1 1/2 2/3", []segment.Lineage{{Timeline: 2, Ancestors: []segment.Ancestor{{Timeline: 1, Left: 0x3000A0}}}}, ""},
		{"1/1 2/3", []segment.Lineage{{Timeline: 2, Ancestors: []segment.Ancestor{{Timeline: 1, Left: 0x3000A0}}}}, "000000010000000000000002"},
		{"1/FFF 1/1000", nil, ""}, // over the end of a log
		{"1/FFE 1/1000", nil, "000000010000000000000FFF"},
	} {
		var files []segment.Name
		for _, f := range strings.Fields(c.files) {
			var timeline uint32
			var number uint64
			fmt.Sscanf(f, "%d/%X", &timeline, &number)
			files = append(files, cluster.Size.At(timeline, sql.LSN(number<<20)))
		}
		var got []string
		for _, g := range repo.Gaps(cluster.Size, files, c.histories, nil) {
			got = append(got, g.String())
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %s, not %s", c.files, strings.Join(got, ", "), c.want)
		}
	}
}

// Behind a position there may be nothing, a gap, or one on each of two timelines.
func TestBehind(t *testing.T) {
	t.Parallel()
	a := newArchive(t, repo.Config{})
	one := segment.Lineage{Timeline: 1}
	two := segment.Lineage{Timeline: 2, Ancestors: []segment.Ancestor{{Timeline: 1, Left: 0x4000A0}}}
	behind := func(line segment.Lineage, at sql.LSN) string {
		t.Helper()
		gaps, err := a.Behind(t.Context(), system, line, at)
		ok(t, err)
		return strings.Trim(fmt.Sprint(gaps), "[]")
	}
	if got := behind(one, 0x6000A0); got != "" {
		t.Errorf("of an archive that has nothing: %s", got)
	}
	ok(t, a.put(t, first, make1(t, first, 1)))
	ok(t, a.put(t, second, make1(t, second, 1)))
	for _, c := range []struct {
		line segment.Lineage
		at   sql.LSN
		want string
	}{
		{one, 0, ""},
		{one, 0x1000A0, ""},
		{one, 0x3000A0, ""},
		{one, 0x4000A0, third},
		{one, 0x6000A0, "000000010000000000000003 to 000000010000000000000005 (3 segments)"},
		{two, 0x6000A0, "000000010000000000000003 000000020000000000000004 to 000000020000000000000005 (2 segments)"},
	} {
		if got := behind(c.line, c.at); got != c.want {
			t.Errorf("before %s on timeline %d: %s; want %s", c.at, c.line.Timeline, got, c.want)
		}
	}
	a.stores[2].down.Store(true) // it is not required
	if got := behind(one, 0x4000A0); got != third {
		t.Errorf("with a store that is silent: %s", got)
	}
	a.stores[1].down.Store(true)
	if _, err := a.Behind(t.Context(), system, one, 0x4000A0); err == nil {
		t.Error("a required store is silent, and that is no error")
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte(`{"skytools_wal":1,"system":"1","name":"00000002.history","codec":"zstd","size":1,"stored":1}` + strings.Repeat(" ", 512)))
	f.Fuzz(func(t *testing.T, head []byte) {
		if h, err := repo.ParseHeader(head); err == nil && (h.Size < 0 || h.Size > 1<<30 || h.Format != 1) {
			t.Errorf("%+v", h)
		}
	})
}
