package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/sql"
)

// A SplitBrainError says that a store has another content under a name: two servers
// have written different WAL under it. Nothing was replaced.
type SplitBrainError struct {
	Store, Key   string
	Name         segment.Name
	Ours, Theirs string // digests
}

func (e *SplitBrainError) Error() string {
	return fmt.Sprintf("SPLIT BRAIN: %s in %s has another content (sha256 %.16s) than ours (%.16s)", e.Key, e.Store, e.Theirs, e.Ours)
}

// ExitCode is 2, so that whoever calls push can tell this from what passes.
func (e *SplitBrainError) ExitCode() int { return 2 }

// Hint is what a person can try.
func (e *SplitBrainError) Hint() string {
	return "two servers archive as the same one, or one was restored without archive_mode = off: stop the wrong one; nothing was overwritten"
}

// A HistoryError says that the segment of a timeline came before the timeline's history.
type HistoryError struct {
	Timeline uint32
	Store    string
}

func (e *HistoryError) Error() string {
	return fmt.Sprintf("%s has no history of timeline %d, which must come before its segments", e.Store, e.Timeline)
}

// Owed is what stores that are not required do not have yet, and why.
type Owed map[string]error

// maxText is more than any history or backup label has.
const maxText = 1 << 20

// Put archives a file of a cluster: a whole segment, a history, a backup label, or what
// a promotion left of a segment. It returns nil when every required store has it.
func (r *Repo) Put(ctx context.Context, system uint64, n segment.Name, file io.ReadSeeker) (Owed, error) {
	owed, err := r.put(ctx, system, n, 0, file)
	if err != nil {
		return owed, fmt.Errorf("archive %s: %w", n, err)
	}
	return owed, nil
}

// PutPartial archives what there is of a segment, up to a position. file has the size of
// a segment. There may be several of a segment; each has a name of its own.
func (r *Repo) PutPartial(ctx context.Context, system uint64, n segment.Name, upTo sql.LSN, file io.ReadSeeker) (Owed, error) {
	n.Kind = segment.Partial
	owed, err := r.put(ctx, system, n, upTo, file)
	if err != nil {
		return owed, fmt.Errorf("archive %s up to %s: %w", n, upTo, err)
	}
	return owed, nil
}

