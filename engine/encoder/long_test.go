package encoder

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"distributor/mmaplog/datalog"
	"distributor/wsproto/shardus"
)

// A record that does not fit into a frame, or would take too much memory, is skipped and counted,
// and the stream continues.
func TestTooLarge(t *testing.T) {
	const most = 100_000
	for name, line := range map[string]string{
		"too many values":  `[ 0` + strings.Repeat(",0", shardus.MaxValues) + `]`,
		"too long":         `{"pad":"` + strings.Repeat("x", most) + `"}`,
		"too long numbers": `{"pad":[1` + strings.Repeat(",1e20", most/20) + `]}`, // that are written out
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name == "too many values" {
				t.Skip("too many values take hundreds of MiB")
			}
			r := newRig(t, t.TempDir(), datalog.PerStream[datalog.Position]{},
				func(e *Encoder) { e.maxMessage = most })
			defer r.close()
			r.append("cycle", fmt.Sprintf("{\"counter\":1}\n%s\n{\"counter\":2}\n", line))
			r.waitFor(datalog.Cycle, 3)
			if got := r.encoder.Stats(datalog.Cycle); got.Frames != 2 || got.Rejected[tooLarge] != 1 {
				t.Errorf("%d frames, rejected: %v", got.Frames, got.Rejected)
			}
			if got := r.messages()["cycle"]; len(got) != 2 {
				t.Errorf("%d messages", len(got))
			}
		})
	}
}

// The memory of long records is released when ordinary records follow.
func TestLongRecordsAreNotKept(t *testing.T) {
	r := newRig(t, t.TempDir(), datalog.PerStream[datalog.Position]{})
	defer r.close()
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc >> 20)
	}
	before := heap()
	const long = 8
	line := `{"pad":"` + strings.Repeat("x", long<<20) + "\"}\n"
	for n := range 2 * batchesPerStream {
		for _, s := range datalog.Streams {
			r.append(s.String(), line)
			r.waitFor(s, n+1)
		}
	}
	for n := range 4 * batchesPerStream {
		for _, s := range datalog.Streams {
			r.append(s.String(), "{\"a\":1}\n")
			r.waitFor(s, 2*batchesPerStream+n+1)
		}
	}
	line = ""
	if after := heap(); after-before >= 2*long {
		t.Errorf("%d MiB before, %d MiB after long records of %d MiB", before, after, long)
	}
}

// All buffers of a chunk that a long record has enlarged are released, including those for
// completed receipts.
func TestLongBuffersAreReleased(t *testing.T) {
	b := &batch{free: make(chan *batch, 1)}
	b.open.Store(1)
	long := func() []byte { return make([]byte, 0, keptBytes+1) }
	c := &chunk{batch: b, frames: long(), scratch: long(), completed: long()}
	c.release()
	if c.frames != nil || c.scratch != nil || c.completed != nil {
		t.Errorf("kept: %d, %d, %d", cap(c.frames), cap(c.scratch), cap(c.completed))
	}
}
