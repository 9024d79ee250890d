package handover

import (
	"errors"
	"net"
	"testing"
	"time"
)

func newListener(t *testing.T) *Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &Listener{TCPListener: l.(*net.TCPListener)}
}

type accepted struct {
	conn net.Conn
	err  error
}

// acceptAll reports what comes, until an error.
func acceptAll(l *Listener) <-chan accepted {
	out := make(chan accepted)
	go func() {
		for {
			c, err := l.Accept()
			out <- accepted{c, err}
			if err != nil {
				return
			}
		}
	}()
	return out
}

func accept(t *testing.T, from <-chan accepted) accepted {
	t.Helper()
	select {
	case a := <-from:
		if a.conn != nil {
			a.conn.Close()
		}
		return a
	case <-time.After(2 * time.Minute):
		t.Fatal("nothing was accepted")
		panic("unreachable")
	}
}

// Connections that come while the listener is paused are not refused: the process that has the socket
// and accepts gets them, and this process does when it resumes.
func TestPause(t *testing.T) {
	l := newListener(t)
	came := acceptAll(l)
	knock := func() {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	knock()
	if a := accept(t, came); a.err != nil {
		t.Fatal(a.err)
	}
	for range 3 {
		if err := l.Pause(); err != nil {
			t.Fatal(err)
		}
		knock()
		file, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		other, err := net.FileListener(file)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		c, err := other.Accept() // would wait for ever if the paused listener had accepted it
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		other.Close()

		knock()
		if err := l.Resume(); err != nil {
			t.Fatal(err)
		}
		if a := accept(t, came); a.err != nil {
			t.Fatal(a.err)
		}
	}
	if err := l.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if a := accept(t, came); !errors.Is(a.err, net.ErrClosed) {
		t.Errorf("after Close: %v", a.err)
	}
	if err := l.Resume(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("resumed after Close: %v", err)
	}
	_ = l.Close()
}
