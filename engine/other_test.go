package engine

import (
	"log/slog"
	"testing"
	"time"

	"distributor/engine/resume"
	"distributor/engine/succession"
	"distributor/engine/supervisor"
)

// Where a collector goes on is the word of the primary to which it came last.
func TestWordsOfTheElder(t *testing.T) {
	collectors, err := resume.Open(t.TempDir(), "log", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	workers, err := supervisor.New(supervisor.Options{Command: []string{"-"}, Log: slog.New(slog.DiscardHandler), Limits: supervisor.Limits{Max: 1, MaxClients: 1}})
	if err != nil {
		t.Fatal(err)
	}
	p := &primary{collectors: collectors, workers: workers}
	o := newOther(false)
	p.other.Store(o)
	elder := func(offset uint64, begins bool) {
		p.hear(o, succession.Message{Positions: []succession.Position{{Key: "k", Offset: offset, Begins: begins}}})
	}
	ours := func(offset uint64, begins bool) { p.reached("k", offset, begins) }
	for i, step := range []struct {
		who    func(uint64, bool)
		offset uint64
		begins bool
		want   uint64
	}{
		{elder, 100, false, 100},
		{elder, 200, false, 200},
		{ours, 150, true, 150},   // it has come to us
		{elder, 250, false, 150}, // late
		{ours, 300, false, 300},
		{elder, 220, true, 220}, // it has gone back
		{elder, 240, false, 240},
		{ours, 310, false, 310}, // our connection's last word crosses that
		{elder, 260, false, 260},
		{ours, 50, true, 50}, // by from=
		{elder, 270, false, 50},
	} {
		step.who(step.offset, step.begins)
		if got, _ := collectors.Offset("k"); got != step.want {
			t.Fatalf("step %d: it is at %d, want %d", i, got, step.want)
		}
	}
}

// What collectors confirm while a new process is starting is known here too: it may not take over.
func TestConfirmedDuringAHandover(t *testing.T) {
	collectors, err := resume.Open(t.TempDir(), "log", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p := &primary{collectors: collectors}
	p.other.Store(newOther(true))
	p.reached("k", 100, true)
	p.reached("k", 200, false)
	p.other.Store(nil) // the handover has failed
	if got, _ := collectors.Offset("k"); got != 200 {
		t.Errorf("it is at %d, want 200", got)
	}
}