func (r *Repo) put(ctx context.Context, system uint64, n segment.Name, upTo sql.LSN, file io.ReadSeeker) (Owed, error) {
	epoch, err := r.Epoch(ctx, system)
	if err != nil {
		return nil, err
	}
	size, err := check(epoch, n, file)
	if err != nil {
		return nil, err
	}
	if err := r.descends(ctx, system, n); err != nil {
		return nil, err
	}
	if n.Kind == segment.Partial && upTo == 0 {
		if upTo, err = written(epoch.Size.Start(n), file); err != nil {
			return nil, err
		}
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	sealed, err := r.seal(system, n, file, size)
	if err != nil {
		return nil, err
	}
	defer sealed.close()
	where := key(system, n)
	if n.Kind == segment.Partial {
		where = fmt.Sprintf("%s%016X-%.16s.partial", partials(system, n), uint64(upTo), sealed.header.SHA256)
	}
	owed, err := r.everywhere(ctx, func(ctx context.Context, s Store) error { return r.putOne(ctx, s, where, n, sealed) })
	if err == nil && len(owed) == 0 {
		sealed.done()
	}
	if err == nil && n.Kind == segment.History {
		r.settle(system, n.Timeline)
	}
	return owed, err
}

// check refuses what is not the file that its name says, and returns its size.
func check(epoch Epoch, n segment.Name, file io.ReadSeeker) (int64, error) {
	if err := epoch.Size.Fits(n); err != nil {
		return 0, err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	switch n.Kind {
	case segment.Whole, segment.Partial:
		if size != int64(epoch.Size) {
			return 0, &segment.HeaderError{Name: n, Problem: fmt.Sprintf("it has %d bytes, not %d", size, int64(epoch.Size))}
		}
		page := make([]byte, segment.HeaderSize)
		if _, err := io.ReadFull(file, page); err != nil {
			return 0, err
		}
		return size, epoch.Cluster().Check(n, page)
	}
	if size > maxText {
		return 0, &segment.HeaderError{Name: n, Problem: fmt.Sprintf("it has %d bytes", size)}
	}
	if n.Kind == segment.History {
		text, err := io.ReadAll(file)
		if err != nil {
			return 0, err
		}
		if _, err := segment.ParseHistory(n.Timeline, text); err != nil {
			return 0, &segment.HeaderError{Name: n, Problem: err.Error()}
		}
	}
	return size, nil
}

// written is the position up to which a segment is not filled with zeros.
func written(start sql.LSN, file io.ReadSeeker) (sql.LSN, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	upTo, buf := start, make([]byte, 64<<10)
	for at := start; ; {
		n, err := io.ReadFull(file, buf)
		for i := n; i > 0; i-- {
			if buf[i-1] != 0 {
				upTo = at + sql.LSN(i)
				break
			}
		}
		at += sql.LSN(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return upTo, nil
		case err != nil:
			return 0, err
		}
	}
}

// descends sees to it that the history of a timeline is archived before its segments:
// recovery chooses timelines by what histories there are.
func (r *Repo) descends(ctx context.Context, system uint64, n segment.Name) error {
	if n.Timeline == 1 || n.Kind == segment.History || n.Kind == segment.Backup {
		return nil
	}
	r.mu.Lock()
	known := r.histories[history{system, n.Timeline}]
	r.mu.Unlock()
	if known {
		return nil
	}
	err := r.required(ctx, func(ctx context.Context, s Store) error {
		_, err := s.Stat(ctx, key(system, segment.Name{Kind: segment.History, Timeline: n.Timeline}))
		if errors.Is(err, store.ErrNotExist) {
			return &HistoryError{n.Timeline, s.Name()}
		}
		return err
	})
	if err == nil {
		r.settle(system, n.Timeline)
	}
	return err
}

func (r *Repo) settle(system uint64, timeline uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.histories[history{system, timeline}] = true
}

// everywhere does something to all stores at a time. What fails on a store that is not
// required, or takes it too long, is owed.
func (r *Repo) everywhere(ctx context.Context, do func(context.Context, Store) error) (Owed, error) {
	patient, cancel := context.WithTimeout(ctx, r.BestEffort)
	defer cancel()
	errs := make([]error, len(r.Stores))
	var group sync.WaitGroup
	for i, s := range r.Stores {
		group.Go(func() {
			if s.Required {
				errs[i] = do(ctx, s)
			} else {
				errs[i] = do(patient, s)
			}
		})
	}
	group.Wait()
	owed, failed := Owed{}, []error(nil)
	for i, err := range errs {
		switch split := (*SplitBrainError)(nil); {
		case err == nil:
		case r.Stores[i].Required || errors.As(err, &split):
			failed = append(failed, err)
		default:
			owed[r.Stores[i].Name()] = err
			r.Log.Warn("a store that is not required does not have a file", "error", err)
		}
	}
	return owed, errors.Join(failed...)
}

func (r *Repo) putOne(ctx context.Context, s Store, key string, n segment.Name, o *object) error {
	err := s.Put(ctx, key, o.body())
	if !errors.Is(err, store.ErrExists) {
		return err
	}
	there, err := readHeader(ctx, s, key)
	if err != nil {
		return err
	}
	if there.SHA256 != o.header.SHA256 || there.Size != o.header.Size {
		return &SplitBrainError{s.Name(), key, n, o.header.SHA256, there.SHA256}
	}
	return nil
}

func readHeader(ctx context.Context, s Store, key string) (Header, error) {
	body, err := s.Get(ctx, key, 0, HeaderSize)
	if err != nil {
		return Header{}, err
	}
	defer body.Close()
	head, err := io.ReadAll(body)
	if err != nil {
		return Header{}, fmt.Errorf("get %s in %s: %w", key, s.Name(), err)
	}
	h, err := ParseHeader(head)
	if err != nil {
		return Header{}, &DamageError{s.Name(), key, err}
	}
	return h, nil
}

// Supersede removes partial copies of a segment that end before a position: there is a
// longer one, or the whole segment. A store that lets nothing be removed keeps them.
func (r *Repo) Supersede(ctx context.Context, system uint64, n segment.Name, upTo sql.LSN) error {
	prefix := partials(system, n)
	longer := fmt.Sprintf("%s%016X", prefix, uint64(upTo))
	_, err := r.everywhere(ctx, func(ctx context.Context, s Store) error {
		for info, err := range s.List(ctx, prefix) {
			if err != nil {
				return err
			}
			if info.Key < longer {
				if err := s.Delete(ctx, info.Key); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove what is shorter of %s: %w", n, err)
	}
	return nil
}
