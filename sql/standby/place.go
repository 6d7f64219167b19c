package standby

import (
	"regexp"
	"strings"
)

// Where a standby streams from is compared as host and port, in the words of [Settings].
var (
	hostWord = regexp.MustCompile(`(?i)\bhost\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S+))`)
	portWord = regexp.MustCompile(`(?i)\bport\s*=\s*'?(\d+)'?`)
)

// Place is where a conninfo leads; not ok: it does not say, or names several hosts.
func Place(conninfo string) (place string, ok bool) {
	host := hostWord.FindStringSubmatch(conninfo)
	if host == nil || strings.Contains(host[1]+host[2], ",") || strings.Contains(conninfo, "://") {
		return "", false
	}
	port := "5432"
	if found := portWord.FindStringSubmatch(conninfo); found != nil {
		port = found[1]
	}
	return "host=" + host[1] + host[2] + " port=" + port, true
}

// Moved is a conninfo that leads to another place.
func Moved(conninfo, place string) string {
	host, port, _ := strings.Cut(strings.TrimPrefix(place, "host="), " port=")
	rest := strings.TrimSpace(portWord.ReplaceAllString(hostWord.ReplaceAllString(conninfo, ""), ""))
	return "host='" + host + "' port=" + port + " " + rest
}
