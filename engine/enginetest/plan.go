package enginetest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"distributor/engine/simulator"
)

// Plan has all choices that follow from a seed: what is written, what the collectors are like, and
// which actions are run. Actions run after a number of records, never at a time.
type Plan struct {
	Seed     uint64
	Profile  string // of the records: "small", "mixed" or "large"
	Most     int    // highest number of records of a turn
	Sizes    []int  // of records, in bytes
	Noise    float64
	Log      simulator.LogOptions
	Before   int    // records before the first start, which no collector gets
	Retain   int64  // FRAME_LOG_BYTES, if it is small; 0: retention removes nothing
	Resume   bool   // RESUME_WINDOW_MS is not 0
	Disk     string // file system of STATE_DIR: "ext4", "tmpfs"; "": a plain directory
	Power    bool   // some turn has a loss of power, so the archiver keeps all logs
	Settings Settings
	Parts    []Part
	Turns    []Turn
}

// Habit says from where a witness asks to continue when it reconnects.
type Habit string

// The habits.
const (
	Plain  Habit = "plain"  // sends no position, as an unmodified collector
	Live   Habit = "live"   // sends from=live: no earlier records
	Tracks Habit = "tracks" // sends the position of the end of what it has, which it computes
	Pinged Habit = "pinged" // sends the position in the last ping
)

// Part describes one witness.
type Part struct {
	Habit    Habit
	Earliest bool   // begins with the oldest frame, else with the next one
	Slow     bool   // reads slowly, with a small buffer
	Compress bool   // offers permessage-deflate
	Eager    bool   // sends a ping with its upgrade request
	Asks     bool   // finds out by its own pings which of its pongs the primary knows
	Thin     bool   // reads at most half of what the chronicle has, until the end of the trial
	Answers  string // to pings: "late", when the next ping comes; "never"; "", at once
}

// Turn is one step of a trial: Write records are written; when the chronicle has Share of them, the
// action runs, while the others are still sent.
type Turn struct {
	Write  int
	Share  float64
	Action string
	Seed   uint64 // of the action's choices
}

// NewPlan makes the plan of a seed.
func NewPlan(seed uint64) Plan {
	rng := rand.New(rand.NewPCG(seed, 0x6a75646765))
	pick := func(of ...int) int { return of[rng.IntN(len(of))] }
	p := Plan{Seed: seed, Resume: rng.IntN(4) > 0, Before: pick(0, 0, 1, 30)}
	p.Log = simulator.LogOptions{
		Generation: [...]simulator.Generation{
			simulator.Entries, simulator.Bytes, simulator.BytesBlank,
		}[rng.IntN(3)],
		MaxFiles: pick(6, 10, 20), BatchLines: pick(0, 1, 4, 50),
		Torn: [...]float64{0, 0.1, 0.3}[rng.IntN(3)], TornPause: 200_000,
	}
	p.Noise = [...]float64{0, 0.02, 0.2}[rng.IntN(3)]
	var least, most int
	switch n := rng.IntN(10); {
	case n < 5: // large enough that a log is identified by its content (mmaplog/datalog/doc.go)
		p.Profile, p.Sizes, least, most = "small", []int{64, 80, 150, 400, 6000}, 20, 200
		p.Log.MaxEntries, p.Log.MaxBytes = pick(4, 15, 80), int64(pick(3_000, 15_000, 100_000))
	case n < 7:
		p.Profile, p.Sizes, least, most = "mixed", []int{100, 1200, 5800, 8000, 70_000}, 10, 80
		p.Log.MaxEntries, p.Log.MaxBytes = pick(5, 20, 100), int64(pick(30_000, 200_000))
	default:
		p.Profile, p.Sizes, least, most = "large", []int{200, 20_000, 70_000, 300_000}, 8, 36
		p.Log.MaxEntries, p.Log.MaxBytes = pick(5, 20), int64(pick(200_000, 1_000_000))
	}
	p.Settings = Settings{
		"FRAME_LOG_SEGMENT_BYTES": pick(64<<10, 64<<10, 256<<10, 1<<20),
		"NUMBER_OF_WORKERS":       pick(0, 1, 2, 3), "MAX_CLIENTS_PER_CHILD": pick(1, 2, 3, 100),
		"DRAIN_MS": pick(0, 200, 1000), "FILE_STREAM_INTERVAL_MS": pick(5, 100),
		"HANDOVER_DRAIN_MS": 2000, "COMPRESSION_LEVEL": pick(0, 1, 1),
		"LINGER_MS": pick(0, 0, 30, 200),
	}
	if !p.Resume {
		p.Settings["RESUME_WINDOW_MS"] = 0
	}
	if p.Profile == "small" && rng.IntN(4) == 0 {
		p.Retain = int64(pick(128<<10, 512<<10))
		p.Settings["FRAME_LOG_BYTES"], p.Settings["FRAME_LOG_SEGMENT_BYTES"] = p.Retain, 64<<10
		least, most = 100, 300
	}
	p.Most = most
	p.Disk = [...]string{"", "", "", "", "", "tmpfs", "tmpfs", "ext4", "ext4", "ext4"}[rng.IntN(10)]
	// The first is the chronicle. The verdict compares all others with its order.
	p.Parts = []Part{{Habit: Tracks, Earliest: true}, {Habit: Plain, Asks: true}}
	for range 2 + rng.IntN(4) {
		p.Parts = append(p.Parts, p.part(rng))
	}
	for i, n := 0, 3+rng.IntN(4); i < n; i++ {
		s := Turn{
			Write: least + rng.IntN(most-least), Share: [...]float64{0, 0.2, 0.7, 1}[rng.IntN(4)],
			Action: drawAction(rng).name, Seed: rng.Uint64(),
		}
		p.Turns = append(p.Turns, s)
		p.Power = p.Power || losesPower[s.Action]
	}
	if p.Power { // records that the frame log loses are read again
		p.Log.MaxFiles = 10_000
		if p.Retain > 0 { // and must be kept until the chronicle has reconnected
			p.Retain = max(p.Retain, 256<<10)
			p.Settings["FRAME_LOG_BYTES"] = p.Retain
		}
	}
	return p
}

func (p *Plan) part(rng *rand.Rand) Part {
	q := Part{
		Habit:    [...]Habit{Plain, Plain, Plain, Live, Tracks, Pinged, Pinged}[rng.IntN(7)],
		Earliest: rng.IntN(3) == 0, Slow: rng.IntN(4) == 0,
		Asks: rng.IntN(2) == 0, Eager: rng.IntN(3) == 0,
		Compress: rng.IntN(3) == 0, Thin: rng.IntN(6) == 0,
		Answers: [...]string{"", "", "", "", "late", "never"}[rng.IntN(6)],
	}
	q.Asks = q.Asks && q.Answers == ""
	return q
}

// String describes the plan in a few lines, for a failure.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %s records, generation %s, at most %d files of %d entries or %d bytes, "+
		"%d lines a write, %v torn, %v noise, %d records before; disk %q; settings %v\n",
		p.Seed, p.Profile, p.Log.Generation, p.Log.MaxFiles, p.Log.MaxEntries, p.Log.MaxBytes,
		p.Log.BatchLines, p.Log.Torn, p.Noise, p.Before, p.Disk, p.Settings)
	for i, w := range p.Parts {
		fmt.Fprintf(&b, "  witness %d: %+v\n", i, w)
	}
	for i, s := range p.Turns {
		fmt.Fprintf(&b, "  turn %d: %d records, the chronicle has %v of them, then: %s\n",
			i, s.Write, s.Share, s.Action)
	}
	return b.String()
}
