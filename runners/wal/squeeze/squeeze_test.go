package squeeze

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// codecs are all of this build.
var codecs = map[string]codec{"in use": used, "Go": inGo}

// contents are what may come: nothing that compresses, and nothing that does not.
func contents() map[string][]byte {
	noise := make([]byte, 64<<10)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	return map[string][]byte{
		"zeros":    make([]byte, 64<<10),
		"noise":    noise,
		"rows":     bytes.Repeat([]byte("a row of a table, and another one;"), 2000),
		"a page":   noise[:8192],
		"one byte": {7},
	}
}

// TestFrame: what is compressed comes back, from several goroutines that each go on with
// the room that they were given.
func TestFrame(t *testing.T) {
	back, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range codecs {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				var room []byte
				for range 50 {
					for what, plain := range contents() {
						packed, err := c.frame(plain, room)
						if err != nil {
							t.Errorf("%s: compress %s: %v", name, what, err)
							return
						}
						room = packed
						if got, err := back.DecodeAll(packed, nil); err != nil || !bytes.Equal(got, plain) {
							t.Errorf("%s: %s came back as %d bytes: %v", name, what, len(got), err)
							return
						}
					}
				}
			})
		}
		all.Wait()
	}
}

// TestWriter: a stream of all of them comes back, one after the other with the same codec.
func TestWriter(t *testing.T) {
	for name, c := range codecs {
		for range 3 {
			var plain, packed bytes.Buffer
			w, err := c.write(&packed)
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				for _, content := range contents() {
					plain.Write(content)
					if n, err := w.Write(content); n != len(content) || err != nil {
						t.Fatalf("%s: wrote %d of %d: %v", name, n, len(content), err)
					}
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := zstd.NewReader(&packed)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain.Bytes()) {
				t.Errorf("%s: %d of %d bytes came back: %v", name, len(got), plain.Len(), err)
			}
			r.Close()
		}
	}
}

// full takes nothing.
type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestWriterFails: what the store did not take is an error, at the latest at the end.
func TestWriterFails(t *testing.T) {
	for name, c := range codecs {
		w, err := c.write(full{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(contents()["noise"])
		if err = errors.Join(err, w.Close()); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
