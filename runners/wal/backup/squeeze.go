package backup

import "github.com/klauspost/compress/zstd"

// A squeezer compresses a frame to a zstd frame of its own, into the room where it is
// large enough. It is safe for concurrent use.
type squeezer func(plain, room []byte) ([]byte, error)

// squeezeGo works in every build. squeeze, which is used, is libzstd's where the program
// was built with cgo: it takes two thirds of the time, and compression is most of what a
// backup costs here.
func squeezeGo(plain, room []byte) ([]byte, error) {
	return encoder.EncodeAll(plain, room[:0]), nil
}

// encoder is shared: EncodeAll is safe for concurrent use. On pages of tables and indexes its
// default level takes no longer than the fastest, and stores a tenth less.
var encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderCRC(false))
