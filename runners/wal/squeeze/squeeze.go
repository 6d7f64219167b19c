// Package squeeze compresses to zstd: frames of backups, and streams of WAL.
//
// A program that was built with cgo does it with libzstd, which takes half the time or
// less; one that was not does it with a library in Go. Compression is most of what the host
// of a database spends on its archive. What they write differs, and either reads both.
//
// It does not know what is compressed. Reading back is with klauspost/compress in every
// build: nothing is to gain there.
package squeeze

import (
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A codec is one way of doing it.
type codec struct {
	frame func(plain, room []byte) ([]byte, error)
	write func(io.Writer) (io.WriteCloser, error)
}

// Frame compresses all of plain to one zstd frame, in the room where it is large enough.
// It is safe for concurrent use.
func Frame(plain, room []byte) ([]byte, error) { return used.frame(plain, room) }

// Writer compresses what is written to it. The end of it is Close, which does not close to.
func Writer(to io.Writer) (io.WriteCloser, error) { return used.write(to) }

// inGo works in every build.
var inGo = codec{
	frame: func(plain, room []byte) ([]byte, error) { return framer.EncodeAll(plain, room[:0]), nil },
	write: func(to io.Writer) (io.WriteCloser, error) {
		if e, ok := encoders.Get().(*zstd.Encoder); ok {
			e.Reset(to)
			return pooled{e}, nil
		}
		e, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		return pooled{e}, err
	},
}

// framer is shared: EncodeAll is safe for concurrent use. On pages of tables and indexes its
// default level takes no longer than the fastest, and stores a tenth less.
var framer, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderCRC(false))

// encoders are costly to make, and used again.
var encoders sync.Pool

type pooled struct{ *zstd.Encoder }

func (p pooled) Close() error {
	err := p.Encoder.Close()
	if err == nil {
		encoders.Put(p.Encoder)
	}
	return err
}
