package repo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	"filippo.io/age"

	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/sql/pg"
)

// A Header is what the first [HeaderSize] bytes of an object say.
type Header struct {
	Format  int    `json:"skytools_wal"` // 1
	System  uint64 `json:"system,string"`
	Name    string `json:"name"` // of the file, as PostgreSQL calls it
	Codec   Codec  `json:"codec"`
	Age     bool   `json:"age,omitempty"` // the body is encrypted
	Size    int64  `json:"size"`          // of the file, in bytes
	SHA256  string `json:"sha256"`        // of the file
	Stored  int64  `json:"stored"`        // size of the body
	Body256 string `json:"stored_sha256"` // of the body: it can be checked without an identity

	// CRC is that of the file; zero where it is not known, as of older objects. Where the
	// body is known to be what was stored, it tells whether it was unpacked well, at a
	// twentieth of the time of SHA256.
	CRC pg.CRC `json:"crc32c,omitzero"`
}

// HeaderSize is how long the header of an object is.
const HeaderSize = 512

const format = 1

// maxSize is the size of the largest file: a segment of 1 GB.
const maxSize = 1 << 30

func (h Header) encode() ([]byte, error) {
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(line) >= HeaderSize {
		return nil, fmt.Errorf("a header of %d bytes is too long", len(line))
	}
	return append(append(line, bytes.Repeat([]byte(" "), HeaderSize-1-len(line))...), '\n'), nil
}

// ParseHeader reads the beginning of an object.
func ParseHeader(head []byte) (Header, error) {
	if len(head) < HeaderSize {
		return Header{}, fmt.Errorf("%d bytes are too few for a header", len(head))
	}
	var h Header
	if err := json.Unmarshal(head[:HeaderSize], &h); err != nil {
		return Header{}, fmt.Errorf("read header: %w", err)
	}
	_, known := codecs[h.Codec]
	switch {
	case h.Format != format:
		return Header{}, fmt.Errorf("format %d is not known to this version, which reads %d", h.Format, format)
	case !known:
		return Header{}, fmt.Errorf("codec %q is not known", h.Codec)
	case h.Size < 0 || h.Size > maxSize || h.Stored < 0:
		return Header{}, fmt.Errorf("a file of %d bytes, stored as %d, cannot be", h.Size, h.Stored)
	}
	if again, err := h.encode(); err != nil || !bytes.Equal(again, head[:HeaderSize]) {
		return Header{}, errors.New("the header is not written as we write it")
	}
	return h, nil
}

// An object is a file in the form in which stores have it.
type object struct {
	header Header
	at     io.ReaderAt
	size   int64
	close  func() error
	reuse  *bytes.Buffer // where at is in memory
}

// done says that every store has taken the object and nobody reads it any more. A request
// that has failed may still be sending what it has read.
func (o *object) done() {
	if o.reuse != nil {
		buffers.Put(o.reuse)
		o.reuse, o.at = nil, nil
	}
}

func (o *object) body() io.ReadSeeker { return io.NewSectionReader(o.at, 0, o.size) }

// inMemory is the size up to which a file is encoded in memory; a larger one goes to a
// temporary file that nobody else can open.
const inMemory = 64 << 20

// buffers go from file to file: fresh memory costs more than what is done with it.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// seal encodes a file. The caller closes what it gets. Histories are not encrypted: whoever
// decides what may be removed has to know them, and they tell no more than the names of
// files do.
func (r *Repo) seal(system uint64, n segment.Name, file io.Reader, size int64) (*object, error) {
	o := &object{header: Header{Format: format, System: system, Name: n.String(), Codec: r.Codec, Age: len(r.Recipients) > 0 && n.Kind != segment.History, Size: size}}
	if size <= inMemory {
		buffer := buffers.Get().(*bytes.Buffer)
		buffer.Reset()
		buffer.Grow(int(HeaderSize + size/4))
		buffer.Write(make([]byte, HeaderSize))
		head, err := r.encode(o, buffer, file)
		if err != nil {
			return nil, err
		}
		copy(buffer.Bytes(), head)
		o.at, o.reuse, o.close = bytes.NewReader(buffer.Bytes()), buffer, func() error { return nil }
		return o, nil
	}
	temp, err := os.CreateTemp("", "skytools-wal-*")
	if err != nil {
		return nil, err
	}
	o.at, o.close = temp, temp.Close
	if err = os.Remove(temp.Name()); err == nil {
		_, err = temp.Seek(HeaderSize, io.SeekStart)
	}
	var head []byte
	if err == nil {
		head, err = r.encode(o, temp, file)
	}
	if err == nil {
		_, err = temp.WriteAt(head, 0)
	}
	if err != nil {
		temp.Close()
		return nil, err
	}
	return o, nil
}

