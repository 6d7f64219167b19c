// Package storetest is what every store must do, as tests.
//
// It knows the interface only. What is special to one store, such as a full disk or an
// HTTP proxy that cuts bodies, is tested beside that store.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal/store"
)

// Run tests a kind of store. open returns another handle on the same store at each
// call, as another process would have it; the store is empty at first.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	s := open(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"put", put}, {"missing", missing}, {"keys", keys}, {"ranges", ranges}, {"list", list}, {"many", many}, {"delete", remove},
		{"swap", swap}, {"large", large}, {"model", model}, {"cancelled", cancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, s) })
	}
	t.Run("racing puts", func(t *testing.T) { racingPuts(t, open) })
	t.Run("racing swaps", func(t *testing.T) { racingSwaps(t, open) })
}

func put(t *testing.T, s store.Store) {
	ctx := t.Context()
	for _, content := range []string{"", "x", strings.Repeat("0123456789", 1000)} {
		key := fmt.Sprintf("put/%d", len(content))
		ok(t, s.Put(ctx, key, strings.NewReader(content)))
		equal(t, Content(t, s, key), content)
		info, err := s.Stat(ctx, key)
		ok(t, err)
		equal(t, []any{info.Key, info.Size}, []any{key, int64(len(content))})
		if info.Modified.IsZero() {
			t.Error("no time of modification")
		}
		is(t, s.Put(ctx, key, strings.NewReader(content)), store.ErrExists)
		is(t, s.Put(ctx, key, strings.NewReader("another")), store.ErrExists)
		equal(t, Content(t, s, key), content)
	}
	half := strings.NewReader("read before")
	io.CopyN(io.Discard, half, 5)
	ok(t, s.Put(ctx, "put/whole", half))
	equal(t, Content(t, s, "put/whole"), "read before")
}

func missing(t *testing.T, s store.Store) {
	ctx := t.Context()
	ok(t, s.Put(ctx, "missing/a", strings.NewReader("a")))
	for _, key := range []string{"missing/b", "missing", "missing/a/b", "nowhere/at/all"} {
		_, err := s.Get(ctx, key, 0, -1)
		is(t, err, store.ErrNotExist)
		_, err = s.Stat(ctx, key)
		is(t, err, store.ErrNotExist)
		if err != nil && !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), s.Name()) {
			t.Errorf("%v does not say which object of which store", err)
		}
		ok(t, s.Delete(ctx, key))
	}
	equal(t, Content(t, s, "missing/a"), "a")
}

func keys(t *testing.T, s store.Store) {
	for _, key := range []string{"", "/", "/a", "a/", "a//b", "../a", "a/../b", ".", ".a", "a/.b", "a/."} {
		err := s.Put(t.Context(), key, strings.NewReader("x"))
		if err == nil || errors.Is(err, store.ErrExists) {
			t.Errorf("%q is taken for a key: %v", key, err)
		}
	}
	for _, key := range []string{"keys/with space", "keys/ü+%2F=&?#", "keys/00000002000000A10000005F.0A015F28-9c1d2e3f.partial", "keys/'\"*[x]"} {
		ok(t, s.Put(t.Context(), key, strings.NewReader(key)))
		equal(t, Content(t, s, key), key)
		equal(t, Keys(t, s, key), []string{key})
	}
}

func ranges(t *testing.T, s store.Store) {
	ok(t, s.Put(t.Context(), "ranges", strings.NewReader("0123456789")))
	for _, c := range []struct {
		offset, length int64
		want           string
	}{
		{0, -1, "0123456789"}, {0, 10, "0123456789"}, {0, 100, "0123456789"}, {3, 4, "3456"}, {3, -1, "3456789"},
		{9, 1, "9"}, {9, 5, "9"}, {0, 0, ""}, {5, 0, ""}, {10, -1, ""}, {10, 1, ""}, {11, 1, ""},
	} {
		r, err := s.Get(t.Context(), "ranges", c.offset, c.length)
		ok(t, err)
		got, err := io.ReadAll(r)
		ok(t, errors.Join(err, r.Close()))
		if string(got) != c.want {
			t.Errorf("%d bytes from %d: %q, not %q", c.length, c.offset, got, c.want)
		}
	}
}

