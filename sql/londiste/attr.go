package londiste

// AttrWhere is the table attribute that holds a row filter: a SQL condition over
// the table's columns. It is ours: other programs ignore keys that they do not know.
//
// Source: contract/londiste.md section 1.5.
const AttrWhere = "skytools_where"
