package pg

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"strconv"
	"strings"
)

// A CRC is the CRC-32C of a file, as in a server's manifest. It finds faults, no forgery.
// Zero is that of an empty file.
type CRC uint32

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Add is the CRC of all content so far and what comes after it.
func (c CRC) Add(content []byte) CRC { return CRC(crc32.Update(uint32(c), castagnoli, content)) }

// Write adds content, and never fails.
func (c *CRC) Write(content []byte) (int, error) {
	*c = c.Add(content)
	return len(content), nil
}

// MarshalText writes eight hexadecimal digits.
func (c CRC) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%08x", uint32(c)), nil }

// UnmarshalText reads them.
func (c *CRC) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 32)
	if err != nil || len(text) != 8 {
		return fmt.Errorf("%q is no CRC-32C", text)
	}
	*c = CRC(n)
	return nil
}

// A Sent is a file in the manifest of a base backup: what the server says it has sent.
type Sent struct {
	Path string
	Size int64
	sum  string
}

// ParseManifest reads the manifest that ends a base backup.
//
// Source: PostgreSQL documentation, 77 Backup Manifest Format.
func ParseManifest(text []byte) ([]Sent, error) {
	var manifest struct {
		Files []struct {
			Path     string
			Encoded  string `json:"Encoded-Path"` // in hexadecimal, of a name that is not UTF-8
			Size     int64
			Checksum string
		}
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, fmt.Errorf("read the server's manifest: %w", err)
	}
	if len(manifest.Files) == 0 {
		return nil, errors.New("read the server's manifest: it names no file")
	}
	sent := make([]Sent, len(manifest.Files))
	for i, f := range manifest.Files {
		if f.Encoded != "" {
			name, err := hex.DecodeString(f.Encoded)
			if err != nil {
				return nil, fmt.Errorf("read the server's manifest: %w", err)
			}
			f.Path = string(name)
		}
		sent[i] = Sent{f.Path, f.Size, f.Checksum}
	}
	return sent, nil
}

// Arrived reports whether what has arrived is what the server has sent. The manifest has
// the bytes of a CRC in the order in which the server's memory has them.
func (s Sent) Arrived(size int64, sum CRC) bool {
	is := func(n uint32) bool { return strings.EqualFold(s.sum, fmt.Sprintf("%08x", n)) }
	return size == s.Size && (is(uint32(sum)) || is(bits.ReverseBytes32(uint32(sum))))
}
