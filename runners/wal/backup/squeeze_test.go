package backup

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestSqueeze: what either of them compresses comes back, from several goroutines that
// hand one room on.
func TestSqueeze(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, FrameSize)
	random.Read(noise)
	frames := map[string][]byte{
		"zeros":       make([]byte, FrameSize),
		"noise":       noise,
		"rows":        bytes.Repeat([]byte("a row of a table, and another one;"), FrameSize/34),
		"a last page": noise[:8192],
		"one byte":    {7},
	}
	for name, squeeze := range map[string]squeezer{"in use": squeeze, "Go": squeezeGo} {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				var room []byte
				for range 50 {
					for what, plain := range frames {
						packed, err := squeeze(plain, room)
						if err != nil {
							t.Errorf("%s: compress %s: %v", name, what, err)
							return
						}
						room = packed
						f := &Frame{Sum: SumOf(plain)}
						if back, err := f.Unpack(packed, nil); err != nil || !bytes.Equal(back, plain) {
							t.Errorf("%s: %s came back as %d bytes: %v", name, what, len(back), err)
							return
						}
					}
				}
			})
		}
		all.Wait()
	}
}
