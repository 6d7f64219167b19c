// Package wal holds what archiving and restoring share: the data directory of a server,
// seen from outside, and names that last. It opens no connection, so it works with a server
// that is dead.
package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/skytools-go/skytools/runners/wal/segment"
)

// A DataDir is the data directory of a server.
type DataDir string

// DirOf is the data directory that a path given by PostgreSQL as %p belongs to. base is
// the directory that PostgreSQL called us in, which is the data directory itself; tools
// such as pg_rewind call from anywhere and give absolute paths.
// Source: design/wal.md, R8.
func DirOf(base, path string) (dir DataDir, full string, err error) {
	full = path
	if !filepath.IsAbs(full) {
		full = filepath.Join(base, path)
	}
	dir = DataDir(filepath.Dir(filepath.Dir(full)))
	if _, err := os.Stat(filepath.Join(string(dir), "PG_VERSION")); err != nil {
		return "", "", fmt.Errorf("%s is not in the pg_wal of a data directory: %w", full, err)
	}
	return dir, full, nil
}

// System is the system identifier of the cluster.
// Source: PostgreSQL's pg_control.h, the first field in every version.
func (d DataDir) System() (uint64, error) {
	f, err := os.Open(filepath.Join(string(d), "global", "pg_control"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head := make([]byte, 8)
	if _, err := io.ReadFull(f, head); err != nil {
		return 0, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return binary.NativeEndian.Uint64(head), nil
}

// Standby reports whether the server follows another, and Recovering whether it is
// recovering to some end.
func (d DataDir) Standby() bool    { return d.has("standby.signal") }
func (d DataDir) Recovering() bool { return d.has("recovery.signal") && !d.Standby() }

func (d DataDir) has(name string) bool {
	_, err := os.Stat(filepath.Join(string(d), name))
	return err == nil
}

// Running reports whether a server seems to run in the directory: it has a file of its
// postmaster, whose process is alive or cannot be asked.
func (d DataDir) Running() (bool, error) {
	text, err := os.ReadFile(filepath.Join(string(d), "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return alive(strings.TrimSpace(first)), nil
}

// Path is where a file of the WAL is.
func (d DataDir) Path(n segment.Name) string {
	return filepath.Join(string(d), "pg_wal", n.String())
}

// Ready are the files that PostgreSQL wants archived, in the order of their names.
func (d DataDir) Ready() (names []segment.Name, err error) {
	return d.names(filepath.Join("pg_wal", "archive_status"), ".ready")
}

// Wants reports whether PostgreSQL wants a file archived, and has not been told that it is.
func (d DataDir) Wants(n segment.Name) bool {
	return d.has(filepath.Join("pg_wal", "archive_status", n.String()+".ready"))
}

// Files are the WAL files in pg_wal, in the order of their names.
func (d DataDir) Files() ([]segment.Name, error) { return d.names("pg_wal", "") }

func (d DataDir) names(dir, suffix string) (names []segment.Name, err error) {
	entries, err := os.ReadDir(filepath.Join(string(d), dir))
	for _, entry := range entries {
		base, ok := strings.CutSuffix(entry.Name(), suffix)
		if n, err := segment.Parse(base); ok && err == nil {
			names = append(names, n)
		}
	}
	return names, err
}
