package worker

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/wsproto"
)

// heard records what a separate Reader finds in a client's input.
type heard struct {
	pings  []string
	closed uint16 // code of its close frame; 0: none came
}

func (h *heard) Ping(p []byte) error {
	h.pings = append(h.pings,
		string(p))
	return nil
}
func (h *heard) Pong([]byte) error                 { return nil }
func (h *heard) Close(code uint16, _ []byte) error { h.closed = code; return nil }
func (h *heard) Data(int, bool) error              { return nil }

// FuzzReceive gives a client's input to a loop in pieces, and commits a frame after each piece. The
// client must get whole frames in order, the pongs that are due, and at most one close frame, with
// the code that the input demands, and nothing after it.
func FuzzReceive(f *testing.F) {
	for _, a := range attacks() {
		f.Add(a.bytes, uint8(len(a.bytes)/3))
	}
	for _, bytes := range odd {
		f.Add(bytes, uint8(1))
	}
	h := newManualLoop(f)
	n := 0 // frames so far
	f.Fuzz(func(t *testing.T, input []byte, piece uint8) {
		h.t = t
		input = input[:min(len(input), h.settings.InputBytes)]
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK,
			0)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fds[1]), "collector")
		ours, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		h.nextID++
		deflate := piece&1 != 0 // compression was negotiated
		options := handoff.Negotiated{Deflate: deflate}
		h.add(handoff.Client{ID: h.nextID, From: h.frames.Head(), Negotiated: options}, fds[0])
		c := h.byID[h.nextID]
		s := seen{next: n}
		var want heard
		reader := wsproto.Reader{MaxMessage: int64(h.settings.InputBytes), Deflate: deflate}
		err = nil
		step := max(1+int(piece), len(input)/50) // larger steps, because nobody reads the pongs yet
		for at := 0; at < len(input); {
			end := min(len(input), at+step)
			if c.fd >= 0 {
				h.parse(c, bytes.Clone(input[at:end]))
			}
			err = reader.Feed(bytes.Clone(input[at:end]), &want)
			at = end
			h.append(numbered(n))
			n++
			if err := h.turn(); err != nil {
				t.Fatal(err)
			}
		}
		why, code := wsproto.ClientGone, uint16(0)
		if want.closed != 0 {
			why, code = wsproto.ClientClosed, want.closed
		} else if errors.As(err, &why) {
			code = why.Code
		}
		if open := c.state != closing; open != (code == 0) {
			t.Fatalf("state %d, want the end: %v", c.state, why)
		}
		if code == 0 {
			h.drop(c, wsproto.ClientGone, "")
		}
		p := &peer{Conn: ours, t: t}
		for err = nil; err == nil; { // the end of the stream comes at once, too
			err = s.read(p)
		}
		ours.Close()
		if c.fd >= 0 {
			h.read(c)
		}
		if m := h.sentToPrimary(isClosed); m.Closed.ID != c.id || m.Closed.Disconnect != why.Name {
			t.Fatalf("told %+v, want %s", m.Closed, why.Name)
		}
		if !errors.Is(err, io.EOF) || s.closed != (code != 0) || s.code != code ||
			code == 0 && s.next != n {
			t.Fatalf("%v; closed: %v with %d, want %d; %d of %d frames", err, s.closed, s.code, code,
				s.next, n)
		}
		if last := len(want.pings) - 1; code == 0 && last >= 0 &&
			(len(s.pongs) == 0 || s.pongs[len(s.pongs)-1] != want.pings[last]) {
			t.Fatalf("pongs %q for pings %q", s.pongs, want.pings)
		}
	})
}
