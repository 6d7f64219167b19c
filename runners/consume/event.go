package consume

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"
)

// An Event is a row of the queue. A text that is NULL is empty, and in Null.
type Event struct {
	ID     int64
	Txid   int64     // of the transaction that wrote it
	Time   time.Time // when that began, or what the producer gave; in UTC
	Retry  int       // how often it was put aside before
	Type   string
	Data   string
	Extra1 string
	Extra2 string
	Extra3 string
	Extra4 string
	Null   Field
}

// A Field is a set of an event's texts.
type Field uint8

// The texts.
const (
	Type Field = 1 << iota
	Data
	Extra1
	Extra2
	Extra3
	Extra4
)

// IsNull reports whether a text of the event is NULL in the queue.
func (e *Event) IsNull(f Field) bool { return e.Null&f != 0 }

// size is how many bytes its texts have.
func (e *Event) size() int {
	return len(e.Type) + len(e.Data) + len(e.Extra1) + len(e.Extra2) + len(e.Extra3) + len(e.Extra4)
}

// A packer turns rows into events, whose texts share one large string.
type packer struct {
	events []Event
	text   strings.Builder
}

// next is an empty packer with room for as many events of the same size.
func (p *packer) next(most int) *packer {
	n := &packer{events: make([]Event, 0, most)}
	n.text.Grow(min(p.text.Len()+p.text.Len()/8, pieceSize))
	return n
}

// add takes a row of pgq.get_batch_events, in binary format.
func (p *packer) add(v [][]byte) error {
	if len(v) != 10 || len(v[0]) != 8 || len(v[1]) != 8 || len(v[2]) != 8 || len(v[3]) != 4 && v[3] != nil {
		return fmt.Errorf("these are not the columns of events: %d values, %q", len(v), v)
	}
	p.events = append(p.events, Event{
		ID:   int64(binary.BigEndian.Uint64(v[0])),
		Time: instant(int64(binary.BigEndian.Uint64(v[1]))),
		Txid: int64(binary.BigEndian.Uint64(v[2])),
	})
	e := &p.events[len(p.events)-1]
	if v[3] != nil {
		e.Retry = int(int32(binary.BigEndian.Uint32(v[3])))
	}
	begin := p.text.Len()
	for _, text := range v[4:] {
		p.text.Write(text)
	}
	// What is written stays where it is: a builder that grows leaves it to those who have it.
	rest := p.text.String()[begin:]
	for i, into := range [...]*string{&e.Type, &e.Data, &e.Extra1, &e.Extra2, &e.Extra3, &e.Extra4} {
		if v[4+i] == nil {
			e.Null |= 1 << i
		}
		*into, rest = rest[:len(v[4+i])], rest[len(v[4+i]):]
	}
	return nil
}

// epoch is 2000-01-01, from which PostgreSQL counts, in microseconds of ours.
const epoch = 946_684_800_000_000

// instant is a timestamptz in binary format: microseconds, the largest of which stand
// for infinity and become the latest time there is.
func instant(micros int64) time.Time {
	return time.UnixMicro(min(micros, math.MaxInt64-epoch) + epoch).UTC()
}
