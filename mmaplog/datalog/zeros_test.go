package datalog

import (
	"os"
	"strings"
	"testing"
	"time"
)

// writeAt writes at an offset, as a writer does that does not append.
func (r *rig) writeAt(name, text string, at int64) {
	r.t.Helper()
	f, err := os.OpenFile(r.path(name), os.O_WRONLY, 0)
	r.must(err)
	_, err = f.WriteAt([]byte(text), at)
	r.must(err)
	r.must(f.Close())
}

func TestZeroBytes(t *testing.T) {
	zeros := strings.Repeat("\x00", 5000)
	t.Run("room that was allocated ahead", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, zeros)
		r.want()
		at := int64(0)
		for _, line := range []string{long("a"), "b", long("c")} {
			r.writeAt(log1, line[:1], at)
			r.want()
			r.writeAt(log1, line[1:]+"\n", at+1)
			r.want(line)
			at += int64(len(line)) + 1
		}
		if s := r.f.Stats(); s.BytesBehind != 0 {
			t.Errorf("%d bytes behind", s.BytesBehind)
		}
		r.truncate(log1, at)
		r.append(log1, "d\n"+trailer)
		r.put(log2, "e\n")
		r.point(2)
		r.want("d", "e")
		r.wantGaps(0, "")
	})
	t.Run("and not used up", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, "a\n"+trailer+zeros)
		r.put(log2, "b\n")
		r.point(2)
		r.want("a", "b")
		r.wantGaps(0, "")
	})
	t.Run("at the end of a log that is left", func(t *testing.T) { // its bytes are lost
		r := newRunningRig(t)
		r.append(log1, "a\n"+zeros)
		r.put(log2, "b\n")
		r.point(2)
		r.want("a")
		r.waitWant("b")
		r.wantGaps(1, GapTruncated)
	})
	t.Run("a writer that keeps its offset behind a cut", func(t *testing.T) {
		r := newRunningRig(t)
		text := strings.Repeat(long("a")+"\n", 30)
		r.append(log1, text)
		r.got()
		r.truncate(log1, 0)
		r.want()
		r.writeAt(log1, "b\n", int64(len(text)))
		r.want()
		r.clock = r.clock.Add(defaultLinger)
		r.want("b")
		r.append(log1, "c\n")
		r.want("c")
		r.wantGaps(0, "")
	})
	t.Run("the tail of what was read", func(t *testing.T) {
		for _, stop := range []bool{false, true} {
			r := newRunningRig(t)
			var past []Position
			for _, name := range []string{"a", "b", "c", "d"} {
				r.append(log1, long(name)+"\n")
				r.want(long(name))
				past = append([]Position{r.last}, past...)
			}
			size := int64(past[0].Offset)
			p := r.f.Position()
			r.opt.Past = func(yield func(Position) bool) {
				for _, p := range past {
					if !yield(p) {
						return
					}
				}
			}
			r.writeAt(log1, zeros[:600], size-600)
			if stop {
				r.start(p)
			}
			r.want()
			r.append(log1, "{e}\n")
			r.want()
			r.clock = r.clock.Add(defaultLinger)
			r.want("{e}")
			r.wantGaps(0, "")
		}
	})
	t.Run("something was lost before it was read", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, "a\nhalf"+zeros+"b\nc\n")
		r.want("a")
		r.clock = r.clock.Add(defaultLinger - time.Millisecond)
		r.want()
		r.clock = r.clock.Add(time.Millisecond)
		r.want("b", "c")
		r.wantGaps(1, GapTruncated)
		if s := r.f.Stats(); s.GapBytes != uint64(len("half"+zeros)) {
			t.Errorf("%d bytes", s.GapBytes)
		}
	})
	t.Run("written over in time", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, "a\n"+zeros[:4]+"c\n")
		r.want("a")
		r.writeAt(log1, "bbb\n", 2)
		r.want("bbb", "c")
		r.wantGaps(0, "")
	})
	t.Run("many do not take long", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, strings.Repeat("x\x00y\n", 50))
		r.want()
		r.clock = r.clock.Add(defaultLinger)
		if n := len(r.got()); n != 50 {
			t.Errorf("%d lines", n)
		}
	})
	t.Run("nothing but zero bytes", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, zeros+"\n"+zeros+"\nend\n")
		r.want()
		r.clock = r.clock.Add(defaultLinger)
		r.want("end")
	})
	t.Run("longer than a record may be", func(t *testing.T) {
		r := newRunningRig(t)
		r.must(r.f.Close())
		r.opt.MaxLine = 1000
		r.restart()
		r.must(os.Truncate(r.path(log1), 3*batchBytes))
		r.append(log1, "a\n")
		r.want()
		r.clock = r.clock.Add(defaultLinger)
		r.want("a")
	})
}
