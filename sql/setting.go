package sql

import "strings"

// lists are settings whose elements are quoted each.
// Source: PostgreSQL documentation, ALTER SYSTEM.
var lists = map[string]bool{"search_path": true, "temp_tablespaces": true, "local_preload_libraries": true, "session_preload_libraries": true}

// AlterSystem changes a setting in the server's own file. It cannot be part of a
// transaction, and counts once the server has read its files.
// Source: PostgreSQL documentation, ALTER SYSTEM.
func AlterSystem(name, value string) Stmt {
	literals := []string{Literal(value)}
	if lists[name] && value != "" {
		literals = nil
		for item := range strings.SplitSeq(value, ",") {
			literals = append(literals, Literal(strings.Trim(strings.TrimSpace(item), `"`)))
		}
	}
	return Stmt{Text: "alter system set " + Ident(strings.Split(name, ".")...) + " = " + strings.Join(literals, ", ")}
}
