package handoff

// buckets is the number of buckets of a Histogram.
const buckets = 16

// Bounds are the upper bounds of a Histogram's buckets, ascending. The last bucket has no upper
// bound.
type Bounds [buckets - 1]float64

// LatencyBounds are in seconds, LagBounds in bytes. They are not sent, because both ends of the
// channel are the same binary.
var (
	LatencyBounds = Bounds{
		50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 200e-3,
		500e-3, 1, 2,
	}
	LagBounds = Bounds{
		0, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10,
		1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20,
		1 << 30, 4 << 30, 16 << 30, 64 << 30,
	}
)

// Histogram counts values by bucket. The zero value is ready for use, by one goroutine at a time.
type Histogram struct {
	Counts [buckets]uint64 `json:"counts"`
	Sum    float64         `json:"sum"` // of the values
}

// Observe counts v. All calls for one Histogram must use the same bounds.
func (h *Histogram) Observe(bounds *Bounds, v float64) {
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	h.Counts[i]++
	h.Sum += v
}

// Add adds the counts of o.
func (h *Histogram) Add(o Histogram) {
	for i, n := range o.Counts {
		h.Counts[i] += n
	}
	h.Sum += o.Sum
}
