package replay

import (
	"encoding/binary"
	"math/bits"
)

// blake2s is the keyed hash of a text, size bytes long; the key has 32 bytes at most.
// Source: RFC 7693, sections 2 and 3.
func blake2s(key, text []byte, size int) []byte {
	h := initial
	h[0] ^= 0x01010000 ^ uint32(len(key))<<8 ^ uint32(size)
	data := text
	if len(key) > 0 {
		var block [64]byte
		copy(block[:], key)
		data = append(block[:], text...)
	}
	var done uint64
	for len(data) > 64 {
		done += 64
		compress(&h, data[:64], done, false)
		data = data[64:]
	}
	var last [64]byte
	copy(last[:], data)
	compress(&h, last[:], done+uint64(len(data)), true)
	var out [32]byte
	for i, word := range h {
		binary.LittleEndian.PutUint32(out[4*i:], word)
	}
	return out[:size]
}

var initial = [8]uint32{0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19}

var sigma = [10][16]byte{
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
	{11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
	{7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
	{9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
	{2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
	{12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
	{13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
	{6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
	{10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
}

func compress(h *[8]uint32, block []byte, done uint64, last bool) {
	var m, v [16]uint32
	for i := range m {
		m[i] = binary.LittleEndian.Uint32(block[4*i:])
	}
	copy(v[:8], h[:])
	copy(v[8:], initial[:])
	v[12] ^= uint32(done)
	v[13] ^= uint32(done >> 32)
	if last {
		v[14] = ^v[14]
	}
	mix := func(a, b, c, d int, x, y uint32) {
		v[a] += v[b] + x
		v[d] = bits.RotateLeft32(v[d]^v[a], -16)
		v[c] += v[d]
		v[b] = bits.RotateLeft32(v[b]^v[c], -12)
		v[a] += v[b] + y
		v[d] = bits.RotateLeft32(v[d]^v[a], -8)
		v[c] += v[d]
		v[b] = bits.RotateLeft32(v[b]^v[c], -7)
	}
	for _, s := range sigma {
		for i := range 4 {
			mix(i, 4+i, 8+i, 12+i, m[s[2*i]], m[s[2*i+1]])
		}
		for i := range 4 {
			mix(i, 4+(i+1)%4, 8+(i+2)%4, 12+(i+3)%4, m[s[8+2*i]], m[s[9+2*i]])
		}
	}
	for i := range h {
		h[i] ^= v[i] ^ v[8+i]
	}
}