// encode writes the body of an object, and returns its header.
func (r *Repo) encode(o *object, to io.Writer, file io.Reader) ([]byte, error) {
	plain, stored := sha256.New(), &counting{to: to, hash: sha256.New()}
	body := io.WriteCloser(unclosed{stored})
	if o.header.Age {
		encrypted, err := age.Encrypt(stored, r.Recipients...)
		if err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		body = encrypted
	}
	compressed, err := codecs[r.Codec].write(body)
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(io.MultiWriter(compressed, plain, &o.header.CRC), file)
	if err = errors.Join(err, compressed.Close(), body.Close()); err != nil {
		return nil, err
	}
	if n != o.header.Size {
		return nil, fmt.Errorf("%d bytes were read of a file of %d", n, o.header.Size)
	}
	o.header.SHA256, o.header.Body256, o.header.Stored = sum(plain), sum(stored.hash), stored.n
	o.size = HeaderSize + stored.n
	return o.header.encode()
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// counting writes, counts and hashes.
type counting struct {
	to   io.Writer
	hash hash.Hash // may be nil
	n    int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	if c.hash != nil {
		c.hash.Write(p[:n])
	}
	c.n += int64(n)
	return n, err
}

// open decodes an object into a file and checks what its header says: deep all of it,
// otherwise the content by its CRC alone, if it has one, and the body by its SHA-256. What was
// written before an error is worth nothing.
func open(from io.Reader, to io.Writer, identities []age.Identity, deep bool) (Header, error) {
	head := make([]byte, HeaderSize)
	if _, err := io.ReadFull(from, head); err != nil {
		return Header{}, fmt.Errorf("read header: %w", err)
	}
	h, err := ParseHeader(head)
	if err != nil {
		return Header{}, err
	}
	stored := &counting{to: io.Discard, hash: sha256.New()}
	body := io.TeeReader(from, stored)
	plain, err := decoded(h, body, identities)
	if err != nil {
		return h, err
	}
	defer plain.Close()
	var crc pg.CRC
	file := &counting{to: to, hash: sha256.New()}
	if h.CRC != 0 {
		file.to = io.MultiWriter(to, &crc)
		if !deep {
			file.hash = nil
		}
	}
	if _, err := io.Copy(file, io.LimitReader(plain, h.Size+1)); err != nil {
		return h, err
	}
	if _, err := io.Copy(io.Discard, body); err != nil { // what the codec did not need
		return h, err
	}
	switch {
	case stored.n != h.Stored || sum(stored.hash) != h.Body256:
		return h, errors.New("what is stored has another digest than its header says")
	case file.n != h.Size, crc != h.CRC, file.hash != nil && sum(file.hash) != h.SHA256:
		return h, errors.New("the file has another digest than its header says")
	}
	return h, nil
}

// ErrNoIdentity says that an object is encrypted and nobody gave an identity.
var ErrNoIdentity = errors.New("it is encrypted, and there is no identity to decrypt it with")

func decoded(h Header, body io.Reader, identities []age.Identity) (io.ReadCloser, error) {
	if h.Age {
		if len(identities) == 0 {
			return nil, ErrNoIdentity
		}
		decrypted, err := age.Decrypt(body, identities...)
		if err != nil {
			return nil, fmt.Errorf("decrypt: %w", err)
		}
		body = decrypted
	}
	return codecs[h.Codec].read(body)
}
