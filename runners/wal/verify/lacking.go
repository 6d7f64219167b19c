package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// lacking keeps what a store does not list, up to the limit. Manifests come last: where
// something that one refers to has to wait, they wait too.
func (v *verifying) lacking(ctx context.Context, wal, packs, manifests []item) (w, p, m []item, err error) {
	there := map[string]int{}
	for _, s := range v.shelf.Stores {
		for info, err := range s.List(ctx, fmt.Sprintf("e/%d/", v.a.System)) {
			if err != nil {
				return nil, nil, nil, err
			}
			there[info.Key]++
		}
	}
	room := v.o.Limit
	cut := func(items []item) []item {
		items = slices.DeleteFunc(items, func(i item) bool { return there[i.key] == len(v.shelf.Stores) })
		slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.key, b.key) })
		if v.o.Limit == 0 {
			return items
		}
		now := items[:min(len(items), max(room, 0))]
		v.report.Left += len(items) - len(now)
		room -= len(now)
		return now
	}
	w, p = cut(wal), cut(packs)
	if v.report.Left > 0 {
		room = 0
	}
	return w, p, cut(manifests), nil
}
