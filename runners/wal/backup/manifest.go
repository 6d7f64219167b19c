package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// A Manifest is a backup. In the store it is text under zstd, a line of JSON each: the
// head, every file, the tail, and the SHA-256 of the lines before. In memory a frame
// takes 44 bytes, which is 0.07 % of what was backed up.
type Manifest struct {
	Head
	Files []File
	Tail
}

// Head is what is known when a backup begins.
type Head struct {
	Format      int               `json:"format"` // 1
	ID          ID                `json:"id"`
	System      string            `json:"system"`
	Server      string            `json:"server"` // its version, such as 15.18
	Catalog     int64             `json:"catalog"`
	SegmentSize int64             `json:"segment_size"`
	Checksums   bool              `json:"checksums"` // of pages, which the server has verified
	Label       string            `json:"label,omitempty"`
	Began       time.Time         `json:"began"`
	Clock       time.Time         `json:"clock"` // the server's clock at that moment
	Standby     bool              `json:"standby,omitempty"`
	Parent      ID                `json:"parent,omitempty"` // whose packs are used; empty: a full backup
	Recipients  []string          `json:"recipients,omitempty"`
	Start       sql.LSN           `json:"start"`
	Timeline    uint32            `json:"timeline"`
	Tablespaces []Tablespace      `json:"tablespaces,omitempty"`
	Settings    map[string]string `json:"settings"` // what a standby must not go below
}

// Major is the server's major version, such as 15.
func (h *Head) Major() (n int) {
	fmt.Sscanf(h.Server, "%d", &n)
	return n
}

// Full reports whether the backup was taken without looking at an earlier one.
func (h *Head) Full() bool { return h.Parent == "" }

// A Tablespace is a directory outside the data directory.
type Tablespace struct {
	OID  uint32 `json:"oid"`
	Path string `json:"path"` // on the server it came from
}

// A File of a backup. Paths are relative to the data directory, with slashes; files of
// a tablespace are below pg_tblspc/OID.
type File struct {
	Path   string      `json:"path"`
	Dir    bool        `json:"dir,omitempty"`
	Size   int64       `json:"size,omitempty"`
	Mode   fs.FileMode `json:"mode"`
	Mtime  time.Time   `json:"mtime"`
	CRC    pg.CRC      `json:"crc32c,omitzero"` // from the server to the restored file
	Frames Frames      `json:"frames,omitempty"`
}

// A Digest is a SHA-256.
type Digest [sha256.Size]byte

// MarshalText writes hexadecimal digits.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText reads them.
func (d *Digest) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(d) {
		return fmt.Errorf("%q is no SHA-256", text)
	}
	copy(d[:], raw)
	return nil
}

// A Sum is the BLAKE3 of a frame: as strong as SHA-256, and several times as fast.
type Sum [32]byte

// SumOf is the sum of a frame's plain content.
func SumOf(plain []byte) Sum { return blake3.Sum256(plain) }

// A Frame is a part of a file, and where it is.
type Frame struct {
	Sum    Sum
	Pack   uint32 // index into Tail.Packs
	Offset uint32 // in the pack, before encryption
	Length uint32 // compressed
}

// Frames are written as 44 bytes each, numbers big-endian, in base64.
type Frames []Frame

const frameRecord = len(Sum{}) + 12

// MarshalJSON writes one string.
func (f Frames) MarshalJSON() ([]byte, error) {
	raw := make([]byte, 0, len(f)*frameRecord)
	for i := range f {
		raw = append(raw, f[i].Sum[:]...)
		raw = binary.BigEndian.AppendUint32(raw, f[i].Pack)
		raw = binary.BigEndian.AppendUint32(raw, f[i].Offset)
		raw = binary.BigEndian.AppendUint32(raw, f[i].Length)
	}
	return json.Marshal(raw)
}

// UnmarshalJSON reads it.
func (f *Frames) UnmarshalJSON(text []byte) error {
	var raw []byte
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	if len(raw)%frameRecord != 0 {
		return fmt.Errorf("%d bytes are no whole number of frames", len(raw))
	}
	*f = make(Frames, len(raw)/frameRecord)
	for i := range *f {
		record := raw[i*frameRecord:]
		frame := &(*f)[i]
		copy(frame.Sum[:], record)
		frame.Pack = binary.BigEndian.Uint32(record[32:])
		frame.Offset = binary.BigEndian.Uint32(record[36:])
		frame.Length = binary.BigEndian.Uint32(record[40:])
	}
	return nil
}

// Tail is what is known when a backup has ended.
type Tail struct {
	Stop     sql.LSN   `json:"stop"` // WAL from Start to here makes the backup consistent
	Ended    time.Time `json:"ended"`
	Packs    []Pack    `json:"packs"`
	Bytes    int64     `json:"bytes"`     // of all files
	NewBytes int64     `json:"new_bytes"` // of frames that were not in an earlier pack
	Stored   int64     `json:"stored"`    // of the packs that this backup has written

	// BadPages are those that were damaged on the server, in its words: one per page, and
	// for a file with many of them the first ones and how many there are. They are in the
	// backup as they were.
	BadPages []string `json:"bad_pages,omitempty"`
}

