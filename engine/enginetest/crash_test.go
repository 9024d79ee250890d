package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"distributor/engine/simulator"
	"distributor/mmaplog/crashpoint"
	"distributor/wsproto"
	"distributor/wsproto/collector"
)

// allCrashes is the environment variable that makes TestCrashPoints try every point, not a random
// few of them.
const allCrashes = "CRASH_POINTS" // =all

// crash is a life of the primary that ends by SIGKILL when it passes a point for the n-th time.
type crash struct {
	point crashpoint.Point
	n     int
	stop  bool // the point is passed during a stop
}

func (c crash) String() string { return fmt.Sprintf("%s:%d", crashpoint.Names[c.point], c.n) }

// The crash points:
//
//	whileRunning    while frames, segments and checkpoints are written; in recoveries and stops
//	whileRetaining  while old segments are removed
//	atFirst         during the first start
//	whileNoticing   while a notice of a gap is saved
//	whileRenewing   while the log gets a new ID because of damage at its end
var (
	whileRunning = []crash{
		{point: crashpoint.FramesWritten, n: 1}, {point: crashpoint.FramesWritten, n: 20},
		{point: crashpoint.EntryWritten, n: 1}, {point: crashpoint.EntryWritten, n: 101},
		{point: crashpoint.FramesCounted, n: 1}, {point: crashpoint.FramesCounted, n: 8},
		{point: crashpoint.HeadPublished, n: 1}, {point: crashpoint.HeadPublished, n: 8},
		{point: crashpoint.SpareCreated, n: 1}, {point: crashpoint.SpareCreated, n: 3},
		{point: crashpoint.SpareMade, n: 1}, {point: crashpoint.SpareMade, n: 2},
		{point: crashpoint.IndexNamed, n: 1}, {point: crashpoint.IndexNamed, n: 2},
		{point: crashpoint.FramesNamed, n: 1}, {point: crashpoint.FramesNamed, n: 3},
		{point: crashpoint.SegmentSealed, n: 1}, {point: crashpoint.SegmentSealed, n: 2},
		{point: crashpoint.SegmentGrown, n: 1}, {point: crashpoint.SegmentGrown, n: 2},
		{point: crashpoint.SegmentTrimmed, n: 1}, {point: crashpoint.SegmentTrimmed, n: 3},
		{point: crashpoint.SegmentSynced, n: 1}, {point: crashpoint.SegmentSynced, n: 2},
		{point: crashpoint.HeadSynced, n: 1}, {point: crashpoint.HeadSynced, n: 2},
		{point: crashpoint.SyncedRaised, n: 1}, {point: crashpoint.SyncedRaised, n: 2},
		{point: crashpoint.RecoveryBegun, n: 1}, {point: crashpoint.RestRemoved, n: 1},
		{point: crashpoint.SegmentReopened, n: 1}, {point: crashpoint.Recovered, n: 1},
		{point: crashpoint.CheckpointWritten, n: 1}, {point: crashpoint.CheckpointSynced, n: 1},
		{point: crashpoint.CheckpointNamed, n: 1},
		{point: crashpoint.CheckpointWritten, n: 2, stop: true},
		{point: crashpoint.CheckpointSynced, n: 2, stop: true},
		{point: crashpoint.CheckpointNamed, n: 2, stop: true},
		{point: crashpoint.CheckpointCreated, n: 2, stop: true},
		{point: crashpoint.CollectorsCreated, n: 1, stop: true},
		{point: crashpoint.CollectorsWritten, n: 1, stop: true},
		{point: crashpoint.CollectorsSynced, n: 1, stop: true},
		{point: crashpoint.CollectorsNamed, n: 1, stop: true},
		{point: crashpoint.LogSynced, n: 1, stop: true}, {point: crashpoint.CloseSaid, n: 1, stop: true},
	}
	whileRetaining = []crash{
		{point: crashpoint.FloorRaised, n: 1}, {point: crashpoint.FloorRaised, n: 2},
		{point: crashpoint.FramesUnlinked, n: 1}, {point: crashpoint.FramesUnlinked, n: 3},
		{point: crashpoint.SegmentUnlinked, n: 1}, {point: crashpoint.SegmentUnlinked, n: 3},
	}
	atFirst = []crash{
		{point: crashpoint.RestRemoved, n: 1}, {point: crashpoint.SpareCreated, n: 1},
		{point: crashpoint.SpareMade, n: 1}, {point: crashpoint.IndexNamed, n: 1},
		{point: crashpoint.SegmentReopened, n: 1}, {point: crashpoint.HeadMade, n: 1},
		{point: crashpoint.HeadNamed, n: 1}, {point: crashpoint.Recovered, n: 1},
		{point: crashpoint.CheckpointCreated, n: 1}, {point: crashpoint.CheckpointWritten, n: 1},
		{point: crashpoint.CheckpointSynced, n: 1}, {point: crashpoint.CheckpointNamed, n: 1},
	}
	whileNoticing = []crash{
		{point: crashpoint.NoticesCreated, n: 1}, {point: crashpoint.NoticesWritten, n: 1},
		{point: crashpoint.NoticesSynced, n: 1}, {point: crashpoint.NoticesNamed, n: 1},
	}
	whileRenewing = []crash{
		{point: crashpoint.IDGivenUp, n: 1}, {point: crashpoint.RestRemoved, n: 1},
		{point: crashpoint.SegmentReopened, n: 1}, {point: crashpoint.HeadMade, n: 1},
		{point: crashpoint.HeadNamed, n: 1}, {point: crashpoint.Recovered, n: 1},
		{point: crashpoint.CheckpointWritten, n: 1},
	}
)

