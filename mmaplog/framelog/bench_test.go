package framelog

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

const benchFrame = 4300 // bytes; the mean of the firehose

// BenchmarkAppend appends and commits frames of 4.3 KB in batches, as fast as retention allows,
// including rolls, preparation, syncs and unlinks. max-µs is the longest single call.
func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(map[int]string{1: "batch=1", 64: "batch=64"}[batch], func(b *testing.B) {
			o := testOptions(benchDir(b))
			o.SegmentBytes, o.RetainBytes = DefaultSegmentBytes, 4*DefaultSegmentBytes
			w, _ := mustOpen(b, o)
			frame := make([]byte, benchFrame)
			var longest time.Duration
			b.SetBytes(benchFrame)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				began := time.Now()
				if err := w.Append(frame, Meta{Stream: 1}); err != nil {
					b.Fatal(err)
				}
				if (i+1)%batch == 0 {
					if err := w.Commit(); err != nil {
						b.Fatal(err)
					}
				}
				longest = max(longest, time.Since(began))
			}
			b.StopTimer()
			b.ReportMetric(float64(longest.Microseconds()), "max-µs")
			b.ReportMetric(float64(w.Stats().SpareWaits), "waits")
			b.ReportMetric(float64(w.Stats().Rolls), "rolls")
		})
	}
}

// BenchmarkAppendPaced appends at 250 MB/s, which two cores can sign, in batches of 16. At this
// rate the background work keeps up with the writer. ns/op is the time of the calls alone.
func BenchmarkAppendPaced(b *testing.B) {
	o := testOptions(benchDir(b))
	o.SegmentBytes, o.RetainBytes = DefaultSegmentBytes, 4*DefaultSegmentBytes
	w, _ := mustOpen(b, o)
	frame := make([]byte, benchFrame)
	var busy time.Duration
	var calls []time.Duration
	start := time.Now()
	for i := range b.N {
		if i%16 == 0 {
			for time.Since(start) < time.Duration(i)*benchFrame*time.Second/250e6 {
				runtime.Gosched()
			}
		}
		began := time.Now()
		if err := w.Append(frame, Meta{Stream: 1}); err != nil {
			b.Fatal(err)
		}
		if i%16 == 15 {
			w.Commit()
		}
		took := time.Since(began)
		busy += took
		calls = append(calls, took)
	}
	b.StopTimer()
	slices.Sort(calls)
	b.ReportMetric(float64(busy.Nanoseconds())/float64(b.N), "ns/op")
	b.ReportMetric(float64(calls[len(calls)*999/1000].Nanoseconds())/1e3, "p99.9-µs")
	b.ReportMetric(float64(calls[len(calls)-1].Nanoseconds())/1e3, "max-µs")
	b.ReportMetric(float64(w.Stats().SpareWaits), "waits")
	b.ReportMetric(float64(w.Stats().Rolls), "rolls")
}

// benchLog returns a reader of a log of about bytes bytes, in segments of the default size.
func benchLog(b *testing.B, bytes int) (Options, *Writer, *Reader) {
	o := testOptions(benchDir(b))
	o.SegmentBytes, o.RetainBytes = DefaultSegmentBytes, 4<<30
	w, _ := mustOpen(b, o)
	frame := make([]byte, benchFrame)
	for range bytes / benchFrame {
		if err := w.Append(frame, Meta{}); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		b.Fatal(err)
	}
	return o, w, mustRead(b, o.Dir)
}

var sink int

func BenchmarkFrames(b *testing.B) {
	_, _, r := benchLog(b, 60<<20)
	head := r.Head()
	b.Run("memo", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			f, err := r.Frames(benchFrame*1000, 256<<10)
			if err != nil {
				b.Fatal(err)
			}
			sink += len(f)
		}
	})
	b.Run("at-head", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if f, err := r.Frames(head, 256<<10); err != nil || f != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("to-head", func(b *testing.B) { // a client less than a slice behind: no search
		b.ReportAllocs()
		for i := range b.N {
			f, err := r.Frames(head-uint64(1+i&15)*benchFrame, 256<<10)
			if err != nil {
				b.Fatal(err)
			}
			sink += len(f)
		}
	})
	b.Run("search", func(b *testing.B) { // each client at another offset
		b.ReportAllocs()
		at := uint64(0)
		for range b.N {
			if at += 1_234_567; at > head-300<<10 {
				at -= head - 300<<10
			}
			f, err := r.Frames(at, 256<<10)
			if err != nil {
				b.Fatal(err)
			}
			sink += len(f)
		}
	})
	b.Run("FrameEnd", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, err := r.FrameEnd(uint64(i*7919) % head); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRecovery opens a log of 1 GiB that is in memory. ns/op is the time per GiB.
func BenchmarkRecovery(b *testing.B) {
	o, w, _ := benchLog(b, 1<<30)
	w.Close()
	b.SetBytes(1 << 30)
	b.ResetTimer()
	var took time.Duration
	for range b.N {
		w, rec := mustOpen(b, o)
		took += rec.Took
		b.StopTimer()
		w.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/GiB")
}

// benchDir is in memory unless FRAMELOG_BENCH_DISK is set. Else the benchmark would measure the
// disk of a shared machine.
func benchDir(b *testing.B) string {
	if os.Getenv("FRAMELOG_BENCH_DISK") != "" {
		return b.TempDir()
	}
	return memoryDir(b)
}
