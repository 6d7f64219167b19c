//go:build cgo

package backup

import (
	"sync"

	"github.com/DataDog/zstd"
)

var squeeze squeezer = squeezeC

// level is where a frame of 64 KiB gets as small as with higher ones, almost as fast as
// with 1.
const level = 2

// contexts hold tables that cost more to make than a frame to compress. The library frees
// those that the pool lets go.
var contexts = sync.Pool{New: func() any { return zstd.NewCtx() }}

func squeezeC(plain, room []byte) ([]byte, error) {
	c := contexts.Get().(zstd.Ctx)
	defer contexts.Put(c)
	return c.CompressLevel(room, plain, level)
}
