package londiste

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Words for [Handling.Apply].
const (
	ApplyBulk    = "bulk"    // as without; the original loads by COPY then
	ApplyNothing = "nothing" // the table here is left alone
	ApplyVirtual = "virtual" // the same, and it need not be there
)

// A Handling is what a node does with the changes of a table, read from its attributes:
// ours, and handlers of the original. The zero value is the default.
type Handling struct {
	OnMissing  string `json:"on_missing,omitempty"`
	OnConflict string `json:"on_conflict,omitempty"`
	Truncate   string `json:"truncate,omitempty"`

	// At most one of these says what the changes are for.
	Apply    string            `json:"apply,omitempty"`
	Function *Function         `json:"function,omitempty"` // called with each event
	Newest   map[string]string `json:"newest,omitempty"`   // of several roots the newer row wins: arguments of merge_on_time
	Parts    *Parts            `json:"parts,omitempty"`    // rows are spread over tables by time
	Queue    string            `json:"queue,omitempty"`    // events go on into that queue here

	Shard *Shard `json:"shard,omitempty"` // which rows are the node's; nil: all

	Mask Mask `json:"mask,omitempty"` // what becomes of values; nil: all stay

	Store string `json:"store,omitempty"` // no: inserts become events and are not stored
}

// A Function is called with each event of a table, in their order.
type Function struct {
	Name string `json:"name"` // schema.name, unquoted
	Conf string `json:"conf,omitempty"`
}

// MergeOnTime is the function that [Handling.Newest] calls.
const MergeOnTime = "merge_on_time"

// AttrApply holds [ApplyNothing], which the original has no word for.
const AttrApply = "skytools_apply"

// StoreNo is the word for [Handling.Store].
const StoreNo = "no"

// ParseHandling reads a table's attributes. A handler or a word that nobody here knows is
// an error: to apply changes in another way would be worse than not at all.
func ParseHandling(attrs Dict) (h Handling, err error) {
	text := attrs.Get(AttrHandler)
	if text == "" {
		text = attrs.Get("handlers")
	}
	if text != "" {
		if err = h.readHandler(text); err != nil {
			return h, err
		}
	}
	for key, into := range map[string]*string{AttrOnMissing: &h.OnMissing, AttrOnConflict: &h.OnConflict, AttrTruncate: &h.Truncate, AttrApply: &h.Apply} {
		value := attrs.Get(key)
		if value == "" {
			continue
		}
		if !slices.Contains(Words(key), value) {
			return h, fmt.Errorf("table attribute %s: %q is none of %s", key, value, strings.Join(Words(key), ", "))
		}
		*into = value
	}
	if text := attrs.Get(AttrShard); text != "" {
		if h.Shard, err = parseShard(text); err != nil {
			return h, err
		}
	}
	if text := attrs.Get(AttrParts); text != "" {
		if err = json.Unmarshal([]byte(text), &h.Parts); err == nil {
			err = h.Parts.Check()
		}
		if err != nil {
			return h, fmt.Errorf("table attribute %s: %w", AttrParts, err)
		}
	}
	if text := attrs.Get(AttrMask); text != "" {
		if err = json.Unmarshal([]byte(text), &h.Mask); err != nil {
			return h, fmt.Errorf("table attribute %s: %w", AttrMask, err)
		}
	}
	return h, nil
}

// readHandler is what a handler of the original does.
// Source: contract/londiste.md sections 4.2 and 4.3.
func (h *Handling) readHandler(text string) error {
	p, err := ParseHandler(text)
	if err != nil {
		return err
	}
	if p.isSet("ignore_truncate") {
		h.Truncate = TruncateNo
	}
	switch p.Name {
	case "bulk":
		h.Apply = ApplyBulk
		if method, err := strconv.Atoi(p.Args.Get("method")); p.Args.Get("method") != "" && (err != nil || method < 0 || method > 2) {
			return fmt.Errorf("handler bulk: method %q is none of 0, 1, 2", p.Args.Get("method"))
		}
	case "vtable", "fake_local":
		h.Apply = ApplyVirtual
	case "qtable":
		h.Store = StoreNo
	case "qsplitter":
		if h.Queue = p.Args.Get("queue"); h.Queue == "" {
			return errors.New("handler qsplitter needs the argument queue")
		}
	case "applyfn":
		if h.Function = (&Function{p.Args.Get("func_name"), p.Args.Get("func_conf")}); h.Function.Name == "" {
			return errors.New("handler applyfn needs the argument func_name")
		}
	case "multimaster":
		h.Newest = map[string]string{}
		for arg, value := range p.Args.Texts() {
			if arg != "func_name" && arg != "func_conf" {
				h.Newest[arg] = value
			}
		}
		if len(h.Newest) == 0 {
			h.Newest, h.Function = nil, &Function{Name: MergeOnTime}
		}
	case "shard", "part":
		h.Shard, err = shardOf(p)
		return err
	case "obfuscate":
		return errors.New("handler obfuscate keeps its rules in a file that only its worker has: declare them (mask)")
	case "londiste":
	default:
		return h.readDispatch(p)
	}
	return nil
}

