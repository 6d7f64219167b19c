package restore

import (
	"errors"
	"fmt"
	"syscall"
)

// A FullError says that there is no room for what is restored.
type FullError struct {
	Bytes int64 // that it takes in all, WAL aside
	Err   error // with the path
}

func (e *FullError) Error() string { return e.Err.Error() }
func (e *FullError) Unwrap() error { return e.Err }

// Hint is what a person can try.
func (e *FullError) Hint() string {
	return fmt.Sprintf("the backup takes %d MB, and what is replayed takes more: make room there and restore again, which goes on with what is there, or restore to another place", (e.Bytes+1<<20-1)>>20)
}

// full tells that there is no room from other errors.
func full(err error, bytes int64) error {
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, no) {
			return &FullError{bytes, err}
		}
	}
	return err
}
