package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/skytools-go/skytools/runners/wal/store"
)

// packSize is the size at which a pack is complete, unless a frame goes beyond it.
var packSize int64 = 64 << 20

// A growing pack takes frames one after the other and encrypts as it grows.
type growing struct {
	n      int
	stored chunks
	body   io.Writer
	seal   func() error
	at     uint32
	index  []Frame // Pack is not set
}

func newGrowing(n int, recipients []age.Recipient) (*growing, error) {
	g := &growing{n: n, seal: func() error { return nil }}
	g.body = &g.stored
	if len(recipients) > 0 {
		encrypted, err := age.Encrypt(&g.stored, recipients...)
		if err != nil {
			return nil, fmt.Errorf("encrypt a pack: %w", err)
		}
		g.body, g.seal = encrypted, encrypted.Close
	}
	return g, nil
}

// add appends a compressed frame and says where it is.
func (g *growing) add(sum Sum, compressed []byte) (Frame, error) {
	f := Frame{Sum: sum, Offset: g.at, Length: uint32(len(compressed))}
	if _, err := g.body.Write(compressed); err != nil {
		return Frame{}, err
	}
	g.at += f.Length
	g.index = append(g.index, f)
	return f, nil
}

// An index lists the frames of a pack for whoever has no manifest of it: a line of
// JSON, then records as in a manifest.
type index struct {
	Size       int64    `json:"size"`
	Digest     Digest   `json:"sha256"`
	Recipients []string `json:"recipients,omitempty"`
	Frames     Frames   `json:"frames"`
}

// put seals the pack and writes it, then its index.
func (g *growing) put(ctx context.Context, w *writing, id ID) (Pack, error) {
	if err := g.seal(); err != nil {
		return Pack{}, err
	}
	content := io.NewSectionReader(&g.stored, 0, g.stored.size)
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return Pack{}, err
	}
	pack := Pack{Backup: id, N: g.n, Size: content.Size(), Digest: Digest(sum.Sum(nil))}
	key := w.shelf.packKey(id, g.n)
	if err := w.put(ctx, key, content); err != nil {
		return Pack{}, err
	}
	if w.whole() { // a request that has failed may still be sending what it has read
		g.stored.free()
	}
	list, err := json.Marshal(index{pack.Size, pack.Digest, w.shelf.Recipients, g.index})
	if err != nil {
		return Pack{}, err
	}
	return pack, w.put(ctx, key+".index", inMemory(list))
}

// An Extent is a stretch of a pack, before encryption.
type Extent struct{ Offset, Length int64 }

// ReadPack reads a stretch of a pack from the first store where use accepts it. use
// may be called several times, and must not keep the content.
func (s *Shelf) ReadPack(ctx context.Context, p Pack, e Extent, use func(content []byte) error) error {
	key := s.packKey(p.Backup, p.N)
	room := extents.Get().(*[]byte)
	defer extents.Put(room)
	return s.first(ctx, key, func(from store.Store) error {
		content, err := s.readExtent(ctx, from, key, p.Size, e, room)
		if err != nil {
			return err
		}
		return use(content)
	})
}

// extents are what stretches of packs are read into.
var extents = sync.Pool{New: func() any { return new([]byte) }}

// readExtent reads a stretch from one store. Where there are identities, a pack that
// begins as age files do is decrypted.
func (s *Shelf) readExtent(ctx context.Context, from store.Store, key string, size int64, e Extent, room *[]byte) ([]byte, error) {
	head, err := read(ctx, from, key, 0, min(size, ageHead))
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(head, []byte("age-encryption.org/")) {
		return exactly(e, func() ([]byte, error) {
			content, err := readInto(ctx, from, key, e.Offset, e.Length, *room)
			*room = content[:0]
			return content, err
		})
	}
	if len(s.Identities) == 0 {
		return nil, errNoIdentity
	}
	w := &window{ctx: ctx, from: from, key: key, size: size, head: head, want: e}
	plain, _, err := age.DecryptReaderAt(w, size, s.Identities...)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return exactly(e, func() ([]byte, error) {
		if int64(cap(*room)) < e.Length {
			*room = make([]byte, e.Length)
		}
		content := (*room)[:e.Length]
		n, err := plain.ReadAt(content, e.Offset)
		if err == io.EOF {
			err = nil
		}
		return content[:n], err
	})
}

var errNoIdentity = errors.New("it is encrypted, and no identity was given")

func exactly(e Extent, read func() ([]byte, error)) ([]byte, error) {
	content, err := read()
	if err == nil && int64(len(content)) != e.Length {
		err = fmt.Errorf("%d bytes at %d where there should be %d", len(content), e.Offset, e.Length)
	}
	return content, err
}

// ageHead is more than the header of an age file with a hundred recipients.
const ageHead = 32 << 10

// ageChunk is how much of an age file is encrypted at a time; each chunk grows by 16
// bytes. Source: the age format, v1.
const ageChunk = 64<<10 + 16

// A window reads an encrypted object so that the stretch that is wanted comes with one
// request, although it is decrypted in small steps.
type window struct {
	ctx  context.Context
	from store.Store
	key  string
	size int64
	head []byte
	want Extent // before encryption

	at      int64
	content []byte
}

func (w *window) ReadAt(p []byte, offset int64) (int, error) {
	if offset+int64(len(p)) <= int64(len(w.head)) {
		return copy(p, w.head[offset:]), nil
	}
	if err := w.load(offset, int64(len(p))); err != nil {
		return 0, err
	}
	n := copy(p, w.content[offset-w.at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// load sees to it that content covers a read, if the object does. The last chunk, which
// is read first to see where the file ends, comes by itself.
func (w *window) load(offset, length int64) error {
	covered := w.content != nil && offset >= w.at && offset+length <= w.at+int64(len(w.content))
	if covered {
		return nil
	}
	from, to := offset, offset+length
	first := w.want.Offset / (64 << 10) * ageChunk
	last := (w.want.Offset+w.want.Length)/(64<<10)*ageChunk + ageChunk + ageHead
	if from >= first && to <= last {
		to = last
	}
	content, err := read(w.ctx, w.from, w.key, from, min(to, w.size)-from)
	w.at, w.content = from, content
	return err
}

// decoder is shared: DecodeAll is safe for concurrent use.
var decoder, _ = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(1<<20), zstd.WithDecoderConcurrency(0))

// Unpack is the plain content of a frame, checked. buf is reused where it is large enough.
func (f *Frame) Unpack(compressed, buf []byte) ([]byte, error) {
	plain, err := decoder.DecodeAll(compressed, buf[:0])
	if err != nil {
		return nil, fmt.Errorf("unpack a frame at %d: %w", f.Offset, err)
	}
	if SumOf(plain) != f.Sum {
		return nil, fmt.Errorf("unpack a frame at %d: its BLAKE3 is another", f.Offset)
	}
	return plain, nil
}
