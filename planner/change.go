package planner

import "slices"

// decide fills in action, reason and fields from the three states. It reports
// whether there is anything to do.
//
//	YAML vs live    recorded    action
//	same            yes         none, if the record says the same; else the record is renewed
//	same            no          adopt
//	differs         yes         update, with the cause of each field
//	differs         no          update of something found: it is adopted by that
//	only YAML       -           create
//	only live       -           drop, when the YAML says absent
//
// Source: design/plan-apply.md section 5.2.
func (c *Change) decide(from, to State, applied *Applied) bool {
	if applied != nil {
		c.Recorded = &Record{applied.At, applied.By}
	}
	switch {
	case len(to) == 0 && len(from) == 0:
		c.Action, c.Reason = Forget, "declared-absent"
		return applied != nil // only the record is left to remove
	case len(to) == 0:
		c.Action, c.Reason = Drop, "declared-absent"
		return true
	case len(from) == 0:
		c.Action, c.Reason = Create, "new"
	case same(to, from):
		c.Action, c.Reason = Adopt, "adopt"
		return applied == nil || !same(to, applied.Spec)
	default:
		c.Action, c.Reason = Update, "spec-changed"
	}
	c.Fields = fields(from, to, applied)
	if c.Action == Update && !slices.ContainsFunc(c.Fields, func(f Field) bool { return f.Cause != "drift" }) {
		c.Reason = "drifted"
	}
	return true
}

// fields lists what differs, each with its cause.
func fields(from, to State, applied *Applied) []Field {
	all := []Field{}
	for _, path := range to.Missed(from) {
		if path == exists {
			continue
		}
		all = append(all, cause(Field{Path: path, Before: from[path], After: to[path]}, applied))
	}
	for _, path := range from.Paths() {
		if _, wanted := to[path]; !wanted {
			all = append(all, cause(Field{Path: path, Before: from[path]}, applied))
		}
	}
	slices.SortFunc(all, func(a, b Field) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	return all
}

func cause(f Field, applied *Applied) Field {
	f.Cause = "spec"
	if applied == nil {
		return f
	}
	was := applied.Spec[f.Path]
	switch {
	case same(was, f.After):
		f.Cause = "drift"
	case !same(was, f.Before):
		f.Cause, f.Was = "spec+drift", was
	}
	return f
}
