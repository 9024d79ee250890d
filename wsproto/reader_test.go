package wsproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// A journal is a Handler that records its calls. It adds up Data per message, because its division
// over calls may depend on how the bytes arrived.
type journal struct {
	events []string
	data   int
	calls  int
	fail   error // returned by every call
}

func (j *journal) note(format string, args ...any) error {
	j.events = append(j.events, fmt.Sprintf(format, args...))
	return j.fail
}

func (j *journal) Ping(payload []byte) error { return j.note("ping %q", payload) }
func (j *journal) Pong(payload []byte) error { return j.note("pong %q", payload) }
func (j *journal) Close(code uint16, reason []byte) error {
	return j.note("close %d %q", code, reason)
}

func (j *journal) Data(n int, end bool) error {
	j.calls++
	j.data += n
	if end {
		_ = j.note("message of %d", j.data)
		j.data = 0
	}
	return j.fail
}

// read feeds all of stream in pieces of the given size and returns what the Handler saw, bytes of
// an unfinished message included.
func read(r *Reader, stream []byte, piece int) ([]string, error) {
	var j journal
	for chunk := range slices.Chunk(bytes.Clone(stream), max(piece, 1)) {
		if err := r.Feed(chunk, &j); err != nil {
			return append(j.events, fmt.Sprintf("and %d", j.data)), err
		}
	}
	return append(j.events, fmt.Sprintf("and %d", j.data)), nil
}

