package wal

import (
	"errors"
	"os"
)

// SyncDir makes the names in a directory durable: syncing a file does not make its name so.
// Source: fsync(2).
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