// Write is the opposite of [ParseHandling]. What the original has a handler for is written
// as that handler: its workers do the same. Where there is none, it finds none, and only
// keys that it ignores.
func (h Handling) Write(attrs Dict) {
	for key, value := range map[string]string{AttrOnMissing: h.OnMissing, AttrOnConflict: h.OnConflict, AttrTruncate: h.Truncate} {
		if value != "" {
			attrs.Set(key, value)
		}
	}
	p := Handler{Args: Dict{}}
	switch {
	case h.Apply == ApplyBulk:
		p.Name = "bulk"
	case h.Apply == ApplyVirtual:
		p.Name = "vtable"
	case h.Apply != "":
		attrs.Set(AttrApply, h.Apply)
	case h.Store == StoreNo:
		p.Name = "qtable"
	case h.Queue != "":
		p.Name = "qsplitter"
		p.Args.Set("queue", h.Queue)
	case h.Function != nil:
		p.Name = "applyfn"
		p.Args.Set("func_name", h.Function.Name)
		if h.Function.Conf != "" {
			p.Args.Set("func_conf", h.Function.Conf)
		}
	case h.Newest != nil:
		p = Handler{"multimaster", DictOf(h.Newest)}
	case h.Truncate == TruncateNo:
		p.Name = "londiste"
		p.Args.Set("ignore_truncate", "1")
		delete(attrs, AttrTruncate)
	}
	if h.Parts != nil { // the original's newest version cannot use its own handlers for that
		text, _ := json.Marshal(h.Parts)
		attrs.Set(AttrParts, string(text))
	}
	if h.Mask != nil {
		text, _ := json.Marshal(h.Mask) // texts cannot fail
		attrs.Set(AttrMask, string(text))
	}
	if h.Shard != nil {
		if q, ok := h.Shard.handler(h.Truncate); ok && (p.Name == "" || p.Name == "londiste") {
			p = q
			delete(attrs, AttrTruncate)
			if h.Truncate == TruncateCascade {
				attrs.Set(AttrTruncate, h.Truncate)
			}
		} else {
			attrs.Set(AttrShard, h.Shard.dict().String())
		}
	}
	if p.Name != "" {
		attrs.Set(AttrHandler, p.String())
	}
}

// Attrs lists the attributes that a handling is read from.
func (Handling) Attrs() []string {
	return []string{AttrHandler, "handlers", AttrOnMissing, AttrOnConflict, AttrTruncate, AttrApply, AttrShard, AttrMask, AttrParts}
}

// Fills reports whether rows of the provider belong into the table here.
func (h Handling) Fills() bool {
	return (h.Apply == "" || h.Apply == ApplyBulk) && h.Queue == "" && h.Store == "" && (h.Shard == nil || h.Shard.Replay == "")
}

// Needs reports whether the table has to be there.
func (h Handling) Needs() bool { return h.Apply != ApplyVirtual && h.Queue == "" }

// TriggerArgs are arguments that make the node's triggers do their part.
func (h Handling) TriggerArgs() (args []string) {
	if h.Shard != nil {
		args = append(args, h.Shard.triggerArg())
	}
	if h.Store == StoreNo {
		args = append(args, "SKIP")
	}
	return args
}

// AddArgs are arguments that registration needs beside those.
func (h Handling) AddArgs() (args []string) {
	switch {
	case !h.Needs():
		args = append(args, "virtual_table")
	case h.Store == StoreNo:
		args = append(args, "tgflags=BI", "expect_sync")
	case !h.Fills():
		args = append(args, "expect_sync")
	}
	if h.Newest != nil {
		args = append(args, "no_merge")
	}
	return args
}