var testMask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// masked builds a client's frame; first is the whole first byte.
func masked(first byte, payload string) []byte {
	f := ws.Frame{Header: ws.Header{Fin: first&0x80 != 0, Rsv: first >> 4 & 7,
		OpCode: ws.OpCode(first & 0xf), Length: int64(len(payload))}, Payload: []byte(payload)}
	var b bytes.Buffer
	if err := ws.WriteFrame(&b, ws.MaskFrameInPlaceWith(f, testMask)); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestReaderHearsWhatIsSent(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for _, c := range []struct {
		name   string
		stream [][]byte
		want   string
	}{
		{"ping", [][]byte{masked(0x89, "Hello")}, `ping "Hello"|and 0`},
		{"empty ping", [][]byte{masked(0x89, "")}, `ping ""|and 0`},
		{"ping of 125 bytes", [][]byte{masked(0x89, long[:125])}, `ping "` + long[:125] + `"|and 0`},
		{"pong", [][]byte{masked(0x8a, someToken)}, `pong "` + someToken + `"|and 0`},
		{"close without a body", [][]byte{masked(0x88, "")}, `close 1005 ""|and 0`},
		{"close", [][]byte{masked(0x88, "\x03\xe8")}, `close 1000 ""|and 0`},
		{"close with a reason", [][]byte{masked(0x88, "\x03\xe9é")}, `close 1001 "é"|and 0`},
		{"nothing counts after a close", [][]byte{masked(0x88, ""), masked(0x89, "x"), {0xff, 0xff}},
			`close 1005 ""|and 0`},
		{"text", [][]byte{masked(0x81, "hi")}, "message of 2|and 0"},
		{"binary, 16-bit length", [][]byte{masked(0x82, long[:126])}, "message of 126|and 0"},
		{"binary, 64-bit length", [][]byte{masked(0x82, long)}, "message of 70000|and 0"},
		{"empty message", [][]byte{masked(0x81, "")}, "message of 0|and 0"},
		{"fragments with a ping between", [][]byte{masked(0x01, "ab"), masked(0x89, "p"),
			masked(0x00, ""), masked(0x80, "c")}, `ping "p"|message of 3|and 0`},
		{"two messages", [][]byte{masked(0x01, "a"), masked(0x80, "b"), masked(0x81, "c")},
			"message of 2|message of 1|and 0"},
		{"half a message", [][]byte{masked(0x01, "abc"), masked(0x00, "de")[:7]}, "and 4"},
		{"half a header", [][]byte{masked(0x81, long)[:13]}, "and 0"},
	} {
		for piece := range 15 {
			events, err := read(new(Reader), bytes.Join(c.stream, nil), piece)
			if got := strings.Join(events, "|"); got != c.want || err != nil {
				t.Errorf("%s, in pieces of %d: %s, %v; want %s", c.name, piece, got, err, c.want)
			}
		}
	}
}

// All ways to break RFC 6455, with the close codes that answer them.
func TestReaderRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		stream []byte
		want   Disconnect
		rule   error // nil: any
	}{
		{"text without a mask", []byte{0x81, 0x02, 'h', 'i'}, ProtocolError, ws.ErrProtocolMaskRequired},
		{"ping without a mask", []byte{0x89, 0x00}, ProtocolError, ws.ErrProtocolMaskRequired},
		{"RSV1", masked(0xc1, "x"), ProtocolError, errReservedBits},
		{"RSV2", masked(0xa1, "x"), ProtocolError, errReservedBits},
		{"RSV3", masked(0x91, "x"), ProtocolError, errReservedBits},
		{"RSV1 on a ping", masked(0xc9, "x"), ProtocolError, errReservedBits},
		{"operation 3", masked(0x83, ""), ProtocolError, ws.ErrProtocolOpCodeReserved},
		{"operation 7", masked(0x87, ""), ProtocolError, ws.ErrProtocolOpCodeReserved},
		{"operation 11", masked(0x8b, ""), ProtocolError, ws.ErrProtocolOpCodeReserved},
		{"operation 15", masked(0x8f, ""), ProtocolError, ws.ErrProtocolOpCodeReserved},
		{"ping in fragments", masked(0x09, "x"), ProtocolError, ws.ErrProtocolControlNotFinal},
		{"close in fragments", masked(0x08, ""), ProtocolError, ws.ErrProtocolControlNotFinal},
		{"ping of 126 bytes", masked(0x89, strings.Repeat("x", 126)), ProtocolError,
			ws.ErrProtocolControlPayloadOverflow},
		{"pong with a 64-bit length", []byte{0x8a, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 'x'},
			ProtocolError, ws.ErrProtocolControlPayloadOverflow},
		{"continuation of nothing", masked(0x80, "x"), ProtocolError,
			ws.ErrProtocolContinuationUnexpected},
		{"continuation after the end", slices.Concat(masked(0x01, "a"), masked(0x80, "b"),
			masked(0x80, "c")), ProtocolError, ws.ErrProtocolContinuationUnexpected},
		{"text inside a message", slices.Concat(masked(0x01, "a"), masked(0x81, "b")), ProtocolError,
			ws.ErrProtocolContinuationExpected},
		{"binary inside a message", slices.Concat(masked(0x01, "a"), masked(0x89, ""),
			masked(0x02, "b")), ProtocolError, ws.ErrProtocolContinuationExpected},
		{"highest length bit", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, ProtocolError,
			errLengthBit},
		{"16-bit length of 125", []byte{0x82, 0xfe, 0, 125, 1, 2, 3, 4}, ProtocolError, errLengthForm},
		{"64-bit length of 65535", []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4},
			ProtocolError, errLengthForm},
		{"close with one byte", masked(0x88, "x"), ProtocolError, errCloseBody},
		{"reason is not UTF-8", masked(0x88, "\x03\xe8\xc3\x28"), InvalidPayload, errCloseReason},
		{"reason ends inside a character", masked(0x88, "\x03\xe8\xe2\x82"), InvalidPayload,
			errCloseReason},
		{"reason is a surrogate", masked(0x88, "\x03\xe8\xed\xa0\x80"), InvalidPayload, errCloseReason},
		{"length of 2^63-1", []byte{0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4},
			MessageTooBig, errMessageLength},
		{"one byte above the default limit", []byte{0x82, 0xff, 0, 0, 0, 0, 6, 0x40, 0, 1, 1, 2, 3, 4},
			MessageTooBig, errMessageLength},
	} {
		// Everything before it is handled, and the division of the bytes makes no difference.
		stream := slices.Concat(masked(0x89, "before"), c.stream, masked(0x89, "after"))
		for piece := range len(c.stream) + 9 {
			r := new(Reader)
			events, err := read(r, stream, piece)
			var d Disconnect
			if !errors.As(err, &d) || d != c.want || (c.rule != nil && !errors.Is(err, c.rule)) {
				t.Fatalf("%s, in pieces of %d: %v, want %v: %v", c.name, piece, err, c.want, c.rule)
			}
			if events[0] != `ping "before"` || slices.Contains(events, `ping "after"`) {
				t.Errorf("%s: heard %q", c.name, events)
			}
			if again := r.Feed([]byte("x"), &journal{}); !errors.Is(again, err) {
				t.Errorf("%s: after the error: %v", c.name, again)
			}
		}
	}
}

func TestReaderCloseCodes(t *testing.T) {
	// The set of npm ws 8.17.
	allowed := func(code int) bool {
		return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006 ||
			code >= 3000 && code <= 4999
	}
	for code := range 1 << 16 {
		if code > 5001 && code < 65534 {
			continue
		}
		_, err := read(new(Reader), masked(0x88, string([]byte{byte(code >> 8), byte(code)})), 100)
		if (err == nil) != allowed(code) || (err != nil && !errors.Is(err, ProtocolError)) {
			t.Errorf("close code %d: %v", code, err)
		}
	}
}

