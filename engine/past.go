package engine

import (
	"iter"
	"slices"

	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// pastBytes is how much of the frame log past covers at most. past reads the index alone: 2 GiB
// took 0.1 to 0.25 s a stream on two busy cores.
const pastBytes = 1 << 30

// pastChunk is how much of the frame log past reads at once: some thousand frames.
const pastChunk = 8 << 20

// past gives the source positions of the frames of a stream that the frame log in dir holds, newest
// first. It ends where a frame cannot be read, or after pastBytes.
func past(dir string, stream datalog.Stream) iter.Seq[datalog.Position] {
	return func(yield func(datalog.Position) bool) {
		r, err := framelog.OpenReader(dir)
		if err != nil {
			return
		}
		defer r.Close()
		last := r.Floor()
		if r.Head() > pastBytes {
			last = max(last, r.Head()-pastBytes)
		}
		for end, chunk := r.Head(), uint64(pastChunk); end > last; {
			begin, err := r.FrameEnd(end - min(chunk, end-r.Floor()))
			if err != nil {
				return
			}
			if begin == end { // a frame that is longer
				chunk *= 2
				continue
			}
			var found []datalog.Position
			for at := begin; at < end; {
				m, err := r.Meta(at + 1)
				if err != nil {
					return
				}
				if m.Stream == uint8(stream) {
					found = append(found, datalog.DecodePosition(m.Source))
				}
				if at, err = r.FrameEnd(at + 1); err != nil {
					return
				}
			}
			for _, p := range slices.Backward(found) {
				if !yield(p) {
					return
				}
			}
			end, chunk = begin, pastChunk
		}
	}
}