// some returns a few crashes, chosen by the seed; with CRASH_POINTS=all, all of them.
func some(crashes []crash, few int) []crash {
	crashes = slices.Clone(crashes)
	rng := rand.New(rand.NewPCG(*seed, uint64(len(crashes))))
	rng.Shuffle(len(crashes), func(i, j int) { crashes[i], crashes[j] = crashes[j], crashes[i] })
	if os.Getenv(allCrashes) != "all" {
		crashes = crashes[:few]
	}
	return crashes
}

// victim is a Distributor whose binary has crash points.
func victim(t *testing.T, settings Settings) *Distributor {
	t.Helper()
	d := New(t, settings)
	var err error
	if d.Binary, err = crashing(); err != nil {
		t.Fatal(err)
	}
	return d
}

// arm makes the next start end at a crash point. The returned function undoes that.
func (d *Distributor) arm(c crash) (disarm func()) {
	before := d.Env
	d.Env = append(slices.Clone(before), crashpoint.Variable+"="+c.String())
	return func() { d.Env = before }
}

// mustDie waits for the end of the primary, which must be killed at the point.
func mustDie(t *testing.T, d *Distributor, c crash) {
	t.Helper()
	if how := d.WaitEnd(); !how.Signaled() || how.Signal() != syscall.SIGKILL {
		t.Fatalf("%s: it ended by itself, with %v", c, d.cmd.ProcessState)
	}
	t.Logf("killed at %s", c)
}

// TestCrashPoints kills the primary between any two durable steps. The frame log must have every
// record once and in order. Collectors with a position must get each record once, and collectors
// without one must miss none.
func TestCrashPoints(t *testing.T) {
	if testing.Short() {
		t.Skip("many starts")
	}
	t.Run("all are tried", func(t *testing.T) {
		for i, name := range crashpoint.Names {
			tried := func(c crash) bool { return c.point == crashpoint.Point(i) }
			if name == "" || !slices.ContainsFunc(slices.Concat(whileRunning, whileRetaining, atFirst,
				whileNoticing, whileRenewing), tried) {
				t.Errorf("point %d, %q, is in no list", i, name)
			}
		}
	})
	t.Run("running", func(t *testing.T) {
		t.Parallel()
		dieAgain(t, some(whileRunning, 12), Settings{"FRAME_LOG_SEGMENT_BYTES": 64 << 10}, true)
	})
	t.Run("retaining", func(t *testing.T) {
		t.Parallel()
		dieAgain(t, some(whileRetaining, 2), Settings{"FRAME_LOG_SEGMENT_BYTES": 64 << 10,
			"FRAME_LOG_BYTES": 1 << 20}, false)
	})
	for _, c := range some(atFirst, 2) {
		t.Run("beginning/"+c.String(), func(t *testing.T) { t.Parallel(); dieAtFirst(t, c) })
	}
	for _, c := range some(whileNoticing, 2) {
		t.Run("noticing/"+c.String(), func(t *testing.T) { t.Parallel(); dieNoticing(t, c) })
	}
	for _, c := range some(whileRenewing, 2) {
		t.Run("renewing/"+c.String(), func(t *testing.T) { t.Parallel(); dieRenewing(t, c) })
	}
}

