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

// Seconds is d as the catalogs hold it.
func (d Duration) Seconds() float64 { return time.Duration(d).Seconds() }

// String is the shortest way to write d: the largest units first, zeros left out.
func (d Duration) String() string {
	if d == 0 {
		return "0s"
	}
	rest, out := time.Duration(d), ""
	for _, u := range durationUnits {
		if u.name == "w" && rest%u.size != 0 { // 15d reads better than 2w1d
			continue
		}
		if n := rest / u.size; n > 0 {
			out += strconv.FormatInt(int64(n), 10) + u.name
			rest -= n * u.size
		}
	}
	return out
}

// MarshalText writes d as [Duration.String] does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// ParseDuration reads what a person wrote. A bare number is an error, because it
// could mean anything; the longest duration is about 290 years.
func ParseDuration(text string) (Duration, error) {
	total, rest, last := 0.0, strings.TrimSpace(text), math.MaxFloat64
	if rest == "0" {
		return 0, nil
	}
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789."))
		n, err := strconv.ParseFloat(rest[:digits], 64)
		if err != nil || digits == 0 {
			return 0, fmt.Errorf("expected a duration such as 3s, 2h or 14d, found %q", text)
		}
		rest = rest[digits:]
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		size := 0.0
		for _, u := range durationUnits {
			if u.name == rest[:letters] {
				size = float64(u.size)
			}
		}
		if size == 0 && letters == 0 {
			return 0, fmt.Errorf("%q has no unit; write %ss for seconds, or use ms, m, h, d, w", text, strings.TrimSpace(text))
		}
		if size == 0 || size >= last {
			return 0, fmt.Errorf("expected a duration such as 3s, 2h or 14d, found %q", text)
		}
		rest, last = rest[letters:], size
		total += n * size
	}
	if text == "" || total >= math.MaxInt64 {
		return 0, fmt.Errorf("expected a duration such as 3s, 2h or 14d, found %q", text)
	}
	return Duration(math.Round(total)), nil
}
