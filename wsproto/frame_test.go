package wsproto

import (
	"bytes"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// Golden bytes: made by the Sender of npm ws 8.17.
func TestTextHeader(t *testing.T) {
	for _, c := range []struct {
		n    int
		want string
	}{
		{0, "8100"}, {1, "8101"}, {125, "817d"},
		{126, "817e007e"}, {127, "817e007f"}, {255, "817e00ff"}, {256, "817e0100"}, {65535, "817effff"},
		{65536, "817f0000000000010000"}, {1 << 24, "817f0000000001000000"},
	} {
		if got := hex.EncodeToString(AppendTextHeader(nil, c.n)); got != c.want {
			t.Errorf("%d bytes: header %s, want %s", c.n, got, c.want)
		}
	}
}

func TestTextFrameReadsBack(t *testing.T) {
	for _, n := range []int{0, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte("x"), n)
		b := AppendTextFrame([]byte("before"), payload)
		f, err := ws.ReadFrame(bytes.NewReader(b[len("before"):]))
		if err != nil {
			t.Fatal(err)
		}
		if f.Header.OpCode != ws.OpText || !f.Header.Fin || f.Header.Masked || f.Header.Rsv != 0 ||
			!bytes.Equal(f.Payload, payload) {
			t.Errorf("%d bytes: read back as %+v", n, f.Header)
		}
	}
}

// Golden bytes: made by the Sender of npm ws 8.17; the pong is also in the recording "ok/ping at
// once".
func TestControlFrames(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"pong", AppendControl(nil, ws.OpPong, []byte("abcd")), "8a0461626364"},
		{"ping", AppendControl(nil, ws.OpPing, []byte("0-1")), "8903302d31"},
		{"empty ping", AppendControl(nil, ws.OpPing, nil), "8900"},
		{"close without a body", AppendClose(nil, NoStatus, ""), "8800"},
		{"close", AppendClose(nil, 1000, ""), "880203e8"},
		{"close with a reason", AppendClose(nil, 1001, "subscription expired"),
			"881603e9737562736372697074696f6e2065787069726564"},
		{"private code", AppendClose(nil, 4999, "é"), "88041387c3a9"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestImpossibleFramesPanic(t *testing.T) {
	for name, f := range map[string]func(){
		"data as control":    func() { AppendControl(nil, ws.OpText, nil) },
		"reserved operation": func() { AppendControl(nil, 0xb, nil) },
		"ping of 126 bytes":  func() { AppendControl(nil, ws.OpPing, make([]byte, 126)) },
		"close 0":            func() { AppendClose(nil, 0, "") },
		"close 1006":         func() { AppendClose(nil, 1006, "") },
		"1005 with a reason": func() { AppendClose(nil, NoStatus, "x") },
		"reason of 124":      func() { AppendClose(nil, 1000, strings.Repeat("x", 124)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// Every Disconnect can be sent, and its Name is a valid metric label and finds it.
func TestDisconnects(t *testing.T) {
	names := map[string]bool{}
	for _, d := range Disconnects {
		if names[d.Name] || strings.Trim(d.Name, "abcdefghijklmnopqrstuvwxyz_") != "" || d.Name == "" {
			t.Errorf("name %q is repeated or not [a-z_]+", d.Name)
		}
		names[d.Name] = true
		if got, ok := DisconnectNamed(d.Name); !ok || got != d {
			t.Errorf("DisconnectNamed(%q) = %v, %v", d.Name, got, ok)
		}
		if d.Code == 0 {
			continue
		}
		f, err := ws.ReadFrame(bytes.NewReader(AppendClose(nil, d.Code, d.Reason)))
		if code, reason := ws.StatusCode(d.Code), d.Reason; err != nil ||
			!bytes.Equal(f.Payload, ws.NewCloseFrameBody(code, reason)) {
			t.Errorf("%s: %q, %v", d.Name, f.Payload, err)
		}
	}
	if _, ok := DisconnectNamed("no_such"); ok {
		t.Error("found a disconnect that is not there")
	}
	// Unmodified collectors print 1001 as "Subscription Validity Expired", so no other Disconnect may
	// have it.
	for _, d := range Disconnects {
		if d.Code == SubscriptionExpired.Code && d != SubscriptionExpired ||
			d.Code == DuplicateConnection.Code && d != DuplicateConnection {
			t.Errorf("%s has the code %d, which means another thing to collectors", d.Name, d.Code)
		}
	}
	if ServerShutdown.Code != 1012 {
		t.Errorf("a stop has the code %d, not that of a service restart", ServerShutdown.Code)
	}
	if DuplicateConnection.Code != 1000 || DuplicateConnection.Reason != "" || SubscriptionExpired.Code != 1001 || SubscriptionExpired.Reason != "subscription expired" {
		t.Error("the codes of the replaced service changed")
	}
}

func BenchmarkAppendTextFrame(b *testing.B) {
	payload := bytes.Repeat([]byte("x"), 6000)
	var buf []byte
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendTextFrame(buf[:0], payload)
	}
	_, _ = io.Discard.Write(buf)
}
