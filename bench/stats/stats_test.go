package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Summary
	}{
		{[]float64{3}, Summary{3, 3, 3, 1}},
		{[]float64{9, 1}, Summary{5, 1, 9, 2}},
		{[]float64{5, 1, 100}, Summary{5, 1, 100, 3}},
		{[]float64{4, 1, 2, 3}, Summary{2.5, 1, 4, 4}},
	} {
		before := slices.Clone(c.values)
		if got := Summarize(c.values); got != c.want {
			t.Errorf("%v: %+v, not %+v", c.values, got, c.want)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("%v was changed to %v", before, c.values)
		}
	}
	if got := Summarize(nil); !math.IsNaN(got.Median) || got.Rounds != 0 {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestRatiosArePairedByRound(t *testing.T) {
	// The medians' ratio would be 1; each round says 2.
	if got := Ratios([]float64{2, 4, 8}, []float64{1, 2, 4}); !slices.Equal(got, []float64{2, 2, 2}) {
		t.Error(got)
	}
	defer func() {
		if recover() == nil {
			t.Error("rounds without a partner were taken")
		}
	}()
	Ratios([]float64{1, 2}, []float64{1})
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for _, c := range []struct{ q, want float64 }{{0, 1}, {0.07, 7}, {0.5, 50}, {0.501, 51}, {0.99, 99}, {0.999, 100}, {1, 100}} {
		if got := Percentile(hundred, c.q); got != c.want {
			t.Errorf("%v: %v, not %v", c.q, got, c.want)
		}
	}
	if got := Percentile([]float64{7}, 0.999); got != 7 {
		t.Error(got)
	}
	if got := Percentile(nil, 0.5); !math.IsNaN(got) {
		t.Error(got)
	}
}

// The definition itself, on chance values: enough are at most the percentile,
// and fewer are below it.
func TestPercentileIsNearestRank(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		values := make([]float64, 1+r.IntN(50))
		for i := range values {
			values[i] = float64(r.IntN(20))
		}
		slices.Sort(values)
		q := float64(1+r.IntN(1000)) / 1000
		p := Percentile(values, q)
		var atMost, below float64
		for _, v := range values {
			if v <= p {
				atMost++
			}
			if v < p {
				below++
			}
		}
		need := q * float64(len(values))
		if atMost < need-1e-9 || below >= need {
			t.Fatalf("%v of %v is %v", q, values, p)
		}
	}
}
