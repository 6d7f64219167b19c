package backup

import (
	"io"
	"sync"
)

// chunks hold what is written to them, in pieces of memory that go from pack to pack: fresh
// memory, and a buffer that moves as it grows, cost more than the compression. The zero
// value is empty.
type chunks struct {
	all  []*[chunkSize]byte
	size int64
}

const chunkSize = 1 << 20

var spare = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// Write never fails.
func (c *chunks) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		at := c.size % chunkSize
		if at == 0 {
			c.all = append(c.all, spare.Get().(*[chunkSize]byte))
		}
		n := copy(c.all[len(c.all)-1][at:], rest)
		rest, c.size = rest[n:], c.size+int64(n)
	}
	return len(p), nil
}

// ReadAt is safe for concurrent use.
func (c *chunks) ReadAt(p []byte, at int64) (n int, err error) {
	for n < len(p) && at < c.size {
		chunk := c.all[at/chunkSize][at%chunkSize : min(chunkSize, c.size-at/chunkSize*chunkSize)]
		k := copy(p[n:], chunk)
		n, at = n+k, at+int64(k)
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// free gives the memory back. Nobody may be reading.
func (c *chunks) free() {
	for _, chunk := range c.all {
		spare.Put(chunk)
	}
	*c = chunks{}
}
