package framelog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// model is the expected log: all bytes that were ever committed, and the ends of the frames.
type model struct {
	bytes  []byte
	ends   []uint64
	metas  []Meta
	staged []byte // appended, not committed
	stEnds []uint64
	stMeta []Meta
}

func (m *model) head() uint64 { return uint64(len(m.bytes)) }

func (m *model) commit() {
	m.bytes, m.ends, m.metas = append(m.bytes, m.staged...), append(m.ends, m.stEnds...),
		append(m.metas, m.stMeta...)
	m.staged, m.stEnds, m.stMeta = nil, nil, nil
}

func (m *model) frameWith(offset uint64) int {
	for i, end := range m.ends {
		if end > offset {
			return i
		}
	}
	return -1
}

// checkFrames checks a result of Frames.
func (m *model) checkFrames(from uint64, max int, got []byte) error {
	if len(got) == 0 {
		if from == m.head() {
			return nil
		}
		return errors.New("nothing, below the head")
	}
	if len(got) > max || from+uint64(len(got)) > m.head() ||
		!bytes.Equal(got, m.bytes[from:from+uint64(len(got))]) {
		return fmt.Errorf("%d bytes, not those of the log", len(got))
	}
	end := from + uint64(len(got))
	i := m.frameWith(end - 1)
	if m.ends[i] == end {
		// It ends at a boundary. A later one within the limit is allowed only if the segment ends here.
		return nil
	}
	if first := m.frameWith(from); first == i && len(got) == max && m.ends[i]-from > uint64(max) {
		return nil // a single frame may be longer
	}
	return fmt.Errorf("ends inside of a frame, at %d", end)
}

// TestModel does random operations, and compares the log with the model after each: with readers
// that open and close at any offset, over retention and reopening.
func TestModel(t *testing.T) {
	steps := 1500
	if testing.Short() {
		steps = 400
	}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, seed, steps)
		})
	}
}

func runModel(t *testing.T, seed uint64, steps int) {
	rng := rand.New(rand.NewPCG(seed, 99))
	o := testOptions(memoryDir(t))
	o.RetainBytes = int64(1+rng.IntN(4)) * minSegmentBytes
	m := &model{}
	w, _ := mustOpen(t, o)
	id := w.ID()
	type cursor struct {
		r  *Reader
		at uint64
	}
	cursors := make([]cursor, 5)
	fill := make([]byte, 3*minSegmentBytes)
	for i := range fill {
		fill[i] = byte(rng.Uint32())
	}
	for step := range steps {
		switch rng.IntN(20) {
		case 0:
			if rng.IntN(4) > 0 {
				continue // because it takes a few fsyncs
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			m.staged, m.stEnds, m.stMeta = nil, nil, nil
			floor := func() uint64 { r := mustRead(t, o.Dir); defer closeReader(t, r); return r.Floor() }()
			var rec Recovery
			w, rec = mustOpen(t, o)
			if rec.NewID != "" || w.ID() != id || w.Head() != m.head() || w.Floor() != floor ||
				len(rec.Damaged)+len(rec.GivenUp) > 0 {
				t.Fatalf("step %d: reopened %+v, want head %d floor %d", step, rec, m.head(), floor)
			}
		case 1, 2, 3, 4, 5, 6, 7:
			for range rng.IntN(12) {
				n := 1 + rng.IntN(6000)
				switch rng.IntN(60) {
				case 0:
					n = minSegmentBytes - rng.IntN(3)
				case 1:
					n = 1 + rng.IntN(len(fill))
				}
				frame := fill[rng.IntN(len(fill)-n+1):][:n]
				meta := Meta{Stream: uint8(rng.IntN(5)), Cycle: rng.Int64(), Time: rng.Int64()}
				meta.Source[rng.IntN(32)] = byte(rng.Uint32())
				if err := w.Append(frame, meta); err != nil {
					t.Fatal(err)
				}
				m.staged = append(m.staged, frame...)
				m.stEnds = append(m.stEnds, m.head()+uint64(len(m.staged)))
				m.stMeta = append(m.stMeta, meta)
			}
		case 8, 9, 10:
			if err := w.Commit(); err != nil {
				t.Fatal(err)
			}
			m.commit()
		case 11:
			c := &cursors[rng.IntN(len(cursors))]
			if c.r != nil {
				closeReader(t, c.r)
			}
			*c = cursor{r: mustRead(t, o.Dir)}
			c.r.limit = 1 + rng.IntN(3)
			c.at = c.r.Floor()
			if span := c.r.Head() - c.at; span > 0 {
				c.at += rng.Uint64N(span)
			}
		default:
			c := &cursors[rng.IntN(len(cursors))]
			if c.r == nil {
				continue
			}
			if c.r.Head() != m.head() || c.r.Floor() != w.Floor() {
				t.Fatalf("step %d: head %d floor %d", step, c.r.Head(), c.r.Floor())
			}
			max := 1 + rng.IntN(20_000)
			got, err := c.r.Frames(c.at, max)
			if c.at < c.r.Floor() {
				if !errors.Is(err, ErrBelowFloor) {
					t.Fatalf("step %d: overtaken: %v", step, err)
				}
				c.at = c.r.Floor()
				continue
			}
			if err == nil {
				err = m.checkFrames(c.at, max, got)
			}
			if err != nil {
				t.Fatalf("step %d: Frames(%d, %d): %v", step, c.at, max, err)
			}
			c.at += uint64(len(got))
			if len(got) > 0 && c.at > c.r.Floor() {
				i := m.frameWith(c.at - 1)
				if end, err := c.r.FrameEnd(c.at); err != nil || end != m.ends[i] {
					t.Fatalf("step %d: FrameEnd(%d) = %d, %v; want %d", step, c.at, end, err, m.ends[i])
				}
				if meta, err := c.r.Meta(c.at); err != nil || meta != m.metas[i] {
					t.Fatalf("step %d: Meta(%d) = %+v, %v; want %+v", step, c.at, meta, err, m.metas[i])
				}
			}
		}
	}
	if w.Floor() == 0 {
		t.Error("retention was never seen")
	}
}
