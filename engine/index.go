package engine

import (
	"fmt"
	"sync"

	"distributor/mmaplog/framelog"
)

// index is the frame log as the gateway sees it. A framelog.Reader is for one
// goroutine at a time.
type index struct {
	mu     sync.Mutex
	reader *framelog.Reader
}

func openIndex(dir string) (*index, error) {
	reader, err := framelog.OpenReader(dir)
	if err != nil {
		return nil, fmt.Errorf("engine: read the frame log: %w", err)
	}
	return &index{reader: reader}, nil
}

func (i *index) ID() [16]byte  { return i.reader.ID() }
func (i *index) Head() uint64  { return i.reader.Head() }
func (i *index) Floor() uint64 { return i.reader.Floor() }

// Ancestor tells up to where an offset means the same under an earlier ID of the frame log.
func (i *index) Ancestor(id [16]byte) (end uint64, ok bool) {
	for _, a := range i.reader.Ancestors() {
		if a.ID == id {
			return a.End, true
		}
	}
	return 0, false
}

// translate gives the place in the frame log for an offset under another of its IDs, as text:
// everything behind that place is what came later, or comes again. Of an ID that is not known it is
// all that there is.
func (i *index) translate(log string, offset uint64) uint64 {
	for _, a := range i.reader.Ancestors() {
		if a.ID.String() == log {
			return min(offset, a.End)
		}
	}
	return i.Floor()
}

func (i *index) FrameEnd(offset uint64) (uint64, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reader.FrameEnd(offset)
}

// release lets go of segments that were removed, and the disk they take.
func (i *index) release() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if head := i.reader.Head(); head > 0 {
		_, _ = i.reader.Frames(head-1, 1)
	}
}
