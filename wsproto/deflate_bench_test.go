package wsproto

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// benchFrames are frames of the realistic mix that rates are given for (wsproto/shardus): 70 %
// receipts of 4.6 to 7.1 KB, 28 % originalTx of about 1 KB, 2 % cycles of 6 KB and more.
func benchFrames(tb testing.TB) (frames [][]byte, mean int) {
	tb.Helper()
	f, err := os.Open("shardus/testdata/vectors.jsonl.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	kinds := map[string][][]byte{}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var v struct{ Stream, Tier, Input, Message string }
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			tb.Fatal(err)
		}
		size := len(v.Input)
		if v.Tier == "realistic" &&
			(v.Stream == "cycle" && size > 6000 || v.Stream == "originalTx" && size > 900 ||
				v.Stream == "receipt" && size < 7200) {
			kinds[v.Stream] = append(kinds[v.Stream], AppendTextFrame(nil, []byte(v.Message)))
		}
	}
	for i := range 100 {
		stream := "receipt"
		switch {
		case i%50 == 10:
			stream = "cycle"
		case i%25 < 7:
			stream = "originalTx"
		}
		frame := kinds[stream][i%len(kinds[stream])]
		frames = append(frames, frame)
		mean += len(frame)
	}
	return frames, mean / len(frames)
}

// The ratio depends on the records. Half of a record is hex digits, which compress to half at best:
// 0.40 of what the simulator writes, 0.44 of this mix, whose receipts are short, at level 1; 0.02
// less at level 9.
func TestDeflateRatio(t *testing.T) {
	frames, mean := benchFrames(t)
	d, err := NewDeflater(MinDeflateLevel)
	if err != nil {
		t.Fatal(err)
	}
	out := 0
	for _, frame := range frames {
		small, err := d.Frame(frame)
		if err != nil || small == nil {
			t.Fatal(err)
		}
		out += len(small)
	}
	if ratio := float64(out) / float64(mean*len(frames)); ratio > 0.45 {
		t.Errorf("%.3f of the plain bytes", ratio)
	}
	i := 0
	if allocs := testing.AllocsPerRun(200, func() {
		_,
			_ = d.Frame(frames[i%len(frames)])
		i++
	}); allocs != 0 {
		t.Errorf("%v allocations a frame", allocs)
	}
}

// One iteration is one record of the mix.
func BenchmarkDeflate(b *testing.B) {
	frames, mean := benchFrames(b)
	for _, level := range []int{1, 2, 3, 4, 5, 6, 7, 9} {
		b.Run(fmt.Sprint("level ", level), func(b *testing.B) {
			d, err := NewDeflater(level)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(mean))
			b.ReportAllocs()
			in, out, i := 0, 0, 0
			for b.Loop() {
				frame := frames[i%len(frames)]
				small, err := d.Frame(frame)
				if err != nil || small == nil {
					b.Fatal(err)
				}
				in, out, i = in+len(frame), out+len(small), i+1
			}
			b.ReportMetric(float64(out)/float64(in), "of-plain")
		})
	}
}
