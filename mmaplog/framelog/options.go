package framelog

import (
	"fmt"
	"log/slog"
)

const (
	// DefaultSegmentBytes holds about 15,000 frames of 4.3 KB: small enough that retention is not
	// coarse, large enough that beginning a segment is rare.
	DefaultSegmentBytes = 64 << 20
	// DefaultRetainBytes is how many bytes of frames are kept for slow and returning clients.
	DefaultRetainBytes = 1 << 30

	minSegmentBytes = 64 << 10
	maxSegmentBytes = 4 << 30
	maxRetainBytes  = 1 << 44

	// MaxFrame is the longest frame in bytes. A frame longer than a segment gets a segment of its
	// own size.
	MaxFrame = 1 << 30
	// MaxStreams bounds stream numbers: 0 … MaxStreams-1. Every segment holds the newest source of
	// each stream.
	MaxStreams = 64
)

// Options say where a log is and how much of it is kept.
type Options struct {
	// Dir holds the log and nothing else; OpenWriter makes it if it is missing. Required.
	Dir string
	// SegmentBytes is the size of a segment's frames file: 64 KiB … 4 GiB, rounded up to whole
	// pages; 0 means DefaultSegmentBytes. A change applies to segments that are made afterwards.
	SegmentBytes int64
	// RetainBytes is how many bytes of committed frames are kept at least: SegmentBytes … 16 TiB; 0
	// means DefaultRetainBytes (or SegmentBytes, if that is more). Whole segments are removed, so
	// up to SegmentBytes more are kept. The disk also holds the indexes (1/16 of a segment each)
	// and the segment prepared ahead.
	RetainBytes int64
	// Reached is an end of the log that the caller has recorded elsewhere. If a log with this ID
	// ends before Reached, it was restored from an older copy and gets a new ID: frames that were
	// sent beyond its end differ from those that will be there.
	Reached Place
	// Transient disables fsync once the log is open, so the kernel decides what is written to disk.
	// The log survives a killed process like any other, but not a machine crash.
	Transient bool
	// Log receives messages for the operator. nil means slog.Default().
	Log *slog.Logger

	fault faults // tests only
	boot  bootID // tests only; zero: this machine's
}

// Place is an offset under an ID.
type Place struct {
	ID   ID
	Head uint64
}

// beyond reports whether p lies beyond the end of the log with this head. A log whose ID was given
// up gets a new ID anyway.
func (p Place) beyond(h *known) bool {
	return h != nil && h.state != stateGone && p.ID == h.id && p.Head > h.head
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, fmt.Errorf("framelog: options: Dir is required")
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes {
		return o, fmt.Errorf("framelog: options: SegmentBytes %d is not within %d … %d",
			o.SegmentBytes, minSegmentBytes, int64(maxSegmentBytes))
	}
	o.SegmentBytes = roundToPage(o.SegmentBytes)
	if o.RetainBytes == 0 {
		o.RetainBytes = max(DefaultRetainBytes, o.SegmentBytes)
	}
	if o.RetainBytes < o.SegmentBytes || o.RetainBytes > maxRetainBytes {
		return o, fmt.Errorf("framelog: options: RetainBytes %d is not within %d (SegmentBytes) … %d",
			o.RetainBytes, o.SegmentBytes, int64(maxRetainBytes))
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.boot.isZero() {
		o.boot = readBootID()
	}
	return o, nil
}
