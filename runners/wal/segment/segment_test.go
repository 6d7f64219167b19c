package segment_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]segment.Name{
		"00000002000000A10000005F":                 {Kind: segment.Whole, Timeline: 2, Log: 0xA1, Seg: 0x5F},
		"00000002000000A10000005F.partial":         {Kind: segment.Partial, Timeline: 2, Log: 0xA1, Seg: 0x5F},
		"00000002000000A10000005F.00000028.backup": {Kind: segment.Backup, Timeline: 2, Log: 0xA1, Seg: 0x5F, Offset: 0x28},
		"FFFFFFFF.history":                         {Kind: segment.History, Timeline: 0xFFFFFFFF},
		"00000002000000A10000005f":                 {}, // lower case
		"00000002000000A10000005":                  {},
		"00000002000000A10000005FF":                {},
		"00000002000000A10000005F.":                {},
		"00000002000000A10000005F.gz":              {},
		"00000002000000A10000005F.partial.gz":      {},
		"00000002000000A10000005F.28.backup":       {},
		"00000002000000A1.history":                 {},
		"00000002.backup":                          {},
		"00000002":                                 {},
		"000000000000000000000001":                 {}, // timeline 0
		"00000000.history":                         {},
		"archive_status":                           {},
		"xlogtemp.1234":                            {},
		"RECOVERYXLOG":                             {},
		"../00000002.history":                      {},
		"":                                         {},
	} {
		got, err := segment.Parse(file)
		if got != want || (err == nil) != (want != segment.Name{}) {
			t.Errorf("%q: %+v, %v", file, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("00000002000000A10000005F.00000028.backup")
	f.Add("00000002.history")
	f.Fuzz(func(t *testing.T, file string) {
		if n, err := segment.Parse(file); err == nil && n.String() != file {
			t.Errorf("%q is written %q", file, n)
		}
	})
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for size := segment.Size(1 << 20); size <= 1<<30; size *= 2 {
		if err := size.Check(); err != nil {
			t.Error(err)
		}
		for _, position := range []sql.LSN{0, 1, 0xFFFFFFFF, 1 << 32, 0xA1_0000_0000, 0xA1_5F00_0028, 1<<63 + 12345} {
			n := size.At(3, position)
			if start := size.Start(n); start > position || position-start >= sql.LSN(size) || start%sql.LSN(size) != 0 || size.End(n) != start+sql.LSN(size) {
				t.Errorf("%d: %s is in %s, which begins at %s", size, position, n, start)
			}
			if next := size.Next(n); size.Start(next) != size.End(n) || next.Timeline != 3 || size.Fits(next) != nil {
				t.Errorf("%d: after %s comes %s", size, n, next)
			}
			if parsed, err := segment.Parse(n.String()); parsed != n || err != nil {
				t.Errorf("%s: %v", n, err)
			}
		}
	}
	for _, size := range []segment.Size{0, -1, 1 << 19, 1<<20 + 1, 3 << 20, 1 << 31} {
		if size.Check() == nil {
			t.Errorf("%d is a size", size)
		}
	}
	// Known from pg_walfile_name.
	for _, c := range []struct {
		size     segment.Size
		position string
		at       string
		before   string
	}{
		{16 << 20, "1/0", "000000010000000100000000", "0000000100000000000000FF"},
		{16 << 20, "16/B374D848", "0000000100000016000000B3", "0000000100000016000000B3"},
		{1 << 20, "0/FFFFFFFF", "000000010000000000000FFF", "000000010000000000000FFF"},
		{1 << 30, "1/C0000000", "000000010000000100000003", "000000010000000100000002"},
	} {
		position, err := sql.ParseLSN(c.position)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.size.At(1, position).String(); got != c.at {
			t.Errorf("%s of %d: %s, not %s", c.position, c.size, got, c.at)
		}
		if got := c.size.Before(1, position).String(); got != c.before {
			t.Errorf("before %s of %d: %s, not %s", c.position, c.size, got, c.before)
		}
	}
	if (segment.Size(1 << 30)).Fits(segment.Name{Kind: segment.Whole, Timeline: 1, Seg: 4}) == nil {
		t.Error("there are five segments of 1 GB in 4 GB")
	}
}

// TestSegmentHeader reads what the server at hand has written, and spoils it.
func TestSegmentHeader(t *testing.T) {
	t.Parallel()
	db := sandboxtest.Database(t)
	conn := db.Conn(t)
	type facts struct {
		File   string
		System int64
		Size   int64
		Major  int
	}
	is, err := pg.Struct[facts](t.Context(), conn, `
select pg_walfile_name(pg_current_wal_lsn()) as file, (select system_identifier from pg_control_system()) as system,
       (select setting::bigint from pg_settings where name = 'wal_segment_size') as size,
       current_setting('server_version_num')::int / 10000 as major`)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(db.Server.Dir, "data", "pg_wal", is.File))
	if err != nil {
		t.Fatal(err)
	}
	name, err := segment.Parse(is.File)
	if err != nil {
		t.Fatal(err)
	}
	cluster := segment.Cluster{System: uint64(is.System), Major: is.Major, Size: segment.Size(is.Size)}
	if err := cluster.Check(name, page); err != nil {
		t.Fatal(err)
	}
	big := name
	big.Timeline++ // begins with a copy
	if err := cluster.Check(big, page); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		name    string
		cluster segment.Cluster
		of      segment.Name
		page    []byte
		foreign bool
		want    string
	}{
		{"clone", segment.Cluster{System: 1, Major: is.Major, Size: cluster.Size}, name, page, true, "system identifier"},
		{"upgraded", segment.Cluster{System: cluster.System, Major: is.Major + 1, Size: cluster.Size}, name, page, true, "wrote it, not"},
		{"other size", segment.Cluster{System: cluster.System, Major: is.Major, Size: 2 * cluster.Size}, name, page, true, "bytes, not"},
		{"next", cluster, cluster.Size.Next(name), page, false, "holds the WAL from"},
		{"zeros", cluster, name, make([]byte, 8192), false, "page magic"},
		{"short", cluster, name, page[:segment.HeaderSize-1], false, "too few"},
		{"second page", cluster, name, page[8192:], false, "not the first one"},
		{"younger timeline", cluster, name, append(append(append([]byte{}, page[:4]...), 99, 0, 0, 0), page[8:]...), false, "on timeline 99"},
	} {
		var header *segment.HeaderError
		err := c.cluster.Check(c.of, c.page)
		if !errors.As(err, &header) || header.Foreign != c.foreign || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(make([]byte, segment.HeaderSize))
	f.Add([]byte("\x10\xd1\x02\x00aaaabbbbbbbbccccddddeeeeeeeeffffgggg"))
	f.Fuzz(func(t *testing.T, page []byte) {
		if h, err := segment.ParseHeader(page); err == nil && (h.Major < 14 || h.Major > 18) {
			t.Errorf("%+v", h)
		}
	})
}

func TestHistory(t *testing.T) {
	t.Parallel()
	text := "1\t0/3000000\tno recovery target specified\n\n# a comment\n2\t1/2F0000A0\tbefore 2026-01-01 00:00:00\tand so on\n"
	got, err := segment.ParseHistory(5, []byte(text))
	want := segment.Lineage{Timeline: 5, Ancestors: []segment.Ancestor{
		{1, 0x3000000, "no recovery target specified"}, {2, 0x1_2F0000A0, "before 2026-01-01 00:00:00 and so on"},
	}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatalf("%v\n%s", err, diff)
	}
	for position, timeline := range map[sql.LSN]uint32{0: 1, 0x2FFFFFF: 1, 0x3000000: 2, 0x1_2F00009F: 2, 0x1_2F0000A0: 5, 1 << 60: 5} {
		if of := got.Of(position); of != timeline {
			t.Errorf("%s is of timeline %d, not %d", position, of, timeline)
		}
	}
	for _, c := range []struct {
		timeline uint32
		position sql.LSN
		want     bool
	}{{1, 0x3000000, true}, {1, 0x3000001, false}, {2, 0x4000000, true}, {3, 1, false}, {4, 1, false}, {5, 1 << 60, true}, {6, 0, false}} {
		if got.Has(c.timeline, c.position) != c.want {
			t.Errorf("%d up to %s: not %v", c.timeline, c.position, c.want)
		}
	}
	for _, bad := range []string{"x 0/1", "1", "1 zero", "0 0/1", "5 0/1", "2 0/1\n1 0/2", "2 0/1\n2 0/1", "99999999999 0/1"} {
		if l, err := segment.ParseHistory(5, []byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, l)
		}
	}
}

func FuzzParseHistory(f *testing.F) {
	f.Add(uint32(3), []byte("1\t0/3000000\tno recovery target specified\n2\t1/2F0000A0\t\n"))
	f.Fuzz(func(t *testing.T, timeline uint32, text []byte) {
		l, err := segment.ParseHistory(timeline, text)
		if err != nil {
			return
		}
		for _, a := range l.Ancestors {
			if a.Timeline >= timeline || a.Timeline == 0 {
				t.Errorf("%+v", l)
			}
		}
	})
}
