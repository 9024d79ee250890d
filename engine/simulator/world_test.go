package simulator

import "testing"

func TestSizes(t *testing.T) {
	for _, seed := range []string{"a", "b", "c"} {
		w := NewWorld(seed, 1)
		for _, s := range Streams {
			var b []byte
			n := 0
			for range 4000 {
				b = w.Append(b[:0], s, 1757400000000)
				n += len(b)
				if s == OriginalTx {
					w.inLine = 0
				}
			}
			t.Log(seed, s, n/4000)
		}
	}
}
func BenchmarkWorld(b *testing.B) {
	for _, s := range Streams {
		b.Run(s, func(b *testing.B) {
			w := NewWorld("bench", 1)
			var buf []byte
			n := 0
			for b.Loop() {
				buf = w.Append(buf[:0], s, 1757400000000)
				n += len(buf)
			}
			b.SetBytes(int64(n / b.N))
			b.ReportAllocs()
		})
	}
}