// dieAgain kills the primary at one point after the other, in one directory. The archiver is never
// further ahead of the collectors than the log reaches back. all means that the log keeps
// everything.
func dieAgain(t *testing.T, crashes []crash, settings Settings, all bool) {
	const ahead = 150 // records
	// one in 33 needs a segment of its own
	sizes := append(slices.Repeat([]int{100, 200, 400, 800}, 8), 70_000)
	d, book := victim(t, settings), NewBook()
	archiver := NewArchiver(t, ArchiverOptions{
		Dir: d.Logs, Book: book, Seed: *seed, Sizes: sizes, Noise: 0.02,
		Log: simulator.LogOptions{Generation: simulator.BytesBlank, MaxBytes: 1 << 20, MaxFiles: 1000,
			BatchLines: 4, Torn: 0.1},
	})
	write := func(n int) {
		t.Helper()
		if err := archiver.Write(n); err != nil {
			t.Fatal(err)
		}
	}
	d.Start()
	fleets := []*Fleet{NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})}
	if all {
		fleets = append(fleets, NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book,
			Forgetful: true}))
	}
	write(50)
	for _, f := range fleets {
		f.WaitTotal(book.Total())
	}
	d.Stop() // saves the position of the forgetful collector
	for _, c := range crashes {
		disarm := d.arm(c)
		d.Launch()
		if c.stop {
			d.WaitLog("distributing", func(l Line) bool { return l.Msg == "distributing" })
			write(20)
			fleets[len(fleets)-1].WaitTotal(book.Total()) // so that there is something to save
			d.Signal(syscall.SIGTERM)
		} else {
			Until(t, c.String()+" is reached", func() bool {
				if d.Running() && book.Total() < fleets[0].Least()+ahead {
					write(10)
				}
				return !d.Running()
			}, func() string { return fmt.Sprintf("%d records; %v", book.Total(), fleets[0]) })
		}
		mustDie(t, d, c)
		disarm()
	}
	d.Start()
	write(50)
	for _, f := range fleets {
		f.WaitTotal(book.Total())
		f.CheckSame()
	}
	if all {
		late := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
		late.WaitTotal(book.Total())
		late.CheckSame()
	} else if floor := mustServeRest(t, d, book); floor == 0 {
		t.Error("the floor is 0, want old segments removed")
	}
	for _, what := range []string{"frame log: DAMAGE", "data log: records may be missing",
		"checkpoint not used", "returning collectors start live"} {
		if said := d.Log(func(l Line) bool { return strings.Contains(l.Msg, what) }); len(said) > 0 {
			t.Errorf("unexpected line in the log: %s", said[0].Text)
		}
	}
	d.Stop()
	mustBeTidy(t, d)
}

// dieAtFirst kills the first start. Records from before it must not be sent, records after it must.
func dieAtFirst(t *testing.T, c crash) {
	d := victim(t, nil)
	old := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: NewBook(), Sizes: []int{100}})
	if err := old.Write(30); err != nil {
		t.Fatal(err)
	}
	disarm := d.arm(c)
	d.Launch()
	mustDie(t, d, c)
	disarm()
	d.Start()
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{100}})
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
	if err := archiver.Write(20); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(20)
	fleet.CheckSame()
	d.Stop()
	mustBeTidy(t, d)
}

