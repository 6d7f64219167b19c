package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/sftp"
)

// A generation is one content of a swapped object on an SFTP server: a file of its own
// that a hard link made, so that only one writer can follow the generation before.
//
//	.swap-<generation>-<name>     the highest one is the object
//
// A generation stays for a minute after the next one was made, so a writer that looks
// and links within half of that finds the name taken if it comes second. One that is
// later may fill a gap below, where a generation was removed. The highest file is never
// removed but by Delete, so it sees that something is above, and does not know whether
// it has lost or was followed: then it has lost.
type generation uint64

const (
	kept   = time.Minute // by the server's clock
	prompt = kept / 2    // by the writer's
)

const swapPrefix = ".swap-"

// key is where a generation of an object is kept.
func (n generation) key(key string) string {
	dir, name := path.Split(key)
	return fmt.Sprintf("%s%s%020d-%s", dir, swapPrefix, uint64(n), name)
}

// version also has a hash, as counting begins anew after Delete.
func (n generation) version(content []byte) string {
	return fmt.Sprintf("%d-%s", n, versionOf(content))
}

// generationOf is that of a version, 0 for the empty one.
func generationOf(version string) generation {
	digits, _, _ := strings.Cut(version, "-")
	n, _ := strconv.ParseUint(digits, 10, 64)
	return generation(n)
}

// parseGeneration reads the name of a file.
func parseGeneration(file string) (n generation, name string, ok bool) {
	rest, ok := strings.CutPrefix(file, swapPrefix)
	digits, name, cut := strings.Cut(rest, "-")
	number, err := strconv.ParseUint(digits, 10, 64)
	return generation(number), name, ok && cut && err == nil && number > 0
}

// made is a generation that there is.
type made struct {
	generation
	at time.Time // by the server's clock, shortly before it got its name
}

// generations are those of an object, in order.
func (s *remote) generations(c *sftp.Client, key string) (all []made, err error) {
	dir, want := path.Split(s.path(key))
	files, err := c.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, file := range files {
		if n, name, ok := parseGeneration(file.Name()); ok && name == want {
			all = append(all, made{n, file.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b made) int { return cmp.Compare(a.generation, b.generation) })
	return all, err
}

// newest is the highest generation of an object, or 0.
func (s *remote) newest(c *sftp.Client, key string) (generation, error) {
	all, err := s.generations(c, key)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	return all[len(all)-1].generation, nil
}

// forgetOld removes the generations of an object that were followed long enough before
// the highest one was made.
func (s *remote) forgetOld(c *sftp.Client, key string) error {
	all, err := s.generations(c, key)
	if err != nil {
		return err
	}
	for len(all) > 1 && all[len(all)-1].at.Sub(all[1].at) > kept {
		if err := s.forget(c, key, all[0]); err != nil {
			return err
		}
		all = all[1:]
	}
	return nil
}

// forgetAll removes an object, lowest generation first.
func (s *remote) forgetAll(c *sftp.Client, key string) error {
	all, err := s.generations(c, key)
	for _, each := range all {
		if err == nil {
			err = s.forget(c, key, each)
		}
	}
	return err
}

// forget removes a generation, which somebody else may have removed.
func (s *remote) forget(c *sftp.Client, key string, n made) error {
	err := c.Remove(s.path(n.key(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// withoutGenerations has one entry, with its name, for each swapped object.
func withoutGenerations(files []fs.FileInfo) (entries []fs.FileInfo) {
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	at := map[string]int{}
	for _, file := range files {
		_, name, ok := parseGeneration(file.Name())
		if !ok {
			entries = append(entries, file)
			continue
		}
		i, seen := at[name]
		if !seen {
			i = len(entries)
			at[name], entries = i, append(entries, nil)
		}
		entries[i] = renamed{file, name} // the higher generation comes later
	}
	return entries
}

type renamed struct {
	fs.FileInfo
	name string
}

func (r renamed) Name() string { return r.name }
