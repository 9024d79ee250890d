package bell

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// rings returns how often a bell was rung since the last call.
func rings(t *testing.T, theirs *os.File) (n uint64) {
	t.Helper()
	raw, err := theirs.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Read(func(fd uintptr) bool {
		var count [8]byte
		if _, err := unix.Read(int(fd), count[:]); err == nil {
			n = binary.NativeEndian.Uint64(count[:])
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func taken(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestSet(t *testing.T) {
	s := NewSet()
	s.Ring() // without bells
	first, second := s.Listen(), s.Listen()
	if s.Filled() || taken(first) || taken(s.Changed()) {
		t.Error("a set of no readers was rung or filled")
	}
	b, theirs, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	s.Fill([]*Bell{b})
	if !s.Filled() || !taken(s.Changed()) || taken(s.Changed()) {
		t.Error("Fill was not signalled once")
	}
	s.Ring()
	s.Ring()
	if n := rings(t, theirs); n != 2 {
		t.Errorf("the bell was rung %d times", n)
	}
	if !taken(first) || !taken(second) || taken(first) {
		t.Error("two rings are not one value for each who listens")
	}
	b.Close()
	s.Ring()
	b.Close()
	s.Fill(nil)
	s.Ring()
	if n := rings(t, theirs); n != 0 || s.Filled() {
		t.Errorf("a closed bell was rung %d times", n)
	}
}

func BenchmarkRing(b *testing.B) {
	s := NewSet()
	s.Listen()
	one, theirs, err := New()
	if err != nil {
		b.Fatal(err)
	}
	defer theirs.Close()
	defer one.Close()
	s.Fill([]*Bell{one})
	b.ReportAllocs()
	for b.Loop() {
		s.Ring()
	}
}
