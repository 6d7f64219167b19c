package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// An Install is a PostgreSQL server's programs on this machine.
type Install struct {
	Bin     string // the directory that holds postgres and initdb
	Version string // such as "15.18"
}

// Major is the first number of the version, such as 15.
func (i Install) Major() int {
	major, _, _ := strings.Cut(i.Version, ".")
	n, _ := strconv.Atoi(strings.TrimRight(major, "abcdeflprtv"))
	return n
}

// ErrNotInstalled says that this machine has no PostgreSQL server programs.
var ErrNotInstalled = errors.New("no PostgreSQL server is installed here")

// Find returns the PostgreSQL to use: the one in PG_BIN if that is set, or else
// the newest of [Installs].
func Find() (Install, error) {
	if bin := os.Getenv("PG_BIN"); bin != "" {
		i, err := inspect(bin)
		if err != nil {
			return i, fmt.Errorf("PG_BIN: %w", err)
		}
		return i, nil
	}
	all := Installs()
	if len(all) == 0 {
		return Install{}, fmt.Errorf("%w; %s, or set PG_BIN to the directory that holds postgres and initdb", ErrNotInstalled, advice())
	}
	return all[0], nil
}

// At returns the PostgreSQL whose programs are in a directory.
func At(bin string) (Install, error) { return inspect(bin) }

// FindMajor returns a PostgreSQL of a major version: the one in PG_BIN or one of
// [Installs]. The error is [ErrNotInstalled] when there is none.
func FindMajor(major int) (Install, error) {
	all := Installs()
	if first, err := Find(); err == nil {
		all = append([]Install{first}, all...)
	}
	for _, i := range all {
		if i.Major() == major {
			return i, nil
		}
	}
	return Install{}, fmt.Errorf("PostgreSQL %d: %w", major, ErrNotInstalled)
}

// Installs lists the servers found through pg_config, the folders that Debian,
// Red Hat and Homebrew use, and PATH; the newest first, each once.
func Installs() []Install {
	var dirs []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin", "/usr/local/pgsql/bin",
	} {
		found, _ := filepath.Glob(pattern)
		dirs = append(dirs, found...)
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	var all []Install
	for _, dir := range dirs {
		i, err := inspect(dir)
		if err == nil && !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	slices.SortStableFunc(all, func(a, b Install) int {
		return -cmp.Or(cmp.Compare(a.Major(), b.Major()), strings.Compare(a.Version, b.Version))
	})
	return all
}

// inspect asks the programs in dir for their version.
func inspect(dir string) (Install, error) {
	if dir, err := filepath.EvalSymlinks(dir); err == nil {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			return Install{}, err
		}
		out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
		if err != nil {
			return Install{}, fmt.Errorf("ask %s for its version: %w", filepath.Join(dir, "postgres"), err)
		}
		if words := strings.Fields(string(out)); len(words) >= 3 { // postgres (PostgreSQL) 15.18 (Debian ...)
			return Install{Bin: dir, Version: words[2]}, nil
		}
	}
	return Install{}, fmt.Errorf("%s does not hold postgres and initdb", dir)
}

func advice() string {
	switch {
	case runtime.GOOS == "darwin":
		return "install one with: brew install postgresql@18"
	case exists("/usr/bin/apt-get"):
		return "install one with: apt-get install postgresql"
	case exists("/usr/bin/dnf"):
		return "install one with: dnf install postgresql-server"
	}
	return "install a PostgreSQL server package (14 or newer)"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
