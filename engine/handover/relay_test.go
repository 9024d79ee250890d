package handover

import "testing"

// places records confirmed positions, and has no connections.
type places map[string]uint64

func (p places) Confirmed(key string, offset uint64) { p[key] = offset }
func (p places) Displace(string) bool                { return false }
func (p places) Disconnect(string)                   {}

// The process to which a collector connected last knows where the collector continues.
func TestPositionsOfTheOldProcess(t *testing.T) {
	at := make(places)
	r := NewRelay(at)
	o := r.attach(false)
	old := func(offset uint64, begins bool) {
		r.receive(o, Message{Positions: []Position{{Key: "k", Offset: offset, Begins: begins}}})
	}
	ours := func(offset uint64, begins bool) { r.Reached("k", offset, begins) }
	for i, step := range []struct {
		who    func(uint64, bool)
		offset uint64
		begins bool
		want   uint64
	}{
		{old, 100, false, 100},
		{old, 200, false, 200},
		{ours, 150, true, 150}, // it connects to this process
		{old, 250, false, 150}, // late
		{ours, 300, false, 300},
		{old, 220, true, 220}, // it connects to the old process again
		{old, 240, false, 240},
		{ours, 310, false, 310}, // the last position of this process's connection crosses that
		{old, 260, false, 260},
		{ours, 50, true, 50}, // by from=
		{old, 270, false, 50},
	} {
		step.who(step.offset, step.begins)
		if at["k"] != step.want {
			t.Fatalf("step %d: it is at %d, want %d", i, at["k"], step.want)
		}
	}
}

// Positions that are confirmed while a new process is starting are recorded here too, because it
// may not take over.
func TestConfirmedDuringAHandover(t *testing.T) {
	at := make(places)
	r := NewRelay(at)
	r.attach(true)
	r.Reached("k", 100, true)
	r.Reached("k", 200, false)
	r.detach() // the handover has failed
	if at["k"] != 200 {
		t.Errorf("it is at %d, want 200", at["k"])
	}
}
