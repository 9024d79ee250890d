// Package stats is the arithmetic of the benchmark: medians, percentiles, and
// ratios paired by round. It knows no units.
package stats

import (
	"fmt"
	"math"
	"slices"
)

// Summary is what is told of a figure that was measured in several rounds.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Rounds int     `json:"rounds"`
}

// Summarize looks at one value a round, in any order, which it leaves alone.
// Without values all is NaN.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{math.NaN(), math.NaN(), math.NaN(), 0}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Summary{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1], n}
}

// Ratios divides a by b, round by round: what disturbs a round disturbs both,
// so this is steadier than dividing the medians. It panics when the rounds are
// not the same.
func Ratios(a, b []float64) []float64 {
	if len(a) != len(b) {
		panic(fmt.Sprintf("stats: %d rounds against %d", len(a), len(b)))
	}
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return ratios
}

// Percentile is the smallest value that at least the share q of all values
// does not exceed (nearest rank); NaN without values. sorted is in ascending
// order.
func Percentile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	rank := int(math.Ceil(q*float64(len(sorted)) - 1e-9)) // 0.07×100 is a little more than 7
	return sorted[min(max(rank, 1), len(sorted))-1]
}
