package spec

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Duration is written with a unit: 500ms, 3s, 2m, 2h, 14d, 2w, or several in
// descending order, such as 1h30m.
type Duration time.Duration

var durationUnits = []struct {
	name string
	size time.Duration
}{
	{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute},
	{"s", time.Second}, {"ms", time.Millisecond}, {"us", time.Microsecond},
}

// Seconds is d as the catalogs hold it: the float nearest to its microseconds, as
// PostgreSQL's extract(epoch ...)::float8 is. (time.Duration.Seconds rounds twice:
// it makes 1.118 s to 1.1179999999999999.)
func (d Duration) Seconds() float64 {
	return float64(time.Duration(d).Round(time.Microsecond)/time.Microsecond) / 1e6
}

// String is the shortest way to write d: the largest units first, zeros left out.
// It is exact to the microsecond, as PostgreSQL is.
func (d Duration) String() string {
	rest, out := time.Duration(d).Round(time.Microsecond), ""
	if rest < 0 { // no YAML says so, but a catalog may
		return "-" + Duration(-max(rest, -math.MaxInt64)).String()
	}
	for _, u := range durationUnits {
		if u.name == "w" && rest%u.size != 0 { // 15d reads better than 2w1d
			continue
		}
		if n := rest / u.size; n > 0 {
			out += strconv.FormatInt(int64(n), 10) + u.name
			rest -= n * u.size
		}
	}
	if out == "" {
		return "0s"
	}
	return out
}

// MarshalText writes d as [Duration.String] does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// ParseDuration reads what a person wrote. A bare number is an error, because it
// could mean anything; the longest duration is about 290 years. Fractions are
// rounded to the microsecond.
func ParseDuration(text string) (Duration, error) {
	bad := fmt.Errorf("expected a duration such as 3s, 2h or 14d, found %q", text)
	rest := strings.TrimSpace(text)
	if rest == "" {
		return 0, bad
	}
	if rest == "0" {
		return 0, nil
	}
	total, last := time.Duration(0), time.Duration(math.MaxInt64)
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789."))
		number := rest[:digits]
		rest = rest[digits:]
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		if number != "" && rest == "" {
			return 0, fmt.Errorf("%q has no unit; write %ss for seconds, or use ms, m, h, d, w", text, strings.TrimSpace(text))
		}
		size := unitSize(rest[:letters])
		part, ok := times(number, size)
		if !ok || size >= last || part > math.MaxInt64-total {
			return 0, bad
		}
		rest, last = rest[letters:], size
		total += part
	}
	return Duration(total), nil
}

func unitSize(name string) time.Duration {
	for _, u := range durationUnits {
		if u.name == name {
			return u.size
		}
	}
	return 0
}

// times is number units of that size. Whole numbers are exact, whatever their size.
func times(number string, size time.Duration) (time.Duration, bool) {
	if size == 0 {
		return 0, false
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		return time.Duration(n) * size, n <= int64(math.MaxInt64/size)
	}
	n, err := strconv.ParseFloat(number, 64)
	total := math.Round(n*float64(size)/1e3) * 1e3
	return time.Duration(total), err == nil && total < math.MaxInt64
}