// dieRenewing kills the start that finds the newest frames damaged. Their records must be read
// again, under one new ID, however often the start is killed.
func dieRenewing(t *testing.T, c crash) {
	d, book := victim(t, nil), NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{100, 3000}})
	d.Start()
	if err := archiver.Write(100); err != nil {
		t.Fatal(err)
	}
	early := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
	early.WaitTotal(100)
	begin, head := Bounds(t, d.URL)
	early.Stop()
	d.Stop()
	damage(t, d.segments(t)[0], int64(head.Offset)-1, []byte{0xff})
	rebooted(t, d)
	disarm := d.arm(c)
	d.Launch()
	mustDie(t, d, c)
	disarm()
	d.Start()
	if err := archiver.Write(20); err != nil {
		t.Fatal(err)
	}
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
	fleet.WaitTotal(120)
	fleet.CheckSame()
	if floor, _ := Bounds(t, d.URL); floor.Log == head.Log {
		t.Error("the frame log has its old ID, want a new one after committed frames were given up")
	}
	// Positions under the old ID are valid as far as its frames are still there.
	MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: begin.String()})
	var refused *collector.RefusedError
	_, err := Connect(t, d.URL, PeerOptions{Key: newKey(t), From: head.String()})
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, `"from":"`) {
		t.Errorf("a position of a frame that was given up: %v", err)
	}
	d.Stop()
	mustBeTidy(t, d)
}

// dieNoticing kills the primary while it saves the notice of a gap. After the next start,
// collectors that ask for notices must get it at its place in the stream.
func dieNoticing(t *testing.T, c crash) {
	d := victim(t, nil)
	receipts(t, d, 1, 1, 1, false)
	disarm := d.arm(c)
	d.Start()
	receipts(t, d, 1, 2, 2, true)
	floor, _ := Bounds(t, d.URL)
	asking := PeerOptions{Key: newKey(t), From: floor.String(), Notices: wsproto.NoticeGap}
	p := MustConnect(t, d.URL, asking)
	Until(t, "the first record", func() bool { return len(p.Texts()) == 1 }, nil)
	receipts(t, d, 3, 3, 3, false) // log 2 came and went
	mustDie(t, d, c)
	disarm()
	d.Start()
	p = MustConnect(t, d.URL, asking)
	Until(t, "all", func() bool { return slices.Contains(numbersAndGaps(t, p.Texts()), "3") }, nil)
	// A notice that was saved when the process was killed may come twice.
	got := slices.Compact(numbersAndGaps(t, p.Texts()))
	if !slices.Equal(got, []string{"2", "gap", "3"}) {
		t.Errorf("got %v, want [2 gap 3]", got)
	}
	d.Stop()
	mustBeTidy(t, d)
}

// segments returns the paths of the frames files, oldest first.
func (d *Distributor) segments(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(d.Dir, "state", "frames", "*.frames"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no segments in %s: %v", d.Dir, err)
	}
	slices.Sort(paths)
	return paths
}

// mustBeTidy checks that killed processes have left no extra files.
func mustBeTidy(t testing.TB, d *Distributor) {
	t.Helper()
	known := map[string]bool{"checkpoint.json": true, "collectors.json": true, "notices.json": true,
		"head": true, "lock": true}
	halves := make(map[string]int)
	for _, dir := range []string{filepath.Join(d.Dir, "state"),
		filepath.Join(d.Dir, "state", "frames")} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			base, segment := strings.CutSuffix(strings.TrimSuffix(f.Name(), ".index"), ".frames")
			if segment || base != f.Name() {
				halves[base]++
			} else if !f.IsDir() && !known[f.Name()] {
				t.Errorf("%s was left behind", f.Name())
			}
		}
	}
	for base, n := range halves {
		if n != 2 || len(base) != 16 {
			t.Errorf("of segment %s %d files were left behind", base, n)
		}
	}
}

// TestNoCrashPointsInTheBinary checks that the normal binary has no crash points.
func TestNoCrashPointsInTheBinary(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{crashpoint.Variable, crashpoint.Names[crashpoint.SegmentGrown]} {
		if bytes.Contains(text, []byte(words)) {
			t.Errorf("the binary contains %q", words)
		}
	}
}
