package enginetest

import (
	"fmt"
	"slices"
	"testing"
)

// TestPlans checks that a seed always gives the same plan, and that the fixed seeds use all
// actions.
func TestPlans(t *testing.T) {
	taken, habits := make(map[string]bool), make(map[Habit]bool)
	// The race detector's runs have only the first two.
	for i, want := range []string{"the power is lost", "the disk is full for a while"} {
		p := NewPlan(fixedSeeds[i])
		takes := func(s Turn) bool { return s.Action == want }
		if p.Disk == "" || p.Power && p.Disk != "ext4" || !slices.ContainsFunc(p.Turns, takes) {
			t.Errorf("%q is not what happens to a disk in this plan:\n%v", want, p)
		}
	}
	for _, seed := range fixedSeeds {
		p := NewPlan(seed)
		if again := NewPlan(seed); fmt.Sprintf("%+v", p) != fmt.Sprintf("%+v", again) {
			t.Errorf("seed %d makes two plans:\n%v%v", seed, p, again)
		}
		for _, s := range p.Turns {
			taken[s.Action] = true
		}
		for _, w := range p.Parts {
			habits[w.Habit] = true
		}
	}
	for _, a := range actions {
		if !taken[a.name] {
			t.Errorf("%q is in none of the fixed plans: choose other seeds", a.name)
		}
	}
	for _, h := range []Habit{Plain, Live, Tracks, Pinged} {
		if !habits[h] {
			t.Errorf("no witness of the fixed plans is %q", h)
		}
	}
}
