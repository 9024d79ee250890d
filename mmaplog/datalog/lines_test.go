package datalog

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestWhatIsALine(t *testing.T) {
	big := strings.Repeat("b", 16<<20)
	cases := []struct {
		name, text string
		want       []string
	}{
		{"plain", "{\"a\":1}\n{\"b\":2}\n", []string{`{"a":1}`, `{"b":2}`}},
		{"blank lines", "\n\na\n\n\n \t \nb\n\n", []string{"a", "b"}},
		{"CRLF", "a\r\nb\r\n\r\nEnd: Number of entries: 2\r\n", []string{"a", "b"}},
		{"CR inside", "a\rb\n", []string{"a\rb"}},
		{"only the last CR", "a\r\r\n", []string{"a\r"}},
		{"BOM", "\ufeff{\"a\":1}\nb\n", []string{"\ufeff{\"a\":1}", "b"}},
		{"invalid UTF-8", "a\xff\xfe\nb\n", []string{"a\xff\xfe", "b"}},
		{"the same line twice", "a\na\nb\na\n", []string{"a", "a", "b", "a"}},
		{"spaces around", " a \n", []string{" a "}},
		{"trailers", "a\nEnd: Number of entries: 1\nb\nEnd: Number of bytes: 18446744073709551615\n\n", []string{"a", "b"}},
		{"no trailers", strings.Join([]string{
			`{"memo":"End: Number of entries: 3"}`, "End: Number of entries: ", "End: Number of entries: 3 ", " End: Number of entries: 3",
			"End: Number of entries: -1", "End: Number of bytes: 1x", "End: Number of lines: 3",
			"end: number of bytes: 3",
			"End: Number of bytes: 123456789012345678901", "End: Number of bytes:  1", "",
		}, "\n"), []string{
			`{"memo":"End: Number of entries: 3"}`, "End: Number of entries: ", "End: Number of entries: 3 ", " End: Number of entries: 3",
			"End: Number of entries: -1", "End: Number of bytes: 1x", "End: Number of lines: 3",
			"end: number of bytes: 3",
			"End: Number of bytes: 123456789012345678901", "End: Number of bytes:  1",
		}},
		{"16 MiB", "a\n" + big + "\nc\n", []string{"a", big, "c"}},
		{"no newline", "a\nb", []string{"a"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRunningRig(t)
			r.append("receipt-log1.txt", c.text)
			r.want(c.want...)
			if p := r.f.Position(); p.Offset != uint64(strings.LastIndexByte(c.text, '\n')+1) {
				t.Errorf("position %+v of %d bytes", p, len(c.text))
			}
			var n uint64
			for _, line := range c.want {
				n += uint64(len(line))
			}
			if s := r.f.Stats(); s.Records != uint64(len(c.want)) || s.Bytes != n {
				t.Errorf("stats %+v, want %d records of %d bytes", s, len(c.want), n)
			}
		})
	}
}

// TestLineCutAtEveryByte reads a log after each byte that is written.
func TestLineCutAtEveryByte(t *testing.T) {
	text := "{\"a\":1}\n\n{\"b\":\"End: Number of bytes: 1\"}\r\nc\nEnd: Number of bytes: 12\n\n"
	want := []string{`{"a":1}`, `{"b":"End: Number of bytes: 1"}`, "c"}
	r := newRunningRig(t)
	for cut := range len(text) {
		r.append("receipt-log1.txt", text[:cut])
		got := r.got()
		r.append("receipt-log1.txt", text[cut:])
		if got = append(got, r.got()...); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("cut at %d: %q", cut, got)
		}
	}
	for i := range text { // with a look after each byte
		r.append("receipt-log1.txt", text[i:i+1])
		if got := r.got(); len(got) > 0 {
			if text[i] != '\n' || got[0] != want[0] {
				t.Fatalf("after byte %d: %q", i, got)
			}
			want = want[1:]
		}
	}
	if len(want) > 0 {
		t.Fatalf("missing: %q", want)
	}
}

func TestLineCutAtPageEdges(t *testing.T) {
	r := newRunningRig(t)
	n := 0
	for edge := 4096; edge <= 5*4096; edge += 4096 {
		for _, length := range []int{edge - 2, edge - 1, edge, edge + 1} {
			for _, cut := range []int{edge - 1, edge, edge + 1} {
				n++
				line := fmt.Sprintf("%d", n) + strings.Repeat("x", length-len(fmt.Sprint(n)))
				text := line + "\n"
				cut = min(cut, len(text))
				r.append("receipt-log1.txt", text[:cut])
				got := r.got()
				r.append("receipt-log1.txt", text[cut:])
				if got = append(got, r.got()...); len(got) != 1 || got[0] != line {
					t.Fatalf("line of %d cut at %d: %d lines", length, cut, len(got))
				}
			}
		}
	}
}

func TestLinesOverTheCap(t *testing.T) {
	for _, limit := range []int{10, batchBytes / 2, 3 * batchBytes} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			r := newRig(t)
			r.mkdir()
			r.put("receipt-log1.txt", "")
			r.point(1)
			r.opt.MaxLine = limit
			r.start(Position{})
			at, over := strings.Repeat("a", limit), strings.Repeat("o", limit+1)
			long := strings.Repeat("l", 4*limit)
			r.append("receipt-log1.txt", at+"\n"+over+"\n"+at+"\r\n"+long+"\n\nb\n")
			r.want(at, at, "b")
			r.append("receipt-log1.txt", long)
			r.want()
			r.append("receipt-log1.txt", "tail")
			r.want()
			before := r.f.Position()
			r.append("receipt-log1.txt", "\nc\n")
			r.want("c")
			if s := r.f.Stats(); s.Oversized != 3 {
				t.Errorf("%d oversized, want 3", s.Oversized)
			}
			r.start(before) // nothing inside the long line may count as a line
			r.want("c")
			r.append("receipt-log1.txt", over) // at the end of a log, without a newline
			r.put("receipt-log2.txt", "d\n")
			r.point(2)
			r.waitWant("d")
		})
	}
}

