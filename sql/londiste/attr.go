package londiste

// Attributes of a table that are ours, beside those of the original: other programs
// ignore keys that they do not know.
//
// Source: contract/londiste.md section 1.5.
const (
	// AttrWhere holds a row filter: a SQL condition over the root's columns.
	AttrWhere = "skytools_where"

	// AttrColumns holds a [Dict] from the root's columns to those here. NULL: the
	// column is left out. Columns that it does not name keep their names, or are
	// left out, too, if [Others] is.
	AttrColumns = "skytools_columns"

	// AttrTransform holds a [Dict] from columns here to SQL expressions over the
	// root's row.
	AttrTransform = "skytools_transform"

	// AttrTypes holds a [Dict] from the root's columns that the SQL above speaks of to
	// their types, in so far as every server has them.
	AttrTypes = "skytools_types"

	// These hold what to do about an update or delete of a row that is not here, an
	// insert of one whose key is here, and TRUNCATE. Without them the first two are
	// errors, and TRUNCATE empties the table alone.
	AttrOnMissing  = "skytools_on_missing"
	AttrOnConflict = "skytools_on_conflict"
	AttrTruncate   = "skytools_truncate"
)

// Words that such an attribute can hold.
const (
	MissingWarn       = "warn"   // go on, and log it
	MissingIgnore     = "ignore" // go on
	ConflictOverwrite = "overwrite"
	ConflictKeep      = "keep"    // the row here stays as it is
	TruncateNo        = "no"      // nothing is emptied
	TruncateCascade   = "cascade" // tables whose foreign keys refer to it are emptied, too
)

// Words lists what an attribute can hold.
func Words(attr string) []string {
	switch attr {
	case AttrOnMissing:
		return []string{MissingWarn, MissingIgnore}
	case AttrOnConflict:
		return []string{ConflictOverwrite, ConflictKeep}
	case AttrTruncate:
		return []string{TruncateNo, TruncateCascade}
	case AttrApply:
		return []string{ApplyNothing}
	}
	return nil
}

// Texts is the dictionary as a map of texts; NULL is the empty one. Of an empty
// dictionary it is nil.
func (d Dict) Texts() map[string]string {
	var all map[string]string
	for key, value := range d {
		if all == nil {
			all = map[string]string{}
		}
		if all[key] = ""; value != nil {
			all[key] = *value
		}
	}
	return all
}

// DictOf is the dictionary of texts; empty ones become NULL.
func DictOf(texts map[string]string) Dict {
	d := Dict{}
	for key, value := range texts {
		if d[key] = nil; value != "" {
			d[key] = &value
		}
	}
	return d
}

// AttrRate is the most bytes a second that a copy of the table takes, and
// AttrIndexes says keep when it leaves the table's indexes alone.
const (
	AttrRate    = "skytools_rate"
	AttrIndexes = "skytools_indexes"
)
