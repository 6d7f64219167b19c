package londiste

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/skytools-go/skytools/sql"
)

// A Shard is the part of a table's rows that a node has: those whose hash, in its lowest
// bits, is the node's number. The root's trigger writes the hash into ev_extra3.
//
// Source: contract/londiste.md section 4.3.
type Shard struct {
	Key      string `json:"key"`                // column
	Function string `json:"function,omitempty"` // of the key, schema.name unquoted; empty: [HashFunction]
	Number   *int   `json:"number,omitempty"`   // of the node, from 0; nil: partconf.conf there says it
	Of       *int   `json:"of,omitempty"`       // how many there are, a power of two
	Replay   string `json:"replay,omitempty"`   // no: rows are passed on and not stored
}

// HashFunction is what hashes a key where nothing else is said.
const HashFunction = "partconf.get_hash_raw"

// AttrShard holds a [Shard] as a [Dict] where the original has no words for it: another
// function, or a number that is not in partconf.conf.
const AttrShard = "skytools_shard"

// Hash is the SQL expression of a row's hash, over columns of the root.
func (s *Shard) Hash() string {
	function := s.Function
	if function == "" {
		function = HashFunction
	}
	return sql.ParseName(function).Ident() + "(" + sql.Ident(s.Key) + ")"
}

// Where is the condition for the node's rows. Number and Of are known.
func (s *Shard) Where() string { return fmt.Sprintf("(%s & %d) = %d", s.Hash(), *s.Of-1, *s.Number) }

// Check fails unless number and count fit together.
func (s *Shard) Check() error {
	switch {
	case s.Key == "":
		return errors.New("shard: the column that is hashed is missing (key)")
	case (s.Number == nil) != (s.Of == nil):
		return errors.New("shard: number and of belong together")
	case s.Number == nil:
	case *s.Of < 1 || *s.Of&(*s.Of-1) != 0:
		return fmt.Errorf("shard: of must be a power of two, not %d", *s.Of)
	case *s.Number < 0 || *s.Number >= *s.Of:
		return fmt.Errorf("shard: number %d is not below %d", *s.Number, *s.Of)
	}
	return nil
}

// triggerArg makes the root's trigger write the hash.
func (s *Shard) triggerArg() string { return "ev_extra3='hash='||" + s.Hash() }

// shardOf reads the handlers shard and part.
func shardOf(p Handler) (*Shard, error) {
	s := &Shard{Key: p.Args.Get("hash_key"), Function: p.Args.Get("hashfunc")}
	if s.Key == "" {
		s.Key = p.Args.Get("key")
	}
	if s.Function == HashFunction {
		s.Function = ""
	}
	if p.isSet("disable_replay") {
		s.Replay = "no"
	}
	if p.Args.Get("hashexpr") != "" {
		return nil, fmt.Errorf("handler %s: hashexpr is not known here: name a function (hashfunc)", p.Name)
	}
	return s, s.Check()
}

// handler is the original's handler that means the same; false: there is none.
func (s *Shard) handler(truncate string) (Handler, bool) {
	if s.Function != "" || s.Number != nil {
		return Handler{}, false
	}
	p := Handler{"shard", Dict{"key": &s.Key}}
	if s.Replay != "" {
		p.Args.Set("disable_replay", "1")
	}
	if truncate == TruncateNo {
		p.Args.Set("ignore_truncate", "1")
	}
	return p, true
}

func (s *Shard) dict() Dict {
	d := Dict{}
	for key, value := range map[string]string{"key": s.Key, "function": s.Function, "replay": s.Replay} {
		if value != "" {
			d.Set(key, value)
		}
	}
	if s.Number != nil {
		d.Set("number", strconv.Itoa(*s.Number))
		d.Set("of", strconv.Itoa(*s.Of))
	}
	return d
}

func parseShard(text string) (*Shard, error) {
	d, err := ParseDict(text)
	if err != nil {
		return nil, fmt.Errorf("table attribute %s: %w", AttrShard, err)
	}
	s := &Shard{Key: d.Get("key"), Function: d.Get("function"), Replay: d.Get("replay")}
	for key, into := range map[string]**int{"number": &s.Number, "of": &s.Of} {
		if d.Get(key) == "" {
			continue
		}
		n, err := strconv.Atoi(d.Get(key))
		if err != nil {
			return nil, fmt.Errorf("table attribute %s: %s: %w", AttrShard, key, err)
		}
		*into = &n
	}
	return s, s.Check()
}
