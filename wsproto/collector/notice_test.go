package collector

import (
	"errors"
	"slices"
	"testing"

	"distributor/wsproto"
	"distributor/wsproto/collector/firehosetest"
)

func gapFrame(log *firehosetest.Log) []byte {
	return wsproto.AppendTextFrame(nil, log.Signer.AppendMessage(nil, "notice",
		[]byte(`{"stream":"receipt","type":"gap"}`)))
}

// Notices are returned in their place, verified, and do not change positions.
func TestNotices(t *testing.T) {
	log := firehosetest.NewLog(t)
	first := slices.Clone(log.Add("receipt", `{"a":1}`))
	second := slices.Clone(log.Add("receipt", `{"a":2}`))
	asked := make(chan string, 1)
	c := dial(t, log, func(o *Options) {
		o.Notices, o.VerifyEvery, o.From = true, 100,
			wsproto.From{Start: wsproto.At, Position: wsproto.Position{Log: log.ID}}
	}, func(s *firehosetest.Conn) {
		asked <- s.Parameter("notices")
		s.Send(gapFrame(log), first, gapFrame(log), second, firehosetest.Ping(log.End()), first)
		s.WaitForClose()
	})
	for i, want := range []struct {
		notice bool
		offset uint64
	}{{true, 0}, {false, uint64(len(first))}, {true, uint64(len(first))}, {false, log.End().Offset}} {
		m, err := c.Next(t.Context())
		if err != nil || (m.Notice != nil) != want.notice || (m.Record == nil) != want.notice ||
			want.notice && (!m.Verified || m.Stream != "") {
			t.Fatalf("%d: %+v, %v", i, m, err)
		}
		if p, _ := c.Position(); p.Offset != want.offset {
			t.Errorf("%d: at %d, want %d", i, p.Offset, want.offset)
		}
	}
	// The ping before it has the right position
	if m, err := c.Next(t.Context()); err != nil || m.Stream != "receipt" {
		t.Errorf("%+v, %v", m, err)
	}
	if got := <-asked; got != "gap" {
		t.Errorf("asked for %q", got)
	}
}

func TestForgedNotice(t *testing.T) {
	log, other := firehosetest.NewLog(t), firehosetest.NewLog(t)
	frame := log.Add("receipt", `{"a":1}`)
	for name, forged := range map[string][]byte{
		"another key":    gapFrame(other),
		"nobody's":       wsproto.AppendTextFrame(nil, []byte(`{"notice":{"type":"gap"}}`)),
		"other contents": slices.Concat(gapFrame(log)[:20], []byte("x"), gapFrame(log)[21:]),
	} {
		c := dial(t, log, func(o *Options) { o.Notices, o.VerifyEvery = true, 100 },
			func(s *firehosetest.Conn) {
				s.Send(frame, forged)
				s.WaitForClose()
			})
		if _, err := c.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m, err := c.Next(t.Context()); !errors.Is(err, ErrForged) || m.Notice != nil {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	// Without Options.Notices a notice is not a valid message.
	c := dial(t, log, nil, func(s *firehosetest.Conn) {
		if s.Parameter("notices") != "" {
			t.Error("asked")
		}
		s.Send(gapFrame(log))
		s.WaitForClose()
	})
	if _, err := c.Next(t.Context()); !errors.Is(err, ErrForged) {
		t.Error(err)
	}
}
