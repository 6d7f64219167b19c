package spec

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// byteUnits are those of PostgreSQL: documentation, 20.1.1 Parameter Names and Values.
var byteUnits = []struct {
	name string
	size int64
}{{"kB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}}

// Bytes is an amount of data.
type Bytes int64

// ParseBytes reads a text such as 10GB.
func ParseBytes(text string) (Bytes, error) {
	if n, ok := parseBytes(text); ok {
		return Bytes(n), nil
	}
	return 0, fmt.Errorf("%q is no amount of data; write a whole number of kB, MB or GB, such as 10GB", text)
}

// String is the text that [ParseBytes] reads.
func (b Bytes) String() string { return bytesText(int64(b)) }

func parseBytes(text string) (n int64, ok bool) {
	for _, u := range byteUnits {
		digits, found := strings.CutSuffix(text, u.name)
		if !found {
			continue
		}
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n > 0 && n <= math.MaxInt32 && digits[0] != '+' && digits[0] != '0' {
			return n * u.size, true
		}
	}
	return 0, false
}

// bytesText writes it in the largest unit that leaves nothing over.
func bytesText(n int64) (text string) {
	for _, u := range byteUnits {
		if n%u.size == 0 || text == "" {
			text = strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return text
}

// bytesOf reads an amount of data.
type bytesOf struct {
	key  string
	into *Bytes
}

func (b bytesOf) shape() shape { return shape{kind: "text"} }

func (b bytesOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	var text string
	if !d.text(&yaml.Node{Value: b.key}, n, &text) {
		return
	}
	read, err := ParseBytes(text)
	if err != nil {
		d.fail(n, "bad-bytes", "%v", err)
		return
	}
	*b.into = read
}