func TestReaderMessageLimit(t *testing.T) {
	frames := slices.Concat(masked(0x01, "abcd"), masked(0x00, "efgh"), masked(0x80, "ij"))
	if events, err := read(&Reader{MaxMessage: 10}, slices.Concat(frames, frames), 3); err != nil ||
		len(events) != 3 {
		t.Errorf("messages at the limit: %v, %v", events, err)
	}
	if _, err := read(&Reader{MaxMessage: 9}, frames, 3); !errors.Is(err, MessageTooBig) {
		t.Errorf("message above the limit: %v", err)
	}
}

func TestReaderWithDeflate(t *testing.T) {
	for _, c := range []struct {
		stream []byte
		ok     bool
	}{
		{masked(0xc1, "x"), true},
		{slices.Concat(masked(0x42, "x"), masked(0x89, ""), masked(0x80, "y")), true},
		{slices.Concat(masked(0x41, "x"), masked(0xc0, "y")), false},
		{masked(0xc9, ""), false},
		{masked(0xe1, "x"), false},
	} {
		if _, err := read(&Reader{Deflate: true}, c.stream, 2); (err == nil) != c.ok {
			t.Errorf("%x: %v", c.stream, err)
		}
	}
}

func TestHandlerEndsTheReading(t *testing.T) {
	for _, frame := range [][]byte{masked(0x81, "x"), masked(0x89, "x"), masked(0x8a, "x"),
		masked(0x88, "")} {
		r, j := new(Reader), &journal{fail: TooMuchData}
		if err := r.Feed(slices.Concat(frame, frame), j); !errors.Is(err, TooMuchData) ||
			len(j.events) != 1 {
			t.Errorf("%x: %v after %q", frame, err, j.events)
		}
	}
}

// A client cannot cause work without calls of Data: each empty frame is one call.
func TestEmptyFramesAreCounted(t *testing.T) {
	var j journal
	stream := slices.Concat(masked(0x01, ""), bytes.Repeat(masked(0x00, ""), 50), masked(0x80, ""))
	if err := new(Reader).Feed(stream, &j); err != nil || j.calls != 52 {
		t.Errorf("%d calls, %v", j.calls, err)
	}
}

// randomStream returns some frames, mostly valid ones.
func randomStream(random *rand.Rand) []byte {
	var b []byte
	firsts := []byte{0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88, 0xc1, 0x09}
	for range random.IntN(8) {
		first := firsts[random.IntN(4+random.IntN(len(firsts)-3))]
		size := random.IntN(20)
		if random.IntN(4) == 0 {
			size = random.IntN(300)
		}
		b = append(b, masked(first, strings.Repeat("é", size)[:size])...)
	}
	return b
}

// Property: every division of a stream into two pieces, and every piece size, gives the same
// callbacks.
func TestEverySplitIsTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		stream := randomStream(random)
		want, wantErr := model(stream)
		for at := range len(stream) + 1 {
			r, j := new(Reader), &journal{}
			err := r.Feed(bytes.Clone(stream[:at]), j)
			if err == nil {
				err = r.Feed(bytes.Clone(stream[at:]), j)
			}
			compare(t, stream, append(j.events, fmt.Sprintf("and %d", j.data)), err, want, wantErr)
		}
		for piece := range 20 {
			got, err := read(new(Reader), stream, piece)
			compare(t, stream, got, err, want, wantErr)
		}
	}
}

func compare(t *testing.T, stream []byte, got []string, err error, want []string, wantErr error) {
	t.Helper()
	var d Disconnect
	if err != nil && !errors.As(err, &d) {
		t.Fatalf("%x: %v carries no Disconnect", stream, err)
	}
	if d == InvalidPayload && errors.Is(wantErr, InvalidPayload) && len(got) > 0 && len(want) > 0 {
		// How much of a text is reported before the invalid byte depends on how its bytes arrived.
		got, want = got[:len(got)-1], want[:len(want)-1]
	}
	if (err == nil) != (wantErr == nil) || !slices.Equal(got, want) {
		t.Fatalf("%x:\n got %q, %v\nwant %q, %v", stream, got, err, want, wantErr)
	}
}

// validStart tells whether text is UTF-8, or, if it has not ended, can become UTF-8.
func validStart(text []byte, ended bool) bool {
	for n := 0; n < len(text) && n < utf8.UTFMax && !ended; n++ {
		if tail := text[len(text)-n-1:]; utf8.RuneStart(tail[0]) && !utf8.FullRune(tail) {
			text = text[:len(text)-n-1]
			break
		}
	}
	return utf8.Valid(text)
}

