package compressedlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"distributor/mmaplog/framelog"
)

// Kind says which form a frame of the compressed log has.
type Kind uint8

const (
	// Other means another form than that of the original.
	Other Kind = iota
	// Same means the original frame, byte for byte.
	Same
)

// Span is the range of offsets, in the original, of the frame that a compressed frame stands for.
type Span struct{ Start, End uint64 }

// Append adds a frame to a compressed log. Its span begins where that of the last frame ends.
func Append(log *framelog.Writer, frame []byte, k Kind, s Span) error {
	m := framelog.Meta{Stream: uint8(k), Cycle: -1}
	binary.LittleEndian.PutUint64(m.Source[0:], s.Start)
	binary.LittleEndian.PutUint64(m.Source[8:], s.End)
	return log.Append(frame, m)
}

func spanOf(m framelog.Meta) Span {
	return Span{binary.LittleEndian.Uint64(m.Source[0:]), binary.LittleEndian.Uint64(m.Source[8:])}
}

// Reader reads a compressed log. It belongs to one goroutine.
type Reader struct {
	log         *framelog.Reader
	head, floor uint64 // of the compressed log, as of the last Refresh
	start, end  uint64 // the offsets of the original that they stand for

	found struct{ original, compressed uint64 } // what At last searched for
	place struct {                              // what Place last looked up
		at uint64
		Place
	}
}

// Open opens the compressed log in dir. Errors are those of framelog.OpenReader.
func Open(dir string) (*Reader, error) {
	log, err := framelog.OpenReader(dir)
	if err != nil {
		return nil, fmt.Errorf("compressed log: %w", err)
	}
	return &Reader{log: log}, nil
}

// Close closes the log and unmaps its files.
func (r *Reader) Close() error { return r.log.Close() }

// Refresh reads how far the compressed log reaches now, and reports whether that has changed. Start
// and End return the values as of the last Refresh.
func (r *Reader) Refresh() (bool, error) {
	for {
		// Load the head first. If the floor has passed it, frames were committed meanwhile.
		head, floor := r.log.Head(), r.log.Floor()
		if head == r.head && floor == r.floor {
			return false, nil
		}
		err := r.setBounds(head, floor)
		if errors.Is(err, framelog.ErrBelowFloor) {
			continue // the floor has passed one of the two
		}
		return err == nil, err
	}
}

// setBounds stores head and floor, and the offsets of the original that they stand for.
func (r *Reader) setBounds(head, floor uint64) error {
	first, err := r.log.Meta(floor + 1)
	if err != nil {
		return fmt.Errorf("compressed log: %w", err)
	}
	last, err := r.log.Meta(head)
	if err != nil {
		return fmt.Errorf("compressed log: %w", err)
	}
	r.head, r.floor = head, floor
	r.start, r.end = spanOf(first).Start, spanOf(last).End
	return nil
}

// Start returns the oldest offset of the original that the compressed log can go on from.
func (r *Reader) Start() uint64 { return r.start }

// End returns the offset of the original that the compressed log reaches; Start when the log is
// empty.
func (r *Reader) End() uint64 { return r.end }

// At finds the offset at which the compressed log goes on from an offset of the original. ok is
// false if it cannot go on: before Start, beyond End, and inside a frame.
func (r *Reader) At(original uint64) (at uint64, ok bool, err error) {
	switch {
	case original < r.start || original > r.end || r.start == r.end:
		return 0, false, nil
	case original == r.end:
		return r.head, true, nil
	case original == r.start:
		return r.floor, true, nil
	case original == r.found.original:
		return r.found.compressed, true, nil
	}
	// The frame whose span ends at original lies between floor and head.
	for lo, hi := r.floor, r.head; lo < hi; {
		mid := lo + (hi-lo)/2
		p, err := r.Place(mid + 1)
		if err != nil {
			return 0, false, err
		}
		switch {
		case p.End < original:
			lo = p.At
		case p.End > original:
			hi = mid
		default:
			r.found.original, r.found.compressed = original, p.At
			return p.At, true, nil
		}
	}
	return 0, false, nil
}

// Place describes the frame of the compressed log that a byte belongs to.
type Place struct {
	Kind
	Span
	At uint64 // the frame's end in the compressed log
}

// Given does what Place does for offsets in the bytes that Frames returned last, or at their end.
// It works also when the floor has passed them meanwhile.
func (r *Reader) Given(at uint64) (Place, error) {
	if at == r.place.at {
		return r.place.Place, nil // most clients end where the client before ended
	}
	m, end, err := r.log.Given(at)
	if err != nil {
		return Place{}, fmt.Errorf("compressed log: %w", err)
	}
	r.place.at, r.place.Place = at, Place{Kind(m.Stream), spanOf(m), end}
	return r.place.Place, nil
}

// Place describes the frame with the byte before at.
func (r *Reader) Place(at uint64) (Place, error) {
	if at == r.place.at {
		return r.place.Place, nil
	}
	m, err := r.log.Meta(at)
	if err != nil {
		return Place{}, fmt.Errorf("compressed log: %w", err)
	}
	end, err := r.log.FrameEnd(at)
	if err != nil {
		return Place{}, fmt.Errorf("compressed log: %w", err)
	}
	r.place.at, r.place.Place = at, Place{Kind(m.Stream), spanOf(m), end}
	return r.place.Place, nil
}

// Frames calls framelog.Reader.Frames at an offset of the compressed log.
func (r *Reader) Frames(at uint64, max int) ([]byte, error) { return r.log.Frames(at, max) }

// AppendGiven calls framelog.Reader.AppendGiven at an offset of the compressed log.
func (r *Reader) AppendGiven(dst []byte, at uint64, n int) ([]byte, error) {
	return r.log.AppendGiven(dst, at, n)
}
