//go:build cgo

package squeeze

import (
	"io"
	"sync"

	"github.com/DataDog/zstd"
)

var used = inC

// Levels of libzstd. On frames of pages 2 stores a tenth less than 1 and takes a tenth
// longer; on WAL they are the same.
const (
	frameLevel  = 2
	streamLevel = 1
)

// inC is libzstd.
var inC = codec{
	frame: func(plain, room []byte) ([]byte, error) {
		c := contexts.Get().(zstd.Ctx)
		defer contexts.Put(c)
		return c.CompressLevel(room, plain, frameLevel)
	},
	write: func(to io.Writer) (io.WriteCloser, error) { return zstd.NewWriterLevel(to, streamLevel), nil },
}

// contexts hold tables that cost more to make than a frame to compress. The library frees
// those that the pool lets go.
var contexts = sync.Pool{New: func() any { return zstd.NewCtx() }}
