package datalog

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// Position says where reading goes on: file Number, first unread byte Offset. Number alone does not
// name a file, because numbers come back after a wrap-around; Inode and Check tell which file it
// was. The zero Position stands for "nothing read yet".
type Position struct {
	Number uint32 // N of <stream>-log<N>.txt, 1 or greater
	// Time is the file's last change as then known, in Unix seconds. It tells older logs from newer
	// ones when the file is gone.
	Time   uint32
	Inode  uint64 // of that file; changes when logs are copied or restored
	Offset uint64 // bytes before it are done with
	Check  uint64 // fingerprint of the bytes before Offset: the first ≤ 256 and the last ≤ 64
}

// PositionSize is the length of an encoded Position in bytes.
const PositionSize = 32

// Encode returns the fields in the order above, little endian.
func (p Position) Encode() [PositionSize]byte {
	var b [PositionSize]byte
	binary.LittleEndian.PutUint32(b[0:], p.Number)
	binary.LittleEndian.PutUint32(b[4:], p.Time)
	binary.LittleEndian.PutUint64(b[8:], p.Inode)
	binary.LittleEndian.PutUint64(b[16:], p.Offset)
	binary.LittleEndian.PutUint64(b[24:], p.Check)
	return b
}

// DecodePosition is the inverse of Encode. Any 32 bytes decode; a Follower that starts from the
// position finds out whether it fits a file.
func DecodePosition(b [PositionSize]byte) Position {
	return Position{
		Number: binary.LittleEndian.Uint32(b[0:]),
		Time:   binary.LittleEndian.Uint32(b[4:]),
		Inode:  binary.LittleEndian.Uint64(b[8:]),
		Offset: binary.LittleEndian.Uint64(b[16:]),
		Check:  binary.LittleEndian.Uint64(b[24:]),
	}
}

// IsZero reports whether p is the zero Position.
func (p Position) IsZero() bool { return p == Position{} }

const (
	headBytes = 256 // of a file's beginning: enough that the first record's hashes and times are in it
	tailBytes = 64  // before the offset: enough to hold a trailer, or the end of a record's signature
)

// fingerprint holds the bytes that Check is made of, so that it can be kept current record by
// record and compared with the file without trusting a hash.
type fingerprint struct {
	head    [headBytes]byte
	tail    [tailBytes]byte
	offset  int64  // the bytes before it are meant
	headSum uint64 // of all of head, once offset ≥ headBytes
}

func (p *fingerprint) heads() []byte { return p.head[:min(p.offset, headBytes)] }
func (p *fingerprint) tails() []byte { return p.tail[:min(p.offset, tailBytes)] }
func (p *fingerprint) check() uint64 { return p.checkAt(p.offset, p.tails()) }

// checkAt is Check for an offset whose head is already in p and whose last bytes are tail: the
// upper half tells of the head, the lower half of the tail. The head alone proves that a log which
// is now shorter than the offset is an older state of the same log.
func (p *fingerprint) checkAt(offset int64, tail []byte) uint64 {
	return p.sumAt(offset)&^math.MaxUint32 | xxhash.Sum64(tail)&math.MaxUint32
}

// fits reports whether a Check was made of these bytes.
func (p *fingerprint) fits(check uint64) bool {
	return check == p.check() || check == p.oldCheck()
}

// oldCheck is Check as positions hold it that were stored before its halves told head and tail
// apart.
func (p *fingerprint) oldCheck() uint64 {
	return bits.RotateLeft64(p.sumAt(p.offset), 31) + xxhash.Sum64(p.tails())
}

// sumAt hashes the head for an offset.
func (p *fingerprint) sumAt(offset int64) uint64 {
	if offset < headBytes {
		return xxhash.Sum64(p.head[:offset])
	}
	return p.headSum
}

// extendHead takes the bytes that stand at p.offset into the head, as far as they belong there. It
// comes before checkAt for offsets in them, and before moveTo.
func (p *fingerprint) extendHead(next []byte) {
	if p.offset >= headBytes {
		return
	}
	if n := copy(p.head[p.offset:], next); p.offset+int64(n) == headBytes {
		p.headSum = xxhash.Sum64(p.head[:])
	}
}

// moveTo sets the offset; tail holds the bytes before it, at least as many as count.
func (p *fingerprint) moveTo(offset int64, tail []byte) {
	p.offset = offset
	copy(p.tail[:], tail[len(tail)-len(p.tails()):])
}

// same reports whether head and tail, read again from the file, are still what they were.
func (p *fingerprint) same(head, tail []byte) bool {
	return bytes.Equal(head, p.heads()) && bytes.Equal(tail, p.tails())
}
