package framelog

import (
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"unsafe"
)

// The structs below lie over mapped pages: their layout is the file format (drawn in doc.go, pinned
// by golden_test.go). Words that another process may read while they are written are atomics;
// everything else is written before the atomic store that publishes it.

const (
	pageSize  = 4096
	entrySize = 64

	formatVersion = 1

	headMagic  = 0x4441_4548_474f_4c46 // "FLOGHEAD" read as a little-endian word
	indexMagic = 0x5844_4e49_474f_4c46 // "FLOGINDX"

	// goneFloor in the head's floor word tells readers that this ID is given up. No offset is at or
	// above goneFloor.
	goneFloor = 1<<64 - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ID names one life of a log: an offset means the same bytes as long as the ID stays the same.
type ID [16]byte

// String returns the ID as 32 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Meta is what the log stores with a frame.
type Meta struct {
	Stream uint8    // 0 … MaxStreams-1; the caller gives it its meaning
	Cycle  int64    // -1: none
	Time   int64    // Unix nanoseconds
	Source [32]byte // where the frame came from; opaque
}

// head states.
const (
	stateOpen  = 1 // a writer has it open, or died with it open
	stateClean = 2 // closed; everything was on disk before this was stored
	stateGone  = 3 // the ID is given up
	stateLeft  = 4 // closed for the next writer of this boot, not synced
)

// headPage is the head file. ID, Check and Lineage are written once, before the file gets its name.
// Words that an older program did not know are zero in its files, and zero means none.
type headPage struct {
	Magic   uint64
	Version uint64
	ID      ID
	Check   uint64        // CRC-32C of the 32 bytes before it
	Boot    bootID        // the machine's boot ID when the log was last opened; writers only
	Lost    atomic.Uint64 // not 0: a sync failed in this boot with the head here; writers only
	Head    atomic.Uint64 // all bytes before it are committed; always a frame's end
	Frames  atomic.Uint64 // committed since the log's first life; stored before Head
	Marks   atomic.Uint64 // stored before Head; the caller decides what they count
	_       [5]uint64     //
	Floor   atomic.Uint64 // nothing below it is served; always a frame's end or a segment's base
	Synced  atomic.Uint64 // everything below it had reached the disk
	State   atomic.Uint64
	Gone    atomic.Uint64 // the floor, when the ID was given up
	_       [44]uint64    //
	Lineage lineage       // at byte 512, so that a sector holds all words that change
}

// indexHeader is the first page of an index file.
type indexHeader struct {
	Magic   uint64
	Version uint64
	Base    uint64 // logical offset of the first byte
	Frames  uint64 // frames in all earlier segments
	_       [3]uint64
	Check   uint64        // CRC-32C of the page with Check and Sealed zero
	Sealed  atomic.Uint64 // 0: active; else the logical end, which counts once the head has passed it
	_       [7]uint64
	Sources [MaxStreams]sourceAt // the newest sources when the segment began
}

type sourceAt struct {
	End    uint64 // end of the source's frame; 0: no frame of this stream yet
	Source [32]byte
}

// entry describes one frame: it begins where the entry before ends. One cache line.
type entry struct {
	End    atomic.Uint64
	Cycle  int64
	Time   int64
	Source [32]byte
	Stream uint8
	Flags  uint8 // none yet
	_      uint16
	Check  uint32 // CRC-32C of the 60 bytes before it, then of the frame
}

func asHead(page []byte) *headPage { return (*headPage)(unsafe.Pointer(&page[:pageSize][0])) }

func asHeader(index []byte) *indexHeader {
	return (*indexHeader)(unsafe.Pointer(&index[:pageSize][0]))
}

// asEntries returns the whole index file after its header.
func asEntries(index []byte) []entry {
	body := index[pageSize:]
	return unsafe.Slice((*entry)(unsafe.Pointer(unsafe.SliceData(body))), len(body)/entrySize)
}

func (e *entry) check(frame []byte) uint32 {
	described := unsafe.Slice((*byte)(unsafe.Pointer(e)), entrySize-4)
	return crc32.Update(crc32.Update(0, castagnoli, described), castagnoli, frame)
}

// isZero reports whether an entry was never used, or was given up.
func (e *entry) isZero() bool {
	return *(*[entrySize]byte)(unsafe.Pointer(e)) == [entrySize]byte{}
}

func (e *entry) meta() Meta {
	return Meta{Stream: e.Stream, Cycle: e.Cycle, Time: e.Time, Source: e.Source}
}

func (h *indexHeader) check() uint64 {
	const checkAt, after = unsafe.Offsetof(h.Check), unsafe.Offsetof(h.Sealed) + 8
	page := unsafe.Slice((*byte)(unsafe.Pointer(h)), pageSize)
	sum := crc32.Update(0, castagnoli, page[:checkAt])
	return uint64(crc32.Update(sum, castagnoli, page[after:]))
}

func (h *headPage) check() uint64 {
	return uint64(crc32.Checksum(
		unsafe.Slice((*byte)(unsafe.Pointer(h)), unsafe.Offsetof(h.Check)), castagnoli))
}

// valid returns what is wrong with a head page, or nil.
func (h *headPage) valid() error {
	switch {
	case h.Magic != headMagic:
		return fmt.Errorf("%w: head: magic is %#x", ErrDamaged, h.Magic)
	case h.Check != h.check(): // before the version: a damaged version is no other version
		return fmt.Errorf("%w: head: check of the ID is wrong", ErrDamaged)
	case h.Version != formatVersion:
		return fmt.Errorf("%w: head: version %d, this program writes %d",
			ErrVersion, h.Version, formatVersion)
	case h.Head.Load() == unknown: // no log is that long; recovery uses the number as unknown
		return fmt.Errorf("%w: head: no log ends at %d", ErrDamaged, uint64(unknown))
	}
	if state := h.State.Load(); state < stateOpen || state > stateLeft {
		return fmt.Errorf("%w: head: there is no state %d", ErrDamaged, state)
	}
	return nil
}

// valid returns what is wrong with the header of the index file for base, or nil.
func (h *indexHeader) valid(base uint64) error {
	switch {
	case h.Magic != indexMagic:
		return fmt.Errorf("%w: index: magic is %#x", ErrDamaged, h.Magic)
	case h.Check != h.check(): // before the version: a damaged version is no other version
		return fmt.Errorf("%w: index: header check is wrong", ErrDamaged)
	case h.Version != formatVersion:
		return fmt.Errorf("%w: index: version %d, this program writes %d",
			ErrVersion, h.Version, formatVersion)
	case h.Base != base:
		return fmt.Errorf("%w: index: base is %016x", ErrDamaged, h.Base)
	}
	return nil
}

// frameAfter returns the index of the first entry that ends after offset, for any offset below the
// head. Entries that are not committed end beyond the head or are zero, so the search does not need
// to know how many are committed (see "Reading the index" in doc.go).
func frameAfter(entries []entry, offset uint64) int {
	lo, hi := 0, len(entries)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if entries[mid].End.Load()-1 >= offset { // zero wraps to the largest
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}
