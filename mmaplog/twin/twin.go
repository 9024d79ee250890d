package twin

import (
	"encoding/binary"
	"errors"
	"fmt"

	"distributor/mmaplog/framelog"
)

// Kind is what form a frame of the twin has.
type Kind uint8

const (
	// Other is a form of its own.
	Other Kind = iota
	// Same is the original's, byte for byte.
	Same
)

// Span is where in the original the frame lies that one of the twin stands for.
type Span struct{ Start, End uint64 }

// Append puts a frame into a twin, that of the span behind the last one's.
func Append(log *framelog.Writer, frame []byte, k Kind, s Span) error {
	m := framelog.Meta{Stream: uint8(k), Cycle: -1}
	binary.LittleEndian.PutUint64(m.Source[0:], s.Start)
	binary.LittleEndian.PutUint64(m.Source[8:], s.End)
	return log.Append(frame, m)
}

func spanOf(m framelog.Meta) Span {
	return Span{binary.LittleEndian.Uint64(m.Source[0:]), binary.LittleEndian.Uint64(m.Source[8:])}
}

// Reader reads a twin. It belongs to one goroutine.
type Reader struct {
	log         *framelog.Reader
	head, floor uint64 // of the twin, as Refresh saw them
	start, end  uint64 // the same of the original

	found struct{ original, twin uint64 } // what At last searched for
	place struct {                        // what Place last looked up
		at uint64
		Place
	}
}

// Open opens the twin in dir. Errors are those of framelog.OpenReader.
func Open(dir string) (*Reader, error) {
	log, err := framelog.OpenReader(dir)
	if err != nil {
		return nil, fmt.Errorf("twin: %w", err)
	}
	return &Reader{log: log}, nil
}

// Close lets go of the files.
func (r *Reader) Close() error { return r.log.Close() }

// Refresh reads how far the twin reaches now, and reports whether that has changed. Start and End are
// as of then.
func (r *Reader) Refresh() (bool, error) {
	for {
		// The head comes first. If the floor has passed it, frames have come meanwhile.
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

// setBounds sets what the twin holds between two offsets of its own.
func (r *Reader) setBounds(head, floor uint64) error {
	first, err := r.log.Meta(floor + 1)
	if err != nil {
		return fmt.Errorf("twin: %w", err)
	}
	last, err := r.log.Meta(head)
	if err != nil {
		return fmt.Errorf("twin: %w", err)
	}
	r.head, r.floor = head, floor
	r.start, r.end = spanOf(first).Start, spanOf(last).End
	return nil
}

// Start is the oldest offset of the original that the twin can go on from.
func (r *Reader) Start() uint64 { return r.start }

// End is the offset of the original that the twin reaches to; Start when it is empty.
func (r *Reader) End() uint64 { return r.end }

// At finds where the twin goes on from an offset of the original; ok is false where it cannot: before Start, beyond
// End, and inside of a frame.
func (r *Reader) At(original uint64) (at uint64, ok bool, err error) {
	switch {
	case original < r.start || original > r.end || r.start == r.end:
		return 0, false, nil
	case original == r.end:
		return r.head, true, nil
	case original == r.start:
		return r.floor, true, nil
	case original == r.found.original:
		return r.found.twin, true, nil
	}
	// The frame whose span ends there lies between.
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
			r.found.original, r.found.twin = original, p.At
			return p.At, true, nil
		}
	}
	return 0, false, nil
}

// Place describes the frame of the twin that a byte belongs to.
type Place struct {
	Kind
	Span
	At uint64 // its end in the twin
}

// Given is Place for what Frames gave last, or its end: also when the floor has passed it meanwhile.
func (r *Reader) Given(at uint64) (Place, error) {
	if at == r.place.at {
		return r.place.Place, nil // most clients end where the one before ended
	}
	m, end, err := r.log.Given(at)
	if err != nil {
		return Place{}, fmt.Errorf("twin: %w", err)
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
		return Place{}, fmt.Errorf("twin: %w", err)
	}
	end, err := r.log.FrameEnd(at)
	if err != nil {
		return Place{}, fmt.Errorf("twin: %w", err)
	}
	r.place.at, r.place.Place = at, Place{Kind(m.Stream), spanOf(m), end}
	return r.place.Place, nil
}

// Frames is that of framelog.Reader, at an offset of the twin.
func (r *Reader) Frames(at uint64, max int) ([]byte, error) { return r.log.Frames(at, max) }

// AppendGiven is that of framelog.Reader, at an offset of the twin.
func (r *Reader) AppendGiven(dst []byte, at uint64, n int) ([]byte, error) {
	return r.log.AppendGiven(dst, at, n)
}
