package pg

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/pierrec/lz4/v4"
)

// squeeze is an LZ4 frame of the library's making, whose blocks stand alone.
func squeeze(t testing.TB, content []byte, o ...lz4.Option) []byte {
	t.Helper()
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	if err := w.Apply(o...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// linked is a frame whose second and later blocks consist of matches in the one before,
// as servers make them.
func linked() (frame, content []byte) {
	frame = []byte{0x04, 0x22, 0x4d, 0x18, 0x40, 0x40, 0xc0} // 64 kB, linked, no sums
	first := bytes.Repeat([]byte("0123456789abcdef"), 1<<12) // 64 kB
	frame = append(frame, 0, 0, 1, 0x80)                     // as it is
	frame = append(frame, first...)
	content = append(content, first...)
	for range 20 { // a match of 16 bytes, 65,535 back: one byte on in the pattern
		block := []byte{0x0c, 0xff, 0xff, 0x50, 'a', 'b', 'c', 'd', 'e'}
		frame = append(frame, byte(len(block)), 0, 0, 0)
		frame = append(frame, block...)
		content = append(content, content[len(content)-65535:][:16]...)
		content = append(content, "abcde"...)
	}
	return append(frame, 0, 0, 0, 0), content
}

func TestUnsqueeze(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	text := bytes.Repeat([]byte("a page of a table, much like the one before; "), 100_000)
	frame, content := linked()
	for name, c := range map[string]struct{ frame, content []byte }{
		"empty":        {squeeze(t, nil), nil},
		"small":        {squeeze(t, []byte("x")), []byte("x")},
		"text":         {squeeze(t, text), text},
		"noise":        {squeeze(t, noise, lz4.BlockSizeOption(lz4.Block64Kb)), noise},
		"sums of all":  {squeeze(t, text, lz4.BlockChecksumOption(true), lz4.SizeOption(uint64(len(text)))), text},
		"linked":       {frame, content},
		"mixed blocks": {squeeze(t, append(append([]byte{}, noise...), text...), lz4.BlockSizeOption(lz4.Block256Kb)), append(append([]byte{}, noise...), text...)},
	} {
		for how, in := range map[string]io.Reader{"whole": bytes.NewReader(c.frame), "one byte": iotest.OneByteReader(bytes.NewReader(c.frame))} {
			got, err := io.ReadAll(newUnsqueezer(in))
			if err != nil || !bytes.Equal(got, c.content) {
				t.Errorf("%s, %s: %d bytes of %d, %v", name, how, len(got), len(c.content), err)
			}
		}
		for _, cut := range []int{0, 3, len(c.frame) / 2, len(c.frame) - 9} {
			if _, err := io.ReadAll(newUnsqueezer(bytes.NewReader(c.frame[:max(0, cut)]))); err == nil {
				t.Errorf("%s, cut at %d: no error", name, cut)
			}
		}
	}
}

func FuzzUnsqueeze(f *testing.F) {
	frame, _ := linked()
	f.Add(frame)
	f.Add(squeeze(f, bytes.Repeat([]byte("abc"), 1000)))
	f.Fuzz(func(t *testing.T, text []byte) {
		io.Copy(io.Discard, io.LimitReader(newUnsqueezer(bytes.NewReader(text)), 1<<26))
	})
}