// TestBatchBounds checks that the records of Next belong to the batch, and the limits of a batch.
func TestBatchBounds(t *testing.T) {
	r := newRunningRig(t)
	r.append("receipt-log1.txt", strings.Repeat("x\n\n",
		3000)+strings.Repeat(strings.Repeat("y", 99_999)+"\n", 50))
	var b Batch
	total, batches := 0, 0
	for total < 3050 {
		r.f.look(&b)
		batches++
		bytes := 0
		for _, rec := range b.Records {
			bytes += len(rec.Line) + 1
		}
		if n := len(b.Records); n == 0 || n > batchLines || bytes > batchBytes {
			t.Fatalf("batch of %d records, %d bytes", n, bytes)
		}
		total += len(b.Records)
	}
	if batches < 9 {
		t.Errorf("%d batches", batches)
	}
	if s := r.f.Stats(); s.BytesBehind != 0 {
		t.Errorf("%d bytes behind at the end", s.BytesBehind)
	}
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("{\"a\":1}\n\nEnd: Number of entries: 1\nb"), 3)
	f.Add([]byte("a\r\n\r\nEnd: Number of bytes: 1\r\n\n"), 1)
	f.Add([]byte(strings.Repeat("abc\n", 200)), 64)
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		var want [][]byte
		for _, line := range bytes.Split(text, []byte("\n")) {
			if !modelSkips.Match(line) {
				want = append(want, bytes.TrimSuffix(line, []byte("\r")))
			}
		}
		// The pieces end with lines, and each begins with the tail of the one before.
		var fp fingerprint
		var got [][]byte
		ended := false
		step = max(1, step&0xff)
		for at := 0; at < len(text); {
			end := min(len(text), at+step)
			if i := bytes.IndexByte(text[end-1:], '\n'); i >= 0 {
				end += i
			} else {
				end = len(text)
			}
			tails := fp.tails()
			b := Batch{raw: append(append([]byte{}, tails...), text[at:end]...)}
			ended = b.split(&fp, len(tails), 1<<20, Position{Number: 7}, ended)
			for _, r := range b.Records {
				got = append(got, r.Line)
				if check := slowCheck(text[:r.Next.Offset]); check != r.Next.Check {
					t.Fatalf("check at %d is %x, want %x", r.Next.Offset, r.Next.Check, check)
				}
			}
			at = end
			if fp.offset != int64(at) || fp.check() != slowCheck(text[:at]) {
				t.Fatalf("fingerprint is not that of %d bytes", at)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d lines, want %d", len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("line %d: %q, want %q", i, got[i], want[i])
			}
		}
	})
}

// slowCheck computes Check from all bytes before an offset.
func slowCheck(before []byte) uint64 {
	var fp fingerprint
	fp.extendHead(before)
	fp.moveTo(int64(len(before)), before)
	return fp.check()
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"receipt-log1.txt", "old-receipt-log12.txt", "receipt-log0.txt",
		"receipt-log01.txt", "receipt-log4294967296.txt", " receipt-log7.txt\n", "receipt-log.txt",
		"cycle-log3.txt", "receiptOverwrite-log1.txt", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range Streams {
			n, old, ok := s.parseLogName(text)
			if ok && s.logName(n, old) != text {
				t.Errorf("%q read as %v %d %v", text, s, n, old)
			}
			p, pok := s.parsePointer([]byte(text))
			if want := strings.Trim(text, " \t\r\n"); pok != (want == s.logName(p, false) && p > 0) {
				t.Errorf("pointer %q read as %d, %v", text, p, pok)
			}
			for _, o := range Streams {
				if _, _, also := o.parseLogName(text); ok && also && o != s {
					t.Errorf("%q is a log of %v and %v", text, s, o)
				}
			}
		}
	})
}

func FuzzPosition(f *testing.F) {
	f.Add(make([]byte, PositionSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < PositionSize {
			return
		}
		raw := [PositionSize]byte(b)
		p := DecodePosition(raw)
		if p.Encode() != raw || p.IsZero() != (raw == [PositionSize]byte{}) {
			t.Errorf("%x decoded as %+v", raw, p)
		}
	})
}

func TestPositionGolden(t *testing.T) {
	p := Position{Number: 0x01020304, Time: 0x05060708, Inode: 0x1112131415161718,
		Offset: 0x2122232425262728, Check: 0x3132333435363738}
	if got := fmt.Sprintf("%x",
		p.Encode()); got != "0403020108070605"+"1817161514131211"+"2827262524232221"+"3837363534333231" {
		t.Error(got)
	}
	text := []byte(strings.Repeat("0123456789", 40))
	if got := slowCheck(text); got != 0x389cd62cc4acef87 {
		t.Errorf("fingerprint %#x: stored positions would no longer match", got)
	}
	var fp fingerprint
	fp.extendHead(text)
	fp.moveTo(int64(len(text)), text)
	const before = 0x187785f4e0fb5a9d // of the older format
	if !fp.fits(before) || !fp.fits(fp.check()) || fp.fits(before+1) || fp.fits(fp.check()+1) {
		t.Error("stored positions no longer match, or all do")
	}
}
