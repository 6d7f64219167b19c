// Package segmenttest makes segments for tests: their first page is as PostgreSQL writes
// it, and the rest is anything.
package segmenttest

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/skytools-go/skytools/runners/wal/segment"
)

// Cluster is that of most tests: PostgreSQL 15 with segments of 1 MB.
var Cluster = segment.Cluster{System: 7312345678901234567, Major: 15, Size: 1 << 20}

// Make returns a segment. The same seed gives the same content.
func Make(c segment.Cluster, n segment.Name, seed uint64) []byte {
	content := make([]byte, c.Size)
	r := rand.New(rand.NewPCG(seed, 0))
	for at := segment.HeaderSize; at < len(content)/2; at += 64 { // it compresses, as WAL does
		binary.LittleEndian.PutUint64(content[at:], r.Uint64())
	}
	magic := map[int]uint16{14: 0xD10D, 15: 0xD110, 16: 0xD113, 17: 0xD116, 18: 0xD118}
	binary.LittleEndian.PutUint16(content[0:], magic[c.Major])
	binary.LittleEndian.PutUint16(content[2:], 2)
	binary.LittleEndian.PutUint32(content[4:], n.Timeline)
	binary.LittleEndian.PutUint64(content[8:], uint64(c.Size.Start(n)))
	binary.LittleEndian.PutUint64(content[24:], c.System)
	binary.LittleEndian.PutUint32(content[32:], uint32(c.Size))
	binary.LittleEndian.PutUint32(content[36:], 8192)
	return content
}
