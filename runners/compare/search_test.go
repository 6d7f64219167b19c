package compare

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// memory is a side that is a sorted list of rows.
type memory struct {
	all   []hashed
	asked int // for rows
}

func (m *memory) in(r keyRange) []hashed {
	from, _ := slices.BinarySearchFunc(m.all, r.after, func(h hashed, k Key) int {
		if r.after == nil || slices.Compare(h.key, k) > 0 {
			return 1
		}
		return -1
	})
	to := len(m.all)
	if r.to != nil {
		to, _ = slices.BinarySearchFunc(m.all, r.to, func(h hashed, k Key) int {
			if slices.Compare(h.key, k) > 0 {
				return 1
			}
			return -1
		})
	}
	return m.all[from:max(from, to)]
}

func (m *memory) sum(_ context.Context, r keyRange) (sum, error) {
	total := int64(0)
	for _, h := range m.in(r) {
		total += h.hash
	}
	return sum{int64(len(m.in(r))), fmt.Sprint(total)}, nil
}

func (m *memory) bounds(_ context.Context, r keyRange, step, most int) (keys []Key, _ error) {
	rows := m.in(r)
	for i := step - 1; i < len(rows) && len(keys) < most; i += step {
		keys = append(keys, rows[i].key)
	}
	return keys, nil
}

func (m *memory) rows(_ context.Context, r keyRange) ([]hashed, error) {
	m.asked += len(m.in(r))
	return m.in(r), nil
}

func memoryOf(rows map[string]string) *memory {
	m := &memory{}
	for key, value := range rows {
		h := fnv.New64a()
		h.Write([]byte(key + "\x00" + value))
		m.all = append(m.all, hashed{strings.Split(key, "\x01"), int64(h.Sum64() >> 8)})
	}
	slices.SortFunc(m.all, func(a, b hashed) int { return slices.Compare(a.key, b.key) })
	return m
}

// searched is every difference that a search finds, as sorted lines.
func searched(t testing.TB, a, b side, step int) []string {
	t.Helper()
	var found []string
	s := search{provider: a, subscriber: b, step: step, full: func() bool { return false },
		found: func(kind string, key Key) { found = append(found, kind+" "+key.id()) }}
	if err := s.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// expected is the same by looking at everything.
func expected(a, b *memory) []string {
	var want []string
	differ(a.all, b.all, func(kind string, key Key) { want = append(want, kind+" "+key.id()) })
	slices.Sort(want)
	return want
}

func TestSearchFindsWhatDiffers(t *testing.T) {
	rows := func(n int) map[string]string {
		all := map[string]string{}
		for i := range n {
			all[fmt.Sprintf("%08d\x01%d", i/3, i%3)] = "v"
		}
		return all
	}
	for _, c := range []struct {
		name   string
		change func(a, b map[string]string)
	}{
		{"nothing", func(a, b map[string]string) {}},
		{"both are empty", func(a, b map[string]string) { clear(a); clear(b) }},
		{"the subscriber is empty", func(a, b map[string]string) { clear(b) }},
		{"the provider is empty", func(a, b map[string]string) { clear(a) }},
		{"the first row", func(a, b map[string]string) { delete(b, "00000000\x010") }},
		{"the last row", func(a, b map[string]string) { b["99999999\x019"] = "v" }},
		{"many rows of the subscriber in one range of the provider", func(a, b map[string]string) {
			for i := range 5000 {
				b[fmt.Sprintf("00000100\x01z%05d", i)] = "v"
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, y := rows(10_000), rows(10_000)
			c.change(x, y)
			a, b := memoryOf(x), memoryOf(y)
			got, want := searched(t, a, b, 1000), expected(a, b)
			if !slices.Equal(got, want) {
				t.Errorf("found %d, want %d\n%.300q\n%.300q", len(got), len(want), got, want)
			}
			if len(want) <= 1 && a.asked+b.asked > 2*leaf {
				t.Errorf("%d differences made %d rows travel", len(want), a.asked+b.asked)
			}
		})
	}
}

// A subscriber without a unique key may hold a row twice.
func TestSearchFindsTwins(t *testing.T) {
	a := memoryOf(map[string]string{"a": "1", "b": "1", "c": "1"})
	b := &memory{}
	for range 200 {
		b.all = append(b.all, a.all[1])
	}
	b.all = slices.Concat(a.all[:1], b.all, a.all[2:])
	if got, want := searched(t, a, b, 1000), expected(a, b); !slices.Equal(got, want) || len(got) != 199 {
		t.Errorf("found %d, want 199", len(got))
	}
}

func TestSearchEndsWhenEnoughIsFound(t *testing.T) {
	x := map[string]string{}
	for i := range 5000 {
		x[fmt.Sprintf("%06d", i)] = "v"
	}
	n := 0
	a, b := memoryOf(x), &memory{}
	s := search{provider: a, subscriber: b, step: 500, found: func(string, Key) { n++ }, full: func() bool { return n >= 10 }}
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n < 10 || n > 10+leaf || s.skipped == 0 || a.asked > 2*leaf {
		t.Errorf("found %d, skipped %d ranges, asked for %d rows", n, s.skipped, a.asked)
	}
}

func FuzzSearch(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint16(300), uint16(5), uint8(40))
	}
	f.Add(uint64(1), uint16(0), uint16(3), uint8(1))
	f.Add(uint64(1), uint16(3000), uint16(3000), uint8(200))
	f.Fuzz(func(t *testing.T, seed uint64, size, changes uint16, step uint8) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		size, changes = size%4000, changes%4000
		key := func() string { return fmt.Sprintf("%x\x01%x", rnd.IntN(40), rnd.IntN(1+int(size))) }
		x, y := map[string]string{}, map[string]string{}
		for range size {
			k := key()
			x[k], y[k] = "v", "v"
		}
		for range changes {
			switch k := key(); rnd.IntN(3) {
			case 0:
				delete(x, k)
			case 1:
				y[k] = fmt.Sprint(rnd.IntN(3))
			default:
				delete(y, k)
			}
		}
		a, b := memoryOf(x), memoryOf(y)
		if got, want := searched(t, a, b, 1+int(step)), expected(a, b); !slices.Equal(got, want) {
			t.Errorf("found %d, want %d", len(got), len(want))
		}
	})
}
