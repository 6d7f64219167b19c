// Package archive holds the SQL of archives: the settings by which a server hands its WAL
// to one. It does not know stores, and installs nothing.
package archive

import (
	_ "embed"
	"regexp"
	"strings"

	"github.com/skytools-go/skytools/sql"
)

//go:embed setting.sql
var settingSQL string

// Settings reads how a server archives its WAL: one row.
var Settings = sql.Catalog{Kind: "archive", Text: settingSQL}

// Setting is the row of [Settings]. Command and the like are empty for a role that may
// not read them.
type Setting struct {
	Name     string   `json:"name"` // of the cluster, where it has one
	Mode     string   `json:"mode"` // off, on, always
	Command  string   `json:"command"`
	Library  *string  `json:"library"` // nil before version 15
	WALLevel string   `json:"wal_level"`
	Pending  []string `json:"pending"` // that a restart will change
	Arrived  *bool    `json:"arrived"` // WAL was archived, and nothing has failed since; nil: it was not asked for
	Standby  bool     `json:"standby"`
	Patroni  bool     `json:"patroni"` // keeps the settings, and would undo a change
}

// InForce reports whether the server archives now, and not only after a restart.
func (s Setting) InForce() bool {
	return (s.Mode == "on" || s.Mode == "always") && s.WALLevel != "minimal"
}

// ours is an archive_command that runs our client.
var ours = regexp.MustCompile(`(?:^|[\s/'])skytools-wal'? push '?([A-Za-z0-9_-]+)'? `)

// Archive is the name of the archive that the server sends its WAL to; empty: it is none
// of ours.
func (s Setting) Archive() string {
	if m := ours.FindStringSubmatch(s.Command); m != nil {
		return m[1]
	}
	return ""
}

// Foreign is what the server archives with, where that is neither ours nor nothing.
// Source: PostgreSQL documentation, archive_command, for what stands for nothing.
func (s Setting) Foreign() string {
	switch command := strings.TrimSpace(s.Command); {
	case s.Library != nil && *s.Library != "":
		return "archive_library = " + sql.Literal(*s.Library)
	case s.Archive() == "" && command != "" && command != "(disabled)":
		return "archive_command = " + sql.Literal(command)
	}
	return ""
}

// Command is the archive_command that hands WAL to an archive by a client, which finds
// the YAML at spec on the server's host.
func Command(client, archive, spec string) string {
	return shell(client) + " push " + archive + " %p -- --spec " + shell(spec)
}

// shell quotes a word for the shell, and for archive_command, where % is special.
func shell(word string) string {
	word = strings.ReplaceAll(word, "%", "%%")
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./%") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Reload lets the server read its files.
func Reload() sql.Stmt { return sql.Exec("select pg_reload_conf()") }