// A Pack that a backup refers to.
type Pack struct {
	Backup ID     `json:"backup"` // that wrote it
	N      int    `json:"n"`
	Size   int64  `json:"size"`   // of the object, as it is stored
	Digest Digest `json:"sha256"` // of the object, as it is stored
}

// line tells the three kinds of lines of a manifest apart.
type line struct {
	Head   *Head   `json:"backup,omitempty"`
	File   *File   `json:"file,omitempty"`
	Tail   *Tail   `json:"end,omitempty"`
	Digest *Digest `json:"sha256,omitempty"`
}

// Encode is the manifest as it is stored.
func (m *Manifest) Encode() ([]byte, error) {
	var stored bytes.Buffer
	packed, err := zstd.NewWriter(&stored, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	text := json.NewEncoder(io.MultiWriter(packed, sum))
	lines := []line{{Head: &m.Head}}
	for i := range m.Files {
		lines = append(lines, line{File: &m.Files[i]})
	}
	for _, l := range append(lines, line{Tail: &m.Tail}) {
		if err := text.Encode(l); err != nil {
			return nil, err
		}
	}
	if err := json.NewEncoder(packed).Encode(line{Digest: (*Digest)(sum.Sum(nil))}); err != nil {
		return nil, err
	}
	if err := packed.Close(); err != nil {
		return nil, err
	}
	return stored.Bytes(), nil
}

// A FormError says that a manifest was read and is none, or damaged.
type FormError struct{ Err error }

func (e *FormError) Error() string { return e.Err.Error() }
func (e *FormError) Unwrap() error { return e.Err }

// Decode reads a manifest and checks that it is whole and makes sense: [FormError].
func Decode(stored io.Reader) (*Manifest, error) {
	m, err := decode(stored)
	if err != nil {
		return nil, &FormError{err}
	}
	return m, nil
}

func decode(stored io.Reader) (*Manifest, error) {
	unpacked, err := zstd.NewReader(stored, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer unpacked.Close()
	m, sum, ended := &Manifest{}, sha256.New(), false
	for in := bufio.NewReaderSize(unpacked, 1<<20); ; {
		text, err := in.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("the manifest is cut off: %w", err)
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, fmt.Errorf("the manifest is damaged: %w", err)
		}
		switch {
		case l.Head != nil && m.ID == "":
			m.Head = *l.Head
		case l.File != nil && m.ID != "" && !ended:
			m.Files = append(m.Files, *l.File)
		case l.Tail != nil && m.ID != "" && !ended:
			m.Tail, ended = *l.Tail, true
		case l.Digest != nil && ended:
			if *l.Digest != Digest(sum.Sum(nil)) {
				return nil, errors.New("the manifest is damaged: its SHA-256 is another")
			}
			return m, m.check()
		default:
			return nil, errors.New("the manifest is damaged: its lines are out of order")
		}
		sum.Write(text)
	}
}

// DecodeHead reads the first line of a manifest.
func DecodeHead(stored io.Reader) (Head, error) {
	unpacked, err := zstd.NewReader(stored, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return Head{}, err
	}
	defer unpacked.Close()
	var l line
	if err := json.NewDecoder(unpacked).Decode(&l); err != nil {
		return Head{}, err
	}
	if l.Head == nil || l.Head.Format != 1 {
		return Head{}, &FormError{errors.New("it does not begin as a manifest")}
	}
	return *l.Head, nil
}

// check refuses what would lead a restore astray.
func (m *Manifest) check() error {
	if m.Format != 1 {
		return fmt.Errorf("the manifest has format %d, and this program knows 1", m.Format)
	}
	for i := range m.Files {
		f := &m.Files[i]
		if !fs.ValidPath(f.Path) || f.Size < 0 {
			return fmt.Errorf("the manifest has a file %q of %d bytes", f.Path, f.Size)
		}
		if !f.Dir && int64(len(f.Frames)) != frames(f.Size) {
			return fmt.Errorf("the manifest has %d frames of %s, whose size is %d", len(f.Frames), f.Path, f.Size)
		}
		for j := range f.Frames {
			if int(f.Frames[j].Pack) >= len(m.Packs) {
				return fmt.Errorf("the manifest has a frame of %s in a pack that it does not know", f.Path)
			}
		}
	}
	return nil
}

// frames is how many frames a file of a size has.
func frames(size int64) int64 { return (size + FrameSize - 1) / FrameSize }

// FrameLength is the length of the n-th frame of the file.
func (f *File) FrameLength(n int) int64 { return min(FrameSize, f.Size-int64(n)*FrameSize) }
