package planner

import (
	"fmt"
	"maps"
	"slices"

	"github.com/skytools-go/skytools/spec"
)

// A Drift says what changed behind the YAML's back: last applied against live, and a
// replicated table against the root's.
// What somebody wrote in the YAML and has not applied yet is not drift; it is only
// counted. Lists are never nil.
type Drift struct {
	Format    string      `json:"format"`
	Cluster   string      `json:"cluster"`
	Drifted   []Drifted   `json:"drifted"`
	Ignored   []Drifted   `json:"ignored"`
	Unchecked []Unchecked `json:"unchecked"`
	Checked   []Address   `json:"checked"` // everything that was compared
	Matching  int         `json:"matching"`
	Unapplied int         `json:"unapplied"` // objects that differ from the YAML because it was not applied
	Orphans   []Orphan    `json:"orphans"`
}

// DriftFormat is the version of drift reports.
const DriftFormat = "skytools.drift/1"

// Drifted is an object that is not as it was left.
type Drifted struct {
	Address  Address `json:"address"`
	Gone     bool    `json:"gone"`
	Fields   []Field `json:"fields"`
	Recorded Record  `json:"recorded"`
	Revision string  `json:"revision"`
}

// Unchecked is an object that could not be looked at.
type Unchecked struct {
	Address string `json:"address"`
	Why     string `json:"why"`
	Try     string `json:"try"`
}

// FindDrift compares every recorded object with what is live.
func FindDrift(set *spec.Set, live *Live, o Options) (*Drift, error) {
	plan, err := Build(set, live, o)
	if err != nil {
		return nil, err
	}
	s := &Scene{Set: set, Live: live, Options: o, cache: map[any]any{}}
	d := &Drift{Format: DriftFormat, Cluster: set.Cluster, Drifted: []Drifted{}, Ignored: []Drifted{}, Unchecked: []Unchecked{}, Checked: []Address{}, Orphans: plan.Orphans}
	for _, database := range slices.Sorted(maps.Keys(live.Databases)) {
		if err := d.database(s, database); err != nil {
			return nil, err
		}
	}
	drifted := map[Address]bool{}
	for _, x := range slices.Concat(d.Drifted, d.Ignored) {
		drifted[x.Address] = true
	}
	for _, c := range plan.Changes {
		if c.Action != Unobserved && !drifted[c.Address] {
			d.Unapplied++
		}
	}
	return d, nil
}

func (d *Drift) database(s *Scene, database string) error {
	db := s.database(database)
	if len(s.Options.Nodes) > 0 && !slices.Contains(s.Options.Nodes, database) {
		return nil
	}
	if !db.reached() && s.home(database) != database && len(s.appliedIn(database)) == 0 {
		return nil // a standby that nobody has made yet
	}
	if !db.reached() {
		d.Unchecked = append(d.Unchecked, Unchecked{database, db.Error, db.Hint})
		return nil
	}
	if why := db.Unreadable["applied"]; why != "" {
		d.Unchecked = append(d.Unchecked, Unchecked{database, why, "grant what the command prints: skytools sql grants"})
		return nil
	}
	byKind := map[string]map[string]State{}
	for _, k := range kinds {
		byKind[k.name()] = map[string]State{}
		for _, row := range db.rows(k.name()) {
			name, state, ok, err := k.read(row)
			if err != nil {
				return fmt.Errorf("read a %s of %s: %w", k.name(), database, err)
			}
			if ok {
				byKind[k.name()][name] = state
			}
		}
	}
	for _, text := range slices.Sorted(maps.Keys(s.appliedIn(database))) {
		row := s.appliedIn(database)[text]
		a, err := ParseAddress(text)
		if err != nil || row.Cluster != s.Set.Cluster || len(s.Only) > 0 && !matchAny(a, s.Only) {
			continue
		}
		if why := db.Unreadable[a.Kind]; why != "" {
			d.Unchecked = append(d.Unchecked, Unchecked{text, why, "grant what the command prints: skytools sql grants"})
			continue
		}
		found := byKind[a.Kind][a.Name]
		if k := kindOf(a.Kind); k != nil && k.once() && len(found) == 0 {
			found = row.Spec
		}
		d.object(s, a, row, found)
	}
	return nil
}

// object compares one object with its record.
func (d *Drift) object(s *Scene, a Address, row Applied, found State) {
	d.Checked = append(d.Checked, a)
	x := Drifted{Address: a, Gone: len(found) == 0, Fields: []Field{}, Recorded: Record{row.At, row.By}, Revision: row.Revision}
	if !x.Gone {
		for _, f := range fields(found, row.Spec, nil) {
			f.Before, f.After, f.Cause = f.After, f.Before, "drift"
			text, drift := kindOf(a.Kind).foundAt(s, a.Database, f.Path)
			if !drift {
				found = maps.Clone(found)
				found[f.Path] = row.Spec[f.Path]
				continue
			}
			if text != "" {
				f.After = text
			}
			if !s.ignored(a, f.Path) {
				x.Fields = append(x.Fields, f)
			}
		}
		for _, f := range unlike(s, a) {
			if !s.ignored(a, f.Path) {
				x.Fields = append(x.Fields, f)
			}
		}
	}
	switch {
	case x.Gone && !s.ignored(a, ""), len(x.Fields) > 0:
		d.Drifted = append(d.Drifted, x)
	case x.Gone || !same(found, row.Spec):
		d.Ignored = append(d.Ignored, x)
	default:
		d.Matching++
	}
}

// ignored reports whether the YAML says that this drift is known.
func (s *Scene) ignored(a Address, path string) bool {
	return slices.ContainsFunc(s.Set.Ignore, func(i spec.Ignore) bool {
		return !expired(i.Until, s.Now) && a.Match(i.Address) && (i.Field == "" || i.Field == path)
	})
}
