package planner

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// A State is an object's settings by path, such as "ticker_max_lag" or
// "subscribers.edge1". Values are what JSON has: text, number, bool, list. The
// path "exists" is true for every object that is there; the state of one that is
// not there is empty.
//
// As an expectation ([State.Holds]) it may be a part of the object, and a nil value
// says that the path must not be there.
type State map[string]any

const exists = "exists"

// stateOf flattens a settings struct. Nested objects become dotted paths; nulls
// are left out.
func stateOf(settings any) State {
	text, err := json.Marshal(settings)
	if err != nil {
		panic(fmt.Sprintf("planner: %T is not JSON: %v", settings, err)) // only a programmer can cause this
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		panic(fmt.Sprintf("planner: %T is not an object: %v", settings, err))
	}
	s := State{exists: true}
	s.flatten("", tree)
	return s
}

func (s State) flatten(prefix string, tree map[string]any) {
	for key, value := range tree {
		switch v := value.(type) {
		case nil:
		case map[string]any:
			s.flatten(prefix+key+".", v)
		default:
			s[prefix+key] = v
		}
	}
}

// Paths lists the paths, sorted.
func (s State) Paths() []string { return slices.Sorted(maps.Keys(s)) }

// Holds reports whether found has everything that s expects.
func (s State) Holds(found State) bool { return len(s.Missed(found)) == 0 }

// Missed lists the paths of s that found does not have as s expects, sorted.
func (s State) Missed(found State) []string {
	var missed []string
	for _, path := range s.Paths() {
		if !same(s[path], found[path]) {
			missed = append(missed, path)
		}
	}
	return missed
}

func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// between returns what a step from one state to another expects and results in:
// only the paths that differ.
func between(from, to State) (expect, result State) {
	expect, result = State{}, State{}
	for _, path := range to.Paths() {
		if !same(from[path], to[path]) {
			expect[path], result[path] = from[path], to[path]
		}
	}
	for _, path := range from.Paths() {
		if _, kept := to[path]; !kept {
			expect[path], result[path] = from[path], nil
		}
	}
	if len(to) == 0 { // a drop: that it is gone is enough
		return State{exists: true}, State{exists: nil}
	}
	return expect, result
}
