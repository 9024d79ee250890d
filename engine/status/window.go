package status

import (
	"time"

	"distributor/engine/handoff"
)

// recent is the time span of the percentiles.
const recent = 10 * time.Second

// window computes a histogram of the recent past from histograms that only grow.
type window struct{ past []moment }

type moment struct {
	at time.Time
	h  handoff.Histogram
}

// latency returns the Latency at the time now, from the histogram since the start and the largest
// of the recent values.
func (w *window) latency(now time.Time, h handoff.Histogram, largest float64) Latency {
	for len(w.past) > 1 && now.Sub(w.past[1].at) >= recent {
		w.past = w.past[1:]
	}
	var grown handoff.Histogram
	if len(w.past) > 0 {
		for i, n := range w.past[0].h.Counts {
			grown.Counts[i] = h.Counts[i] - min(n, h.Counts[i])
		}
	}
	w.past = append(w.past, moment{now, h})
	all := histogram(handoff.LatencyBounds, h)
	out := Latency{Bounds: all.Bounds, Counts: all.Counts, SumSecs: all.Sum}
	in := histogram(handoff.LatencyBounds, grown)
	if in.total() > 0 {
		out.P50, out.P99, out.Max = in.Quantile(0.5, largest), in.Quantile(0.99, largest), largest
	}
	return out
}

func (h Histogram) total() int64 {
	if len(h.Counts) == 0 {
		return 0
	}
	return h.Counts[len(h.Counts)-1]
}

// Quantile estimates the value that the fraction q (0 to 1) of all values does not exceed, like
// Prometheus: the values of a bucket are assumed to be evenly distributed. The largest value, if it
// is known and not 0, limits the estimate and is the end of the last bucket. Without values,
// Quantile returns 0.
func (h Histogram) Quantile(q, largest float64) float64 {
	if h.total() == 0 {
		return 0
	}
	rank := q * float64(h.total())
	i := 0
	for i < len(h.Counts)-1 && float64(h.Counts[i]) < rank {
		i++
	}
	var from, before float64
	if i > 0 {
		from, before = h.Bounds[i-1], float64(h.Counts[i-1])
	}
	to := max(from, largest)
	if i < len(h.Bounds) {
		to = h.Bounds[i]
	}
	v := from
	if in := float64(h.Counts[i]) - before; in > 0 {
		v += (to - from) * (rank - before) / in
	}
	if largest > 0 {
		v = min(v, largest)
	}
	return v
}