// model reads the stream with the blocking reader of gobwas/ws, to be compared with ours.
func model(stream []byte) (events []string, err error) {
	var j journal
	defer func() { events = append(j.events, fmt.Sprintf("and %d", j.data)) }()
	in, state := bytes.NewReader(stream), ws.StateServerSide
	announced := int64(0)
	var text []byte // of the current message
	isText := false
	for len(stream) >= 2 {
		// The first two bytes are checked before the rest of the header has arrived. gobwas/ws would
		// accept a control frame of fewer than 126 bytes with a longer form of the length; npm ws does
		// not.
		start := ws.Header{Fin: stream[0]&0x80 != 0, Rsv: stream[0] >> 4 & 7,
			OpCode: ws.OpCode(stream[0] & 0xf), Masked: stream[1]&0x80 != 0, Length: int64(stream[1] & 0x7f)}
		if err := ws.CheckHeader(start, state); err != nil {
			return nil, err
		}
		h, err := ws.ReadHeader(in)
		if errors.Is(err, ws.ErrHeaderLengthMSB) {
			return nil, err
		} else if err != nil { // the rest of the header is missing
			return nil, nil
		}
		if length := stream[1] & 0x7f; length == 126 && h.Length < 126 || length == 127 &&
			h.Length <= 0xffff {
			return nil, ProtocolError
		}
		if h.OpCode.IsData() {
			if announced += h.Length; announced > DefaultMaxMessage || h.Length > DefaultMaxMessage {
				return nil, MessageTooBig
			}
		}
		payload := make([]byte, min(h.Length, int64(in.Len())))
		_, _ = io.ReadFull(in, payload)
		whole := int64(len(payload)) == h.Length
		ws.Cipher(payload, h.Mask, 0)
		switch {
		case h.OpCode.IsData():
			if h.OpCode != ws.OpContinuation {
				text, isText = nil, h.OpCode == ws.OpText
			}
			if text = append(text, payload...); isText && !validStart(text, whole && h.Fin) {
				return nil, InvalidPayload
			}
			_ = j.Data(len(payload), whole && h.Fin)
			if whole && h.Fin {
				announced = 0
				state = state.Clear(ws.StateFragmented)
			} else {
				state = state.Set(ws.StateFragmented)
			}
		case !whole:
		case h.OpCode == ws.OpPing:
			_ = j.Ping(payload)
		case h.OpCode == ws.OpPong:
			_ = j.Pong(payload)
		case len(payload) == 0:
			return nil, j.Close(NoStatus, nil)
		case len(payload) == 1 || !validCloseCode(uint16(payload[0])<<8|uint16(payload[1])) ||
			!utf8.Valid(payload[2:]):
			return nil, ProtocolError
		default:
			return nil, j.Close(uint16(payload[0])<<8|uint16(payload[1]), payload[2:])
		}
		if !whole {
			return nil, nil
		}
		stream = stream[len(stream)-in.Len():]
	}
	return nil, nil
}

func FuzzReader(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for piece := range 10 {
		f.Add(randomStream(random), uint8(piece))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		want, wantErr := model(stream)
		got, err := read(new(Reader), stream, int(piece))
		compare(t, stream, got, err, want, wantErr)
	})
}

// nothing is a Handler that does nothing.
type nothing struct{ bytes int }

func (*nothing) Ping([]byte) error          { return nil }
func (*nothing) Pong([]byte) error          { return nil }
func (*nothing) Close(uint16, []byte) error { return nil }
func (h *nothing) Data(n int, _ bool) error { h.bytes += n; return nil }

func TestReaderDoesNotAllocate(t *testing.T) {
	stream := slices.Concat(masked(0x8a, someToken), masked(0x81, "hi"), masked(0x89, "p"))
	given := slices.Clone(stream)
	var r Reader
	var h nothing
	if n := testing.AllocsPerRun(100, func() {
		copy(stream, given) // a Reader unmasks in place
		if r.Feed(stream[:11], &h) != nil || r.Feed(stream[11:], &h) != nil {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkReader reads pongs, which usual clients send, and data, which unusual ones send.
func BenchmarkReader(b *testing.B) {
	for name, stream := range map[string][]byte{
		"pong":       masked(0x8a, someToken),
		"data-64KiB": masked(0x82, strings.Repeat("x", 64<<10)),
		"text-64KiB": masked(0x81, strings.Repeat("x", 64<<10)),
	} {
		b.Run(name, func(b *testing.B) {
			var r Reader
			var h nothing
			given := slices.Clone(stream)
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				copy(stream, given) // a Reader unmasks in place
				if err := r.Feed(stream, &h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("pong-in-two", func(b *testing.B) {
		stream := masked(0x8a, someToken)
		var r Reader
		var h nothing
		b.ReportAllocs()
		for b.Loop() {
			if r.Feed(stream[:20], &h) != nil || r.Feed(stream[20:], &h) != nil {
				b.Fatal("refused")
			}
		}
	})
}
