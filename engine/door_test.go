package engine

import (
	"errors"
	"net"
	"testing"
	"time"
)

func newDoor(t *testing.T) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &door{TCPListener: l.(*net.TCPListener)}
}

type accepted struct {
	conn net.Conn
	err  error
}

// acceptAll reports what comes, until an error.
func acceptAll(d *door) <-chan accepted {
	out := make(chan accepted)
	go func() {
		for {
			c, err := d.Accept()
			out <- accepted{c, err}
			if err != nil {
				return
			}
		}
	}()
	return out
}

func take(t *testing.T, from <-chan accepted) accepted {
	t.Helper()
	select {
	case a := <-from:
		if a.conn != nil {
			a.conn.Close()
		}
		return a
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was accepted")
		panic("unreachable")
	}
}

// Who comes while the door is shut is not turned away: whoever has the socket
// and accepts gets it, and that is us when it opens again.
func TestDoor(t *testing.T) {
	d := newDoor(t)
	came := acceptAll(d)
	knock := func() {
		t.Helper()
		c, err := net.Dial("tcp", d.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	knock()
	if a := take(t, came); a.err != nil {
		t.Fatal(a.err)
	}
	for range 3 {
		if err := d.shut(); err != nil {
			t.Fatal(err)
		}
		knock()
		file, err := d.File()
		if err != nil {
			t.Fatal(err)
		}
		other, err := net.FileListener(file)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		c, err := other.Accept() // would wait for ever if the door had let it in
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		other.Close()

		knock()
		if err := d.open(); err != nil {
			t.Fatal(err)
		}
		if a := take(t, came); a.err != nil {
			t.Fatal(a.err)
		}
	}
	if err := d.shut(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if a := take(t, came); !errors.Is(a.err, net.ErrClosed) {
		t.Errorf("after Close: %v", a.err)
	}
	if err := d.open(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("opened again after Close: %v", err)
	}
	_ = d.Close()
}
