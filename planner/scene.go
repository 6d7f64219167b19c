package planner

import (
	"time"

	"github.com/skytools-go/skytools/spec"
)

// A Scene is what kinds look at while they plan: what should be, what is, and the
// options. They must not change it.
type Scene struct {
	Set  *spec.Set
	Live *Live
	Options

	cache  map[any]any
	broken []error
}

// Options are a plan's other arguments. The zero value plans everything.
type Options struct {
	Now      time.Time
	Tool     string     // name and version of the program
	Root     string     // where the YAML was read from, for messages
	Revision string     // of the YAML, such as a commit
	Only     []string   // globs of addresses; empty: everything
	Nodes    []string   // databases; empty: all
	Allow    []Approval // given for this plan
	All      bool       // list unchanged objects

	Masks map[string]spec.Mask // for adopt: rules of tables that the original's handler obfuscate has in a file
}

// database is the observation of one database; never nil.
func (s *Scene) database(name string) *Database {
	if d := s.Live.Databases[name]; d != nil {
		return d
	}
	return &Database{Error: "it was not observed"}
}
