package handoff

import (
	"reflect"
	"testing"
)

// Add adds every counter: one that it forgets is missing from the metrics of workers that ended.
func TestCountersAddAll(t *testing.T) {
	var one Counters
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i).Addr().Interface().(type) {
		case *uint64:
			*f = uint64(i + 1)
		case *Histogram:
			f.Counts[i], f.Sum = uint64(i+1), float64(i+1)
		default:
			t.Fatalf("%s: the test does not know a %T", v.Type().Field(i).Name, f)
		}
	}
	var sum Counters
	for range 2 {
		sum.Add(one)
	}
	got := reflect.ValueOf(sum)
	for i := range got.NumField() {
		name := got.Type().Field(i).Name
		switch f := got.Field(i).Interface().(type) {
		case uint64:
			if want := 2 * uint64(i+1); f != want {
				t.Errorf("%s: got %d, want %d", name, f, want)
			}
		case Histogram:
			if want := 2 * uint64(i+1); f.Counts[i] != want || f.Sum != float64(want) {
				t.Errorf("%s: got %d and %v, want %d of each", name, f.Counts[i], f.Sum, want)
			}
		}
	}
}
