package planner

import (
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/standby"
)

// How a standby follows is two of its settings. Where it streams from is compared as host
// and port, and only where the YAML itself says them: a dsn may lead another way on another
// host.
//
// Source: PostgreSQL documentation, 20.6.3: both change with a reload.
const (
	conninfoSetting = "primary_conninfo"
	commandSetting  = "restore_command"
)

// following is what these settings should be, where that is known.
func (s *Scene) following(b *spec.Standby) map[string]string {
	want := map[string]string{commandSetting: aCommand}
	if b.Follows() == spec.FollowStream {
		want[commandSetting] = ""
	}
	if at, said := s.primaryPlace(b); said && b.Streams() {
		want[conninfoSetting] = at
	}
	if !b.Streams() {
		want[conninfoSetting] = ""
	}
	return want
}

// aCommand stands for any restore_command.
const aCommand = "a command"

// primaryPlace is where the YAML has a standby stream from.
func (s *Scene) primaryPlace(b *spec.Standby) (place string, said bool) {
	if b.Conninfo != "" {
		return standby.Place(b.Conninfo)
	}
	if d := s.Set.Database(b.Of); d != nil {
		return standby.Place(d.Location)
	}
	return "", false
}

// cannot says what to do about a setting whose new value only the standby's host knows;
// empty: apply can set it.
func (w wantedSetting) cannot() string {
	switch have := w.row.Now(); {
	case have == w.value:
	case w.row.Name == commandSetting && w.value != "":
		return "on the standby's host: alter system set restore_command to what skytools standby create writes, for archive " + w.of.Archive
	case w.row.Name == conninfoSetting && w.value != "" && (w.row.Open == nil || *w.row.Open == ""):
		return "on the standby: alter system set primary_conninfo, which holds a password, is a URL or is empty"
	}
	return ""
}
