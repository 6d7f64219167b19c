package planner

import (
	"reflect"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
)

// wantedHandling is what the YAML asks for, in the words of the attributes.
func wantedHandling(h spec.Handling, root bool) londiste.Handling {
	if root { // applies nothing
		return londiste.Handling{Store: string(h.Store)}
	}
	w := londiste.Handling{Store: string(h.Store), OnMissing: string(h.OnMissing), OnConflict: string(h.OnConflict), Truncate: string(h.Truncate)}
	if a := h.Apply; a != nil {
		w.Apply, w.Queue, w.Newest = a.Word, a.Queue, a.Newest
		if a.Function != "" {
			w.Function = &londiste.Function{Name: a.Function, Conf: a.Conf}
		}
	}
	return w
}

// readHandling takes the attributes that say how a table is handled. Those that nobody
// here understands stay as they are.
func (t *tableState) readHandling(attrs londiste.Dict) {
	h, err := londiste.ParseHandling(attrs)
	if err == nil {
		t.Handling = h
		return
	}
	for _, key := range t.Handling.Attrs() {
		if value := attrs[key]; value != nil {
			t.Attrs[key] = *value
		}
	}
}

// keepsAttr reports an attribute that stays because the YAML has no word for it, or says
// none: a handler that is not known here.
func keepsAttr(key string, w *tableState) bool {
	return !slices.Contains(w.Handling.Attrs(), key) || reflect.ValueOf(w.Handling).IsZero()
}

// withoutTriggerArgs are the trigger's options that the handling does not imply.
func (t *tableState) withoutTriggerArgs() []string {
	return slices.DeleteFunc(slices.Clone(t.Args), func(arg string) bool { return slices.Contains(t.TriggerArgs(), arg) })
}

// handlingYAML is the handling as options of a node.
func handlingYAML(h londiste.Handling) (options []string) {
	one := func(key, value string) {
		if value != "" {
			options = append(options, key+": "+spec.Scalar(value))
		}
	}
	switch {
	case h.Function != nil:
		conf := ""
		if h.Function.Conf != "" {
			conf = ", conf: " + spec.Scalar(h.Function.Conf)
		}
		options = append(options, "apply: {function: "+spec.Scalar(h.Function.Name)+conf+"}")
	case h.Newest != nil:
		options = append(options, "apply: {"+strings.Join(flowMap("newest", h.Newest), "")+"}")
	case h.Queue != "":
		options = append(options, "apply: {queue: "+spec.Scalar(h.Queue)+"}")
	}
	one("apply", h.Apply)
	one("store", h.Store)
	one("on_missing", h.OnMissing)
	one("on_conflict", h.OnConflict)
	one("truncate", h.Truncate)
	return options
}
