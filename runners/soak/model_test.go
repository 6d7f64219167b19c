package soak

import (
	"fmt"
	"hash/fnv"
	"sync"
)

// A model is a queue as its users should see it: what was committed comes to every
// consumer once, and once more each time it is put aside; what was rolled back never
// comes. It is safe for concurrent use.
type model struct {
	mu        sync.Mutex
	committed map[string]bool // the server has said so
	undone    map[string]bool // rolled back
	unknown   map[string]bool // the connection was lost: one or the other
}

func newModel() *model {
	return &model{committed: map[string]bool{}, undone: map[string]bool{}, unknown: map[string]bool{}}
}

// note puts events where they belong.
func (m *model) note(into map[string]bool, events []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		into[e] = true
	}
}

// written is how many events were committed for certain.
func (m *model) written() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.committed)
}

// want is how often each event comes to each consumer. The ledger, a table that the
// transactions of the events write, decides about those that nobody knows about.
func (m *model) want(ledger []string) (times map[string]int, wrong []string) {
	times = map[string]int{}
	for _, e := range ledger {
		times[e] = 1 + wanted(e)
		if m.undone[e] || !m.committed[e] && !m.unknown[e] {
			wrong = append(wrong, fmt.Sprintf("%s is there and was never committed", e))
		}
	}
	for e := range m.committed {
		if times[e] == 0 {
			wrong = append(wrong, fmt.Sprintf("%s was committed and is lost", e))
		}
	}
	return times, wrong
}

// wanted is how often an event is put aside: it depends on its data alone.
func wanted(event string) int {
	h := fnv.New32a()
	h.Write([]byte(event))
	return max(int(h.Sum32()%16)-13, 0)
}
