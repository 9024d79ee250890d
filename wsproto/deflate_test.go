package wsproto

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// inflate inflates as RFC 7692 §7.2.2 says, with the standard library.
func inflate(t *testing.T, payload []byte) []byte {
	t.Helper()
	text, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(payload),
		strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Every frame of a Deflater can be read on its own. It is one text frame, marked as compressed,
// smaller than the plain one, and inflates to the text without the frames before it.
func TestDeflaterFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 70000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	record := `{"receipt":{"accountId":"0123456789abcdef","data":{"balance":"0","nonce":1}},"sign":{"owner":"aa","sig":"bb"}}`
	var texts [][]byte
	for _, n := range []int{1, 2, 3, 40, 600, 700, 5000} {
		texts = append(texts, []byte(strings.Repeat(record, n)))
	}
	texts = append(texts, bytes.Repeat([]byte("z"), 1<<20), noise, noise[:100], []byte("x"), nil,
		append(bytes.Clone(noise), strings.Repeat(record, 90)...))
	for level := MinDeflateLevel; level <= MaxDeflateLevel; level++ {
		d, err := NewDeflater(level)
		if err != nil {
			t.Fatal(err)
		}
		var back Inflater
		small := 0
		for i := range 2 * len(texts) {
			text := texts[i%len(texts)]
			plain := AppendTextFrame(nil, text)
			frame, err := d.Frame(plain)
			if err != nil {
				t.Fatal(err)
			}
			if frame == nil {
				if len(text) > 200 && text[0] == '{' {
					t.Errorf("level %d: a text of %d bytes is not compressed", level, len(text))
				}
				continue
			}
			small++
			h, err := ws.ReadHeader(bytes.NewReader(frame))
			if err != nil || !h.Fin || h.Masked || h.OpCode != ws.OpText || h.Rsv != 4 ||
				len(frame) >= len(plain) {
				t.Fatalf("level %d: %+v, %d of %d bytes, %v", level, h, len(frame), len(plain), err)
			}
			payload := frame[ws.HeaderSize(h):]
			if int(h.Length) != len(payload) || !bytes.Equal(inflate(t, payload), text) {
				t.Fatalf("level %d: a text of %d bytes does not come back", level, len(text))
			}
			if got, err := back.Message(payload, len(text)); err != nil || !bytes.Equal(got, text) {
				t.Fatalf("level %d: a text of %d bytes does not come back: %v", level, len(text), err)
			}
			if _, err := back.Message(payload, len(text)-1); !errors.Is(err, ErrInflate) {
				t.Fatalf("level %d: the limit is not kept: %v", level, err)
			}
		}
		if small < 16 {
			t.Errorf("level %d: only %d frames were compressed", level, small)
		}
	}
	for _, level := range []int{-1, 0, 10} {
		if _, err := NewDeflater(level); err == nil {
			t.Errorf("level %d is taken", level)
		}
	}
}

func TestDeflaterRefusesOtherFrames(t *testing.T) {
	d, err := NewDeflater(1)
	if err != nil {
		t.Fatal(err)
	}
	frame := AppendTextFrame(nil, []byte(strings.Repeat("a", 300)))
	for _, bad := range [][]byte{
		nil, frame[:1], frame[:3], frame[:len(frame)-1], AppendControl(nil, ws.OpPing, nil),
		append([]byte{0xc1}, frame[1:]...),
		{0x81, 0xfe, 0, 1, 0}, {0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0},
	} {
		if got, err := d.Frame(bad); err == nil {
			t.Errorf("% x is made into % x", bad[:min(len(bad), 12)], got)
		}
	}
	if n, err := TextFrameSize(append(frame, frame...)); n != len(frame) || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestInflaterRefuses(t *testing.T) {
	var i Inflater
	for _, bad := range []string{"\xff\xff\xff", "\x07", "abcdefgh"} {
		if got, err := i.Message([]byte(bad), 1<<20); !errors.Is(err, ErrInflate) {
			t.Errorf("%q is read as %q, %v", bad, got, err)
		}
	}
	// A compression bomb inflates to the limit at most.
	d, _ := NewDeflater(9)
	bomb, err := d.Frame(AppendTextFrame(nil, make([]byte, 16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Message(bomb[4:], 1<<20); !errors.Is(err, ErrInflate) || len(i.out) > 4<<20 {
		t.Errorf("%v, with a buffer of %d bytes", err, len(i.out))
	}
	// An empty message, RFC 7692 §7.2.3.6
	if got, err := i.Message([]byte{0}, 10); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzInflater gives any payloads to one Inflater. The result must be that of the standard library,
// or an error, and never more than the limit. Compressed and inflated again, it must be the same.
func FuzzInflater(f *testing.F) {
	d, err := NewDeflater(MinDeflateLevel)
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{"", "a", strings.Repeat("abc", 500), strings.Repeat("z", 70000)} {
		frame, err := d.Frame(AppendTextFrame(nil, []byte(text)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame[min(len(frame), 2):], uint16(1000))
	}
	f.Add([]byte{0}, uint16(0))
	f.Add([]byte("\xff\xff\xff"), uint16(10))
	var i Inflater
	f.Fuzz(func(t *testing.T, payload []byte, limit uint16) {
		got, err := i.Message(payload, int(limit))
		if len(i.out) > 1<<18 {
			t.Fatalf("a buffer of %d bytes for at most %d", len(i.out), limit)
		}
		r := flate.NewReader(io.MultiReader(bytes.NewReader(payload),
			strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
		want, wantErr := io.ReadAll(io.LimitReader(r, int64(limit)+1))
		if wantErr == nil && len(want) > int(limit) {
			wantErr = ErrInflate
		}
		if err != nil && !errors.Is(err, ErrInflate) || (err == nil) != (wantErr == nil) ||
			err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v; want %d, %v", len(got), err, len(want), wantErr)
		}
		if err != nil {
			return
		}
		frame, err := d.Frame(AppendTextFrame(nil, got))
		if err != nil {
			t.Fatal(err)
		}
		if frame == nil {
			return // no smaller
		}
		h, err := ws.ReadHeader(bytes.NewReader(frame))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := i.Message(frame[ws.HeaderSize(h):], int(limit)); err != nil ||
			!bytes.Equal(again, want) {
			t.Fatalf("%d bytes come back as %d, %v", len(want), len(again), err)
		}
	})
}
