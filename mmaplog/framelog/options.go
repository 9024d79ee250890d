package framelog

import (
	"fmt"
	"log/slog"
)

const (
	// DefaultSegmentBytes: about 15,000 frames of 4.3 KB; small enough that retention is not coarse, large enough that a roll is rare.
	DefaultSegmentBytes = 64 << 20
	// DefaultRetainBytes is how much of the past is kept for slow and returning clients.
	DefaultRetainBytes = 1 << 30

	minSegmentBytes = 64 << 10
	maxSegmentBytes = 4 << 30
	maxRetainBytes  = 1 << 44

	// MaxFrame is the longest frame in bytes. One that is longer than a segment gets a segment of its own size.
	MaxFrame = 1 << 30
	// MaxStreams bounds stream numbers: 0 … MaxStreams-1. Every segment carries the newest source of each.
	MaxStreams = 64
)

// Options say where a log is and how much of it is kept.
type Options struct {
	// Dir holds the log and nothing else; it is made when it is missing. Required.
	Dir string
	// SegmentBytes is the size of a segment's frames file: 64 KiB … 4 GiB, rounded up to whole pages; 0 means DefaultSegmentBytes.
	// A change applies to segments that are made afterwards.
	SegmentBytes int64
	// RetainBytes of committed frames are kept at least: SegmentBytes … 16 TiB; 0 means DefaultRetainBytes (or SegmentBytes, if that is more).
	// Whole segments go, so up to SegmentBytes more are kept. On disk come the index (1/16 of a segment each) and the segment prepared ahead.
	RetainBytes int64
	// Reached is how far the log is known to have got, from elsewhere. A log of that ID that ends
	// before it was put back from an older copy, and gets a new ID: what was sent beyond its end is
	// not what will be there.
	Reached Place
	// Transient is for a log that nobody wants back after a crash of the machine: once it is open nothing is synced, so nothing is written to
	// disk that the kernel need not. After a restart it is as good as any other log that was not synced.
	Transient bool
	// Log gets what an operator should know. nil means slog.Default().
	Log *slog.Logger

	fault faults // tests only
	boot  bootID // tests only; zero: this machine's
}

// Place is an offset under an ID.
type Place struct {
	ID   ID
	Head uint64
}

// beyond says whether the log with this head has not got as far as p. A log that was given up is another one already.
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
		return o, fmt.Errorf("framelog: options: SegmentBytes %d is not within %d … %d", o.SegmentBytes, minSegmentBytes, int64(maxSegmentBytes))
	}
	o.SegmentBytes = roundToPage(o.SegmentBytes)
	if o.RetainBytes == 0 {
		o.RetainBytes = max(DefaultRetainBytes, o.SegmentBytes)
	}
	if o.RetainBytes < o.SegmentBytes || o.RetainBytes > maxRetainBytes {
		return o, fmt.Errorf("framelog: options: RetainBytes %d is not within %d (SegmentBytes) … %d", o.RetainBytes, o.SegmentBytes, int64(maxRetainBytes))
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.boot.isZero() {
		o.boot = readBootID()
	}
	return o, nil
}
