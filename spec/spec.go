// Package spec reads the YAML that says what a cluster should look like.
//
// It knows files, lines and columns, and what each key means. It does not know
// PostgreSQL: it can tell that a table names a node which is not declared, but not
// whether the table exists.
//
// Each object's keys are a table of [Field]s (queue.go, node.go, table.go and so
// on). That table is the only description of a key: the decoder, the JSON Schema
// ([JSONSchema]), the manual ([Explain]) and the names suggested after a typing
// error all read it.
package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Format is the version of the YAML format that this package reads.
const Format = 1

// A Set is everything that the YAML asks for. Objects are sorted by name, so a
// Set does not depend on the order of keys, nor on which file holds what.
type Set struct {
	Version   int             `json:"skytools"`
	Cluster   string          `json:"cluster"`
	Databases Named[Database] `json:"databases"`
	Queues    Named[Queue]    `json:"queues"`
	Archives  Named[Archive]  `json:"archives,omitempty"`
	Standbys  Named[Standby]  `json:"standbys,omitempty"`
	Allow     []Allow         `json:"-"` // approvals change what may happen, not what is asked for
	Ignore    []Ignore        `json:"-"`

	Files []string `json:"-"` // that were read, sorted
}

// Digest identifies what the YAML asks for, whatever its layout: SHA-256 over
// the set's canonical JSON, in hexadecimal. Secrets enter as references.
func (s *Set) Digest() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic("spec: a set is not JSON: " + err.Error()) // only a programmer can cause this
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// A Source is one YAML file.
type Source struct {
	Name string
	Text []byte
}

// Load reads the YAML files at paths: files as they are, directories for their
// *.yaml and *.yml files (not deeper). Problems with the YAML are returned as
// Problems; an error means that a file could not be read.
func Load(paths ...string) (*Set, Problems, error) {
	sources, err := collect(paths)
	if err != nil {
		return nil, nil, err
	}
	set, problems := ParseIn(func(file string) fs.FS { return os.DirFS(filepath.Dir(filepath.FromSlash(file))) }, sources...)
	return set, problems, nil
}

func collect(paths []string) ([]Source, error) {
	var names []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read %s: there is no such file or directory", path)
		}
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			names = append(names, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		before := len(names)
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(e.Name(), ".") {
				names = append(names, filepath.Join(path, e.Name()))
			}
		}
		if len(names) == before {
			return nil, fmt.Errorf("read %s: it holds no .yaml file", path)
		}
	}
	slices.Sort(names)
	var sources []Source
	for _, name := range slices.Compact(names) {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		sources = append(sources, Source{filepath.ToSlash(name), text})
	}
	return sources, nil
}

// Parse reads the sources as one description. It reports every problem that it
// finds and never panics or hangs, whatever the input; with problems the set is
// incomplete and must not be planned from. It knows no files: what the sources ask to
// be read is missing; see [ParseIn].
func Parse(sources ...Source) (*Set, Problems) {
	return ParseIn(func(string) fs.FS { return noFiles{} }, sources...)
}

// noFiles is a directory in which nothing is.
type noFiles struct{}

func (noFiles) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// ParseIn is [Parse] with the directory of each source, in which scripts are.
func ParseIn(dir func(file string) fs.FS, sources ...Source) (*Set, Problems) {
	d := newDecoder(dir, sources)
	for _, s := range sources {
		d.source(s)
		d.set.Files = append(d.set.Files, s.Name)
	}
	slices.Sort(d.set.Files)
	d.set.Databases.sort()
	d.set.Queues.sort()
	d.set.Archives.sort()
	d.set.Standbys.sort()
	d.check()
	d.problems.finish(d.lines)
	return d.set, d.problems
}

// Database returns the declared database of that name, or nil.
func (s *Set) Database(name string) *Database { return s.Databases.Get(name) }
