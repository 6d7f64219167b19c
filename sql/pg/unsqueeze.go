package pg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

// An unsqueezer reads the plain content of an LZ4 frame whose blocks may refer to the one
// before, as servers write them. The library's own reader takes ten times as long for those.
//
// Source: the LZ4 frame format, 1.6.
type unsqueezer struct {
	from   io.Reader
	begun  bool
	ended  bool
	linked bool
	sums   bool   // a block is followed by its checksum, which is not looked at
	block  int    // size of a plain block at most
	stored []byte // room for a block as it comes
	plain  []byte // what was read last, behind the window
	at     int    // that was handed out
}

// lz4Window is how far back a block may refer.
const lz4Window = 64 << 10

func newUnsqueezer(from io.Reader) *unsqueezer { return &unsqueezer{from: from} }

// Read reads plain content. io.EOF is the end of the frame.
func (u *unsqueezer) Read(p []byte) (int, error) {
	if !u.begun {
		if err := u.head(); err != nil {
			return 0, fmt.Errorf("read an LZ4 frame: %w", err)
		}
	}
	for u.at == len(u.plain) {
		if u.ended {
			return 0, io.EOF
		}
		if err := u.next(); err != nil {
			return 0, fmt.Errorf("read an LZ4 frame: %w", err)
		}
	}
	n := copy(p, u.plain[u.at:])
	u.at += n
	return n, nil
}

func (u *unsqueezer) head() error {
	var head [15]byte
	if err := u.full(head[:6]); err != nil {
		return err
	}
	flags, size := head[4], head[5]>>4&7
	if binary.LittleEndian.Uint32(head[:]) != 0x184D2204 || flags>>6 != 1 || size < 4 {
		return fmt.Errorf("it begins with %x", head[:6])
	}
	if flags&1 != 0 {
		return errors.New("it needs a dictionary")
	}
	rest := 1 // the head's checksum
	if flags&8 != 0 {
		rest += 8 // the size of the content
	}
	u.begun, u.linked, u.sums = true, flags&32 == 0, flags&16 != 0
	u.block = 1 << (8 + 2*size)
	u.stored = make([]byte, u.block)
	u.plain = make([]byte, 0, lz4Window+8*u.block)
	return u.full(head[:rest])
}

// next reads a block.
func (u *unsqueezer) next() error {
	var head [4]byte
	if err := u.full(head[:]); err != nil {
		return err
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length == 0 {
		u.ended = true
		return nil
	}
	asIs := length>>31 != 0
	length &= 1<<31 - 1
	if int(length) > u.block {
		return fmt.Errorf("a block of %d bytes, of at most %d", length, u.block)
	}
	u.room()
	free := u.plain[len(u.plain) : len(u.plain)+u.block]
	if asIs {
		if err := u.full(free[:length]); err != nil {
			return err
		}
		u.plain = u.plain[:len(u.plain)+int(length)]
		return u.sum()
	}
	stored := u.stored[:length]
	if err := u.full(stored); err != nil {
		return err
	}
	var window []byte
	if u.linked {
		window = u.plain[max(0, len(u.plain)-lz4Window):]
	}
	n, err := lz4.UncompressBlockWithDict(stored, free, window)
	if err != nil {
		return err
	}
	u.plain = u.plain[:len(u.plain)+n]
	return u.sum()
}

// room makes place for a block, with the window in front of it.
func (u *unsqueezer) room() {
	if len(u.plain)+u.block > cap(u.plain) {
		window := u.plain[max(0, len(u.plain)-lz4Window):]
		u.plain = u.plain[:copy(u.plain[:cap(u.plain)], window)]
	}
	u.at = len(u.plain)
}

func (u *unsqueezer) sum() error {
	if !u.sums {
		return nil
	}
	var sum [4]byte
	return u.full(sum[:])
}

func (u *unsqueezer) full(p []byte) error {
	_, err := io.ReadFull(u.from, p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