func list(t *testing.T, s store.Store) {
	all := []string{"list/a", "list/a-b", "list/a.b", "list/a/b", "list/a/c/d", "list/a0", "list/b/x", "listing", "liste/q"}
	if strings.HasPrefix(s.Name(), "s3:") {
		all = append(all, "list/b") // where it is no file and directory in one
	} else {
		all = slices.DeleteFunc(all, func(k string) bool { return k == "list/a" })
	}
	for _, key := range all {
		ok(t, s.Put(t.Context(), key, strings.NewReader(key)))
	}
	slices.Sort(all)
	for _, prefix := range []string{"list", "list/", "list/a", "list/a/", "list/a/c/d", "list/b", "listi", "list/z", "list/a/b/c", "none/"} {
		want := slices.DeleteFunc(slices.Clone(all), func(k string) bool { return !strings.HasPrefix(k, prefix) })
		if got := Keys(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("%s: %v, not %v", prefix, got, want)
		}
	}
	for info, err := range s.List(t.Context(), "list/") {
		ok(t, err)
		equal(t, info.Size, int64(len(info.Key)))
		break // which ends it
	}
}

// many is more than a page of any server's listing.
func many(t *testing.T, s store.Store) {
	var want []string
	var group sync.WaitGroup
	next := make(chan string)
	for range 8 {
		group.Go(func() {
			for key := range next {
				if err := s.Put(t.Context(), key, strings.NewReader("")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 1100 {
		want = append(want, fmt.Sprintf("many/%04d", i))
		next <- want[i]
	}
	close(next)
	group.Wait()
	equal(t, Keys(t, s, "many/"), want)
}

func remove(t *testing.T, s store.Store) {
	ctx := t.Context()
	ok(t, s.Put(ctx, "delete/it", strings.NewReader("x")))
	ok(t, s.Delete(ctx, "delete/it"))
	ok(t, s.Delete(ctx, "delete/it"))
	_, err := s.Get(ctx, "delete/it", 0, -1)
	is(t, err, store.ErrNotExist)
	equal(t, len(Keys(t, s, "delete/")), 0)
	ok(t, s.Put(ctx, "delete/it", strings.NewReader("anew")))
	equal(t, Content(t, s, "delete/it"), "anew")
}

func swap(t *testing.T, s store.Store) {
	ctx := t.Context()
	swap := func(version, content string) (string, error) {
		return s.Swap(ctx, "swap/lease.json", version, strings.NewReader(content))
	}
	_, err := swap("0123456789abcdef", "of nothing")
	is(t, err, store.ErrChanged)
	first, err := swap("", "one")
	ok(t, err)
	_, err = swap("", "again")
	is(t, err, store.ErrChanged)
	equal(t, Content(t, s, "swap/lease.json"), "one")
	second, err := swap(first, "two, and longer")
	ok(t, err)
	_, err = swap(first, "late")
	is(t, err, store.ErrChanged)
	equal(t, Content(t, s, "swap/lease.json"), "two, and longer")
	info, err := s.Stat(ctx, "swap/lease.json")
	ok(t, err)
	equal(t, []any{info.Version, info.Size}, []any{second, int64(15)})
	equal(t, Keys(t, s, "swap/"), []string{"swap/lease.json"})
	for i := range 12 { // more than ten
		second, err = swap(second, fmt.Sprint(i))
		ok(t, err)
	}
	equal(t, Content(t, s, "swap/lease.json"), "11")
	ok(t, s.Delete(ctx, "swap/lease.json"))
	_, err = s.Stat(ctx, "swap/lease.json")
	is(t, err, store.ErrNotExist)
	_, err = swap(second, "deleted meanwhile")
	is(t, err, store.ErrChanged)
	_, err = swap("", "anew")
	ok(t, err)
	if _, err = swap("", strings.Repeat("x", store.SwapLimit+1)); err == nil || errors.Is(err, store.ErrChanged) {
		t.Errorf("a large object is swapped: %v", err)
	}
}

// large is larger than what would be sent or kept in one piece.
func large(t *testing.T, s store.Store) {
	content := make([]byte, 20<<20+1)
	for i := range content {
		content[i] = byte(i * i >> 8)
	}
	ok(t, s.Put(t.Context(), "large", struct{ io.ReadSeeker }{bytes.NewReader(content)}))
	if Content(t, s, "large") != string(content) {
		t.Error("another content came back")
	}
}

// model does what comes to mind, and compares with a map.
func model(t *testing.T, s store.Store) {
	ctx := t.Context()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	want := map[string]string{}
	for range 300 {
		key := fmt.Sprintf("model/%d/%d", r.IntN(3), r.IntN(5))
		content, there := want[key]
		switch r.IntN(4) {
		case 0:
			next := fmt.Sprint(r.Uint64())
			err := s.Put(ctx, key, strings.NewReader(next))
			if there {
				is(t, err, store.ErrExists)
			} else {
				ok(t, err)
				want[key] = next
			}
		case 1:
			ok(t, s.Delete(ctx, key))
			delete(want, key)
		case 2:
			info, err := s.Stat(ctx, key)
			if there {
				ok(t, err)
				equal(t, info.Size, int64(len(content)))
				equal(t, Content(t, s, key), content)
			} else {
				is(t, err, store.ErrNotExist)
			}
		case 3:
			var keys []string
			for key := range want {
				keys = append(keys, key)
			}
			slices.Sort(keys)
			equal(t, Keys(t, s, "model/"), keys)
		}
	}
}

func cancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, "cancelled", strings.NewReader("x")); err == nil {
		t.Error("a cancelled put succeeds")
	}
	_, err := s.Stat(t.Context(), "cancelled")
	is(t, err, store.ErrNotExist)
}

// racingPuts lets 16 writers write one key, several times over. Source: design/wal.md, R6.
func racingPuts(t *testing.T, open func(*testing.T) store.Store) {
	stores := make([]store.Store, 4)
	for i := range stores {
		stores[i] = open(t)
	}
	for round := range 5 {
		key := fmt.Sprintf("racing/%d", round)
		errs := make([]error, 16)
		var group sync.WaitGroup
		for i := range errs {
			group.Go(func() {
				errs[i] = stores[i%len(stores)].Put(t.Context(), key, strings.NewReader(strings.Repeat(fmt.Sprintf("%02d", i), 50_000)))
			})
		}
		group.Wait()
		winners := 0
		for i, err := range errs {
			if err == nil {
				winners++
				equal(t, Content(t, stores[0], key)[:4], strings.Repeat(fmt.Sprintf("%02d", i), 2))
			} else {
				is(t, err, store.ErrExists)
			}
		}
		equal(t, winners, 1)
		equal(t, len(Content(t, stores[0], key)), 100_000)
	}
}

// racingSwaps counts with 4 processes in one object: no step may be lost.
func racingSwaps(t *testing.T, open func(*testing.T) store.Store) {
	const each = 10
	ok(t, first(open(t).Swap(t.Context(), "counter", "", strings.NewReader("0"))))
	var group sync.WaitGroup
	for range 4 {
		s := open(t)
		group.Go(func() {
			for done := 0; done < each && t.Context().Err() == nil; {
				n := 0
				info, err := s.Stat(t.Context(), "counter")
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Sscan(Content(t, s, "counter"), &n)
				switch _, err = s.Swap(t.Context(), "counter", info.Version, strings.NewReader(fmt.Sprint(n+1))); {
				case err == nil:
					done++
				case !errors.Is(err, store.ErrChanged):
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	equal(t, Content(t, open(t), "counter"), fmt.Sprint(4*each))
}

// Content is all of an object.
func Content(t testing.TB, s store.Store, key string) string {
	t.Helper()
	r, err := s.Get(context.WithoutCancel(t.Context()), key, 0, -1)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(content)
}

// Keys are those that a prefix lists.
func Keys(t testing.TB, s store.Store, prefix string) (keys []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func first(_ string, err error) error { return err }

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, not %v", err, want)
	}
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
