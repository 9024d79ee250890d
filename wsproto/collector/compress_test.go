package collector

import (
	"errors"
	"strings"
	"testing"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws/wsflate"

	"distributor/wsproto"
	"distributor/wsproto/collector/firehosetest"
)

func compressing(o *Options) { o.Compress = true }

// deflated compresses a frame of a log, and returns header and payload.
func deflated(t testing.TB, frame []byte) (header, payload []byte) {
	t.Helper()
	d, err := wsproto.NewDeflater(1)
	if err != nil {
		t.Fatal(err)
	}
	frame, err = d.Frame(frame)
	if err != nil || frame == nil {
		t.Fatalf("not compressed: %v", err)
	}
	n := 2
	switch frame[1] {
	case 126:
		n = 4
	case 127:
		n = 10
	}
	return frame[:n], frame[n:]
}

// Compressed and plain messages, in one frame or several, give the same messages and the same
// positions.
func TestCompressedMessages(t *testing.T) {
	log := firehosetest.NewLog(t)
	long, short := `{"a":"`+strings.Repeat("long ", 30_000)+`"}`,
		`{"b":"`+strings.Repeat("b", 300)+`"}`
	records := []string{long, short, short, long}
	c := dial(t, log, compressing, func(s *firehosetest.Conn) {
		s.Send(firehosetest.Ping(log.End()))
		header, payload := deflated(t, log.Add("receipt", long))
		s.Send(header, payload, firehosetest.Ping(log.End()))
		s.Send(log.Add("cycle", short), firehosetest.Ping(log.End()))
		_, payload = deflated(t, log.Add("originalTx", short)) // as two frames
		s.Send([]byte{0x41, 100}, payload[:100], firehosetest.Ping(wsproto.Position{}),
			[]byte{0x80, 126, 0, byte(len(payload) - 100)}, payload[100:])
		header, payload = deflated(t, log.Add("receipt", long))
		s.Send(header, payload, wsproto.AppendClose(nil, 1001, ""))
		s.WaitForClose()
	})
	if !c.Compressed() {
		t.Fatal("the offer was not made, or its answer not understood")
	}
	for i := 0; i < len(records); {
		m, err := c.Next(t.Context())
		var gap *GapError
		if i == 2 && errors.As(err, &gap) { // the ping between the two frames has a wrong position
			continue
		}
		if err != nil || string(m.Record) != records[i] || !m.Verified {
			t.Fatalf("%d: %.80s, %v", i, m.Record, err)
		}
		i++
		if p, ok := c.Position(); i < 3 && (!ok || p.Log != log.ID) {
			t.Errorf("%d: at %v, %v", i, p, ok)
		}
	}
	var closed *CloseError
	if _, err := c.Next(t.Context()); !errors.As(err, &closed) {
		t.Error(err)
	}
}

// The position after a compressed message is that after the plain frame.
func TestPositionBehindCompressed(t *testing.T) {
	log := firehosetest.NewLog(t)
	c := dial(t, log, compressing, func(s *firehosetest.Conn) {
		s.Send(firehosetest.Ping(log.End()))
		for range 3 {
			header, payload := deflated(t, log.Add("receipt", `"`+strings.Repeat("x", 100_000)+`"`))
			s.Send(header, payload)
		}
		s.WaitForClose()
	})
	for i := 1; i <= 3; i++ {
		m, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := c.Position(); !ok || p.Offset != uint64(i*(len(m.Text)+10)) {
			t.Errorf("%d: at %v, %v", i, p, ok)
		}
	}
}

func TestBadCompression(t *testing.T) {
	log := firehosetest.NewLog(t)
	header, payload := deflated(t, log.Add("receipt", `"`+strings.Repeat("bomb", 1<<20)+`"`))
	for name, frames := range map[string][]byte{
		"more than MaxMessage":     append(header, payload...),
		"no DEFLATE data":          {0xc1, 0x03, 0xff, 0xff, 0xff},
		"a compressed ping":        {0xc9, 0x00},
		"a compressed rest":        {0x01, 0x01, 'x', 0xc0, 0x01, 'x'},
		"another reserved bit":     {0xa1, 0x01, 'x'},
		"two reserved bits":        {0xe1, 0x01, 'x'},
		"a compressed close frame": {0xc8, 0x00},
	} {
		c := dial(t, log, func(o *Options) { o.Compress, o.MaxMessage = true, 1<<20 },
			func(s *firehosetest.Conn) {
				s.Send(frames)
				s.WaitForClose()
			})
		if _, err := c.Next(t.Context()); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Only an answer that matches the offer is accepted.
func TestAnswerToTheOffer(t *testing.T) {
	good := offer.Option()
	takeover := wsflate.Parameters{ClientNoContextTakeover: true}.Option()
	odd := httphead.NewOption("permessage-deflate",
		map[string]string{"x": "1", "server_no_context_takeover": ""})
	for name, c := range map[string]struct {
		answer []httphead.Option
		taken  bool
		err    error
	}{
		"nothing": {nil, false, nil}, "what was offered": {[]httphead.Option{good}, true, nil},
		"with a context":      {[]httphead.Option{takeover}, false, ErrProtocol},
		"with something more": {[]httphead.Option{odd}, false, ErrProtocol},
		"twice":               {[]httphead.Option{good, good}, false, ErrProtocol},
	} {
		if taken, err := accepted(c.answer); taken != c.taken || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v", name, taken, err)
		}
	}
	// Not offered: not compressed.
	c := dial(t, firehosetest.NewLog(t), nil, func(s *firehosetest.Conn) { s.WaitForClose() })
	if c.Compressed() {
		t.Error("compressed")
	}
}
