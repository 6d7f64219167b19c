package compare

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A Key is the values of a row's key columns as text.
type Key []string

func (k Key) id() string {
	var id strings.Builder
	for _, text := range k {
		fmt.Fprintf(&id, "%d:%s", len(text), text)
	}
	return id.String()
}

// A keyRange is the rows after one key up to another, in the order of keys. Nil is no
// bound.
type keyRange struct{ after, to Key }

// A sum stands for the rows of a range: two ranges with equal sums are held to be equal.
type sum struct {
	rows int64
	hash string // of all rows, in whatever order
}

// A hashed is a row as it travels while nobody knows whether it differs.
type hashed struct {
	key  Key
	hash int64
}

// A side answers about the rows of one database in the order of keys, which is the
// same on both.
type side interface {
	sum(ctx context.Context, r keyRange) (sum, error)
	// bounds are the keys of every step-th row of the range, at most so many.
	bounds(ctx context.Context, r keyRange, step, most int) ([]Key, error)
	rows(ctx context.Context, r keyRange) ([]hashed, error)
}

// Sizes of ranges. A range of chunk rows costs about 300 bytes when it is equal: ten
// million rows cost 200 kB. One row that differs costs the sums of 2 x fanout smaller
// ranges and the keys and hashes of leaf rows of each side.
const (
	chunk  = 16384
	fanout = 16
	leaf   = 64
	ahead  = 8 // bounds asked for at a time
)

// closer says how to look into a range whose sums differ: at its rows, or at ranges of
// step rows as the side with more rows counts them.
func closer(provider, subscriber sum) (atRows, byProvider bool, step int) {
	most := max(provider.rows, subscriber.rows)
	if most <= leaf {
		return true, false, 0
	}
	return false, provider.rows >= subscriber.rows, int(max(leaf, (most+fanout-1)/fanout))
}

// A search finds the rows that differ: ranges whose sums differ are divided until they
// are small enough to look at their rows.
type search struct {
	provider, subscriber side
	step                 int                              // rows of the ranges that it begins with
	found                func(kind string, key Key)       // called for each row that differs
	full                 func() bool                      // says that enough is found
	done                 func(provider, subscriber int64) // counts rows, for ranges of the first level; may be nil
	skipped              int                              // ranges that differ and were not looked into, as enough was found
}

// run looks at all rows.
func (s *search) run(ctx context.Context) error {
	step := s.step
	if step == 0 {
		step = chunk
	}
	for after := Key(nil); ; {
		ends, err := s.provider.bounds(ctx, keyRange{after: after}, step, ahead)
		if err != nil {
			return err
		}
		for _, end := range ends {
			if err := s.look(ctx, keyRange{after, end}, true); err != nil {
				return err
			}
			after = end
		}
		if len(ends) < ahead {
			return s.look(ctx, keyRange{after: after}, true)
		}
	}
}

func (s *search) look(ctx context.Context, r keyRange, first bool) error {
	a, b, err := both(func() (sum, error) { return s.provider.sum(ctx, r) }, func() (sum, error) { return s.subscriber.sum(ctx, r) })
	if err != nil {
		return err
	}
	if first && s.done != nil {
		s.done(a.rows, b.rows)
	}
	switch {
	case a == b:
		return nil
	case s.full():
		s.skipped++
		return nil
	}
	atRows, byProvider, step := closer(a, b)
	if atRows {
		return s.lookAtRows(ctx, r)
	}
	walker := s.subscriber
	if byProvider {
		walker = s.provider
	}
	return s.divide(ctx, r, walker, step)
}

// divide looks at the parts of a range. One that cannot be divided, because its rows
// have one key, is looked at as it is.
func (s *search) divide(ctx context.Context, r keyRange, walker side, step int) error {
	after, parts := r.after, 0
	for {
		ends, err := walker.bounds(ctx, keyRange{after, r.to}, step, ahead)
		if err != nil {
			return err
		}
		more := len(ends) == ahead
		for _, end := range ends {
			if slices.Equal(end, r.to) || after != nil && slices.Equal(end, after) {
				more = false
				break
			}
			if err := s.look(ctx, keyRange{after, end}, false); err != nil {
				return err
			}
			after = end
			parts++
		}
		if more {
			continue
		}
		if parts == 0 {
			return s.lookAtRows(ctx, r)
		}
		return s.look(ctx, keyRange{after, r.to}, false)
	}
}

func (s *search) lookAtRows(ctx context.Context, r keyRange) error {
	a, b, err := both(func() ([]hashed, error) { return s.provider.rows(ctx, r) }, func() ([]hashed, error) { return s.subscriber.rows(ctx, r) })
	if err != nil {
		return err
	}
	if differ(a, b, s.found) == 0 {
		return fmt.Errorf("the sums of rows differ and the rows do not: that cannot be")
	}
	return nil
}

// Kinds of difference, as the subscriber's row is.
const (
	Missing = "missing" // the provider alone has the row
	Extra   = "extra"   // the subscriber alone has it
	Changed = "changed" // both have it, with other values
)

// differ calls found for each row that the lists do not share, by key, and returns how
// often. Where a key is on several rows, those that have no partner count.
func differ(provider, subscriber []hashed, found func(kind string, key Key)) int {
	there := map[string][]hashed{}
	for _, row := range subscriber {
		there[row.key.id()] = append(there[row.key.id()], row)
	}
	n := 0
	say := func(kind string, key Key) { n++; found(kind, key) }
	for _, row := range provider {
		id := row.key.id()
		twins := there[id]
		if len(twins) == 0 {
			say(Missing, row.key)
			continue
		}
		same := slices.IndexFunc(twins, func(t hashed) bool { return t.hash == row.hash })
		if same < 0 {
			say(Changed, row.key)
			same = 0
		}
		there[id] = slices.Delete(twins, same, same+1)
	}
	for _, row := range subscriber {
		if twins := there[row.key.id()]; len(twins) > 0 {
			say(Extra, row.key)
			there[row.key.id()] = twins[1:]
		}
	}
	return n
}

// both asks the two sides at once. Each has a session of its own.
func both[T any](provider, subscriber func() (T, error)) (a, b T, err error) {
	type answer struct {
		value T
		err   error
	}
	other := make(chan answer, 1)
	go func() {
		value, err := subscriber()
		other <- answer{value, err}
	}()
	a, err = provider()
	s := <-other
	if err != nil {
		return a, s.value, fmt.Errorf("provider: %w", err)
	}
	if s.err != nil {
		return a, s.value, fmt.Errorf("subscriber: %w", s.err)
	}
	return a, s.value, nil
}
