package londiste

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// AttrHandler names the plug-in that handles a table, with its arguments.
const AttrHandler = "handler"

// A Handler is a plug-in of the original. Source: contract/londiste.md section 4.
type Handler struct {
	Name string
	Args Dict
}

// argsOf are the arguments that a handler knows; nil: any. Source: contract/londiste.md
// sections 4.2 and 4.4.
var argsOf = map[string][]string{
	"londiste":    {"ignore_truncate", "encoding"},
	"vtable":      {},
	"fake_local":  {},
	"qtable":      {},
	"qsplitter":   {"queue"},
	"applyfn":     {"func_name", "func_conf"},
	"multimaster": nil,
	"bulk":        {"method", "ignore_truncate", "encoding"},
	"shard":       shardArgs,
	"part":        shardArgs,
	"obfuscate":   {"ignore_truncate"},
}

var shardArgs = []string{"key", "hash_key", "hashfunc", "hashexpr", "encoding", "ignore_truncate", "disable_replay"}

// ParseHandler reads name or name(args). An unknown name or argument is an error.
func ParseHandler(text string) (Handler, error) {
	name, args, ok := strings.Cut(text, "(")
	if ok && !strings.HasSuffix(args, ")") {
		return Handler{}, fmt.Errorf("handler %q: the closing parenthesis is missing", text)
	}
	known, found := argsOf[name]
	if _, _, _, _, dispatches := presets(name); dispatches {
		known, found = dispatchArgs, true
	}
	if !found {
		return Handler{}, fmt.Errorf("handler %q is not known here (%s are)", name, strings.Join(slices.Sorted(maps.Keys(argsOf)), ", "))
	}
	args = strings.TrimSuffix(args, ")")
	if !strings.Contains(args, "&") && strings.Count(args, ",") == strings.Count(args, "=")-1 {
		args = strings.ReplaceAll(args, ",", "&") // older installations
	}
	d, err := ParseDict(args)
	if err != nil {
		return Handler{}, fmt.Errorf("handler %q: %w", text, err)
	}
	for _, arg := range slices.Sorted(maps.Keys(d)) {
		if known != nil && !slices.Contains(known, arg) {
			return Handler{}, fmt.Errorf("handler %s has no argument %q", name, arg)
		}
	}
	return Handler{name, d}, nil
}

// String is the text that [ParseHandler] reads.
func (h Handler) String() string {
	if len(h.Args) == 0 {
		return h.Name
	}
	return h.Name + "(" + h.Args.String() + ")"
}

// isSet reads an argument that is 0 or 1.
func (h Handler) isSet(arg string) bool {
	value := h.Args.Get(arg)
	return value != "" && value != "0" && value != "false"
}
