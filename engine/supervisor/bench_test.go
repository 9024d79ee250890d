package supervisor

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"distributor/wsproto"
)

// BenchmarkConnect measures hand-offs to a real process that closes each socket and reports that:
// one after another, and many in parallel, as net/http's goroutines make them.
func BenchmarkConnect(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", parallel*runtime.GOMAXPROCS(0)), func(b *testing.B) {
			f := start(b, "acknowledge", 1, 1, 1<<20)
			client, server := socket(b)
			defer client.Close()
			defer server.Close()
			raw, err := server.SyscallConn()
			if err != nil {
				b.Fatal(err)
			}
			_ = raw.Control(func(fd uintptr) {
				cl := Client{From: 1 << 40, Response: make([]byte, 130)}
				var n atomic.Int64
				b.ReportAllocs()
				b.SetParallelism(parallel)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						c := cl
						c.Key = fmt.Sprintf("%064x", n.Add(1))
						if err := f.Connect(b.Context(), c, int(fd)); err != nil {
							b.Error(err)
							return
						}
					}
				})
				f.wantClosed(wsproto.ClientGone, uint64(b.N)) // the worker got all of them
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handoffs/s")
			})
		})
	}
}

func BenchmarkWake(b *testing.B) {
	for _, workers := range []int{1, 4} {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			f := start(b, "", workers, workers, 1)
			for i := range workers {
				c, err := f.connect(b.Context(), Client{Key: fmt.Sprint(i)})
				if err != nil {
					b.Fatal(err)
				}
				<-c.greeted
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				f.Wake()
			}
			b.StopTimer()
		})
	}
}
