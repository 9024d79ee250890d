package enginetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"distributor/mmaplog/datalog"
	"distributor/wsproto"
)

// Trial carries out one plan with the real binary. It belongs to one goroutine; each witness runs
// in its own.
type Trial struct {
	t        testing.TB
	plan     Plan
	tally    *Tally
	d        *Distributor
	book     *Book
	archiver *Archiver

	chronicle *Witness
	witnesses []*Witness // all, the chronicle first
	running   sync.WaitGroup

	origin     wsproto.Position // head of the frame log before the first record
	life       atomic.Int64     // number of the distributor's lives that have ended
	cuts       atomic.Int64     // calls of mayCut; odd: connections may end now
	inHandover atomic.Bool      // an old and a new primary run
	ends       []ending         // of each life

	noWait          bool // the distributor cannot read on, so write must not wait for it
	workerKilled    bool // an action killed a worker in this life
	diskFailed      bool // the disk had a fault in this life
	syncFailed      bool // the disk had a fault since the machine started: syncs may have failed
	handoverMayFail bool // an action made a handover fail in this life
	timesChanged    bool // the data logs' times do not tell their order

	binary       string       // under test; the distributor's binary is a link to it
	pingTimeouts atomic.Int64 // odd: collectors that answer no ping are closed soon
	endUnknown   atomic.Bool  // after a loss of power, until the frame log's end is known
	epochsMu     sync.Mutex   // guards epochs, which witnesses read
	epochs       []epoch
	oldFiles     oldState

	// rotationsRead are the rotations when the chronicle last had all records.
	rotationsRead datalog.PerStream[int64]
	unread        int64 // bytes written since then
}

// ending says how a life of the distributor ended and which positions of collectors it saved.
type ending struct {
	killed     bool
	remembered map[string]uint64
	log        string // ID of the frame log that the offsets belong to
}

// batchRecords is how many records write writes at a time.
const batchRecords = 20

// runTrial carries out the plan of a seed. binary is the one that Build made, or a mutant. It
// returns whether the trial failed and its messages.
func runTrial(t testing.TB, seed uint64, binary string, tally *Tally) (failed bool, log string) {
	plan := NewPlan(seed)
	failed, log = capture(t, func(tb testing.TB) {
		tr := &Trial{t: tb, plan: plan, tally: tally, book: NewBook()}
		tr.run(binary)
	})
	tally.done(&plan, failed)
	return failed, log
}

func (t *Trial) run(binary string) {
	t.d = New(t.t, t.plan.Settings)
	t.binary, t.d.Binary = binary, filepath.Join(t.d.Dir, "distributor")
	replaceBinary(t.t, t.d, binary)
	t.d.Env = append(t.d.Env, badSuccessor+"="+toldByFile)
	t.mountState()
	if t.plan.Before > 0 {
		NewArchiver(t.t, ArchiverOptions{
			Dir: t.d.Logs, Book: NewBook(), Seed: ^t.plan.Seed, Sizes: []int{100}, Log: t.plan.Log,
		}).mustWrite(t.t, t.plan.Before)
	}
	t.d.Start()
	_, t.origin = Bounds(t.t, t.d.URL)
	begin := t.origin.Offset
	t.epochs = []epoch{{
		id: t.origin.Log, start: begin, floor: span{begin, begin}, cut: math.MaxUint64,
	}}
	t.archiver = NewArchiver(t.t, ArchiverOptions{
		Dir: t.d.Logs, Book: t.book, Seed: t.plan.Seed, Sizes: t.plan.Sizes, Noise: t.plan.Noise,
		Log: t.plan.Log,
	})
	t.t.Cleanup(t.endWitnesses)
	for _, p := range t.plan.Parts {
		t.addWitness(p)
	}
	t.until("every witness is connected", func() bool {
		return t.all(func(w *Witness) bool { return len(w.visits) > 0 })
	})
	for _, s := range t.plan.Turns {
		before := t.book.Total()
		t.saveOldFiles()
		t.write(s.Write)
		due := before + int(s.Share*float64(s.Write))
		t.until("the chronicle has its share", func() bool { return t.chronicleCount() >= due })
		t.action(s)
		t.check()
	}
	t.conclude()
}

func (t *Trial) action(s Turn) {
	for _, a := range actions {
		if a.name == s.Action {
			a.do(t, rand.New(rand.NewPCG(s.Seed, 0)))
			return
		}
	}
	t.t.Fatalf("there is no action %q", s.Action)
}

// conclude waits until every witness has the last records, stops the distributor, and judges.
func (t *Trial) conclude() {
	for _, w := range t.witnesses {
		w.readFast()
		w.connect()
	}
	// Every witness must get the last record of each stream. If a witness finds only now that it
	// was cut and begins live after that record, one more round is needed.
	for done := false; !done; {
		t.ok(t.archiver.WriteEach())
		t.catchUp()
		t.until("every witness has the last records", func() bool { return t.complete(false) })
		done = t.complete(true)
	}
	t.until("pings that came with an upgrade request are answered", func() bool {
		return t.all(func(w *Witness) bool {
			return !w.part.Eager || w.now != nil && w.now.eagerAnswered
		})
	})
	if t.plan.Seed%3 == 0 {
		t.waitQuiet()
	}
	floor, head := Bounds(t.t, t.d.URL)
	t.addWitness(Part{Habit: Tracks, Earliest: true})
	t.until("a late collector has all that is kept", func() bool { return t.complete(true) })
	t.check()
	t.mayCut()
	t.checkLog()
	t.d.Stop()
	t.ended(false)
	t.endWitnesses()
	v := verdict{trial: t, floor: floor, head: head}
	if err := v.check(); err != nil {
		t.t.Fatal(err)
	}
}

// addWitness adds a witness and starts it. The first is the chronicle.
func (t *Trial) addWitness(p Part) *Witness {
	w := newWitness(t, fmt.Sprint(len(t.witnesses)), p)
	if t.chronicle == nil {
		t.chronicle = w
		w.mu.Lock()
		w.end = &t.origin
		w.mu.Unlock()
	}
	t.witnesses = append(t.witnesses, w)
	t.running.Go(w.run)
	return w
}

// endWitnesses ends all witnesses and waits for their goroutines.
func (t *Trial) endWitnesses() {
	for _, w := range t.witnesses {
		w.stop()
	}
	t.running.Wait()
}

// anyAnswering returns a random witness, not the chronicle, that answers its pings and reads
// without a limit.
func (t *Trial) anyAnswering(rng *rand.Rand) *Witness {
	for {
		// The second witness always fits.
		if w := t.anyWitness(rng); w.part.Answers == "" && !w.part.Thin {
			return w
		}
	}
}

// anyWitness returns a random witness, not the chronicle.
func (t *Trial) anyWitness(rng *rand.Rand) *Witness {
	return t.witnesses[1+rng.IntN(len(t.witnesses)-1)]
}

// write writes n records in batches. It waits for the chronicle if more records could push out data
// logs or frames that were not read. If it cannot wait, it writes fewer records.
func (t *Trial) write(n int) {
	for n > 0 {
		k := min(batchRecords, n, t.room())
		if k <= 0 {
			if t.noWait || !t.d.Running() {
				return
			}
			t.catchUp()
			continue
		}
		before := t.archived()
		t.ok(t.archiver.Write(k))
		t.unread += t.archived() - before
		n -= k
	}
}

// room returns how many records can be written before a data log or frame may be deleted that the
// chronicle has not read. A log is deleted MaxFiles-1 rotations after it was left. A record, and
// the noise after it, cause at most one rotation each.
func (t *Trial) room() int {
	if t.plan.Retain > 0 && t.unread > t.plan.Retain/4 {
		return 0
	}
	left := int64(t.plan.Log.MaxFiles - 1)
	for _, s := range datalog.Streams {
		rotations := t.archiver.rotations(s) - t.rotationsRead[s]
		left = min(left, int64(t.plan.Log.MaxFiles-1)-rotations)
	}
	return int(left / 2)
}

// archived returns about how many bytes the data logs have.
func (t *Trial) archived() (n int64) {
	for _, s := range datalog.Streams {
		n += t.archiver.logs[s].Stats().Bytes
	}
	return n
}

// catchUp waits until the chronicle has all that was written.
func (t *Trial) catchUp() {
	t.until("the chronicle has all that was written", func() bool {
		return t.chronicle.complete(t.book.Counts(), true)
	})
	for _, s := range datalog.Streams {
		t.rotationsRead[s] = t.archiver.rotations(s)
	}
	t.unread = 0
}

// waitQuiet waits until every witness has all records and was pinged after the last one.
func (t *Trial) waitQuiet() {
	for _, w := range t.witnesses {
		w.readFast()
	}
	defer func() {
		for _, w := range t.witnesses {
			w.update(func() { w.fast = false })
		}
	}()
	t.until("every witness was pinged after its last message", func() bool {
		return t.chronicle.complete(t.book.Counts(), true) && t.pingedAtEnd()
	})
}

func (t *Trial) pingedAtEnd() bool {
	for _, w := range t.witnesses {
		if !w.pingedAtEnd() {
			return false
		}
	}
	return true
}

// complete reports whether every witness has the newest records. If not strictly, a witness that
// connected after these were written need not have them.
func (t *Trial) complete(strictly bool) bool {
	counts := t.book.Counts()
	for _, w := range t.witnesses {
		if !w.complete(counts, strictly) {
			return false
		}
	}
	return true
}

func (t *Trial) all(is func(*Witness) bool) bool {
	for _, w := range t.witnesses {
		w.mu.Lock()
		ok := !w.wanted || is(w)
		w.mu.Unlock()
		if !ok {
			return false
		}
	}
	return true
}

// chronicleCount returns how many messages the chronicle has.
func (t *Trial) chronicleCount() int {
	t.chronicle.mu.Lock()
	defer t.chronicle.mu.Unlock()
	return t.chronicle.messages
}

// leastHead returns an offset that the head has reached: that of the chronicle. After a loss of
// power, until the frame log's end is known, it returns the start of the trial.
func (t *Trial) leastHead() uint64 {
	if t.endUnknown.Load() {
		return t.origin.Offset
	}
	return t.chronicleEnd()
}

// chronicleEnd returns the end of the chronicle's messages as an offset under the newest ID of the
// frame log. Frames that a loss of power removed do not count.
func (t *Trial) chronicleEnd() uint64 {
	t.epochsMu.Lock()
	epochs := slices.Clone(t.epochs)
	t.epochsMu.Unlock()
	w := t.chronicle
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.end == nil {
		return 0
	}
	at, life := w.end.Offset, 0
	if n := len(w.visits); n > 0 {
		life = w.visits[n-1].life
	}
	for i := 1; i < len(epochs); i++ {
		if epochs[i].first > life {
			at = min(at, epochs[i-1].cut)
		}
	}
	return at
}

// mayCut allows connections to end until it is called again. This includes connections that are
// made meanwhile.
func (t *Trial) mayCut() { t.cuts.Add(1) }

// cutSince reports whether a connection may have ended that was dialled when cuts was n.
func (t *Trial) cutSince(n int64) bool {
	now := t.cuts.Load()
	return now > n || now%2 == 1
}

func (t *Trial) kill() {
	t.mayCut()
	t.checkLog()
	t.d.Kill()
	t.mayCut()
	t.ended(true)
}

func (t *Trial) stop() {
	for _, w := range t.witnesses {
		w.resumeReading() // else the stop would wait for it
		w.update(func() { w.fast = true })
	}
	t.mayCut()
	t.checkLog()
	t.d.Stop()
	t.mayCut()
	t.ended(false)
	for _, w := range t.witnesses {
		w.update(func() { w.fast = false })
	}
}

// down ends the distributor, writes nothing, a little, or all that there is room for, and starts
// the distributor again. In the last case the log that was being read is renamed meanwhile.
func (t *Trial) down(rng *rand.Rand, end func()) {
	end()
	t.write([...]int{0, rng.IntN(t.plan.Most), 10 * t.plan.Most}[rng.IntN(3)])
	t.d.Start()
}

// remembered returns the offsets that collectors.json has, by public key.
func (t *Trial) remembered() map[string]uint64 {
	positions, _ := t.rememberedIn()
	return positions
}

// rememberedIn returns remembered and the ID of the frame log that the offsets belong to.
func (t *Trial) rememberedIn() (positions map[string]uint64, log string) {
	var f struct {
		Log        string `json:"frameLog"`
		Collectors map[string]struct {
			O uint64 `json:"o"`
		} `json:"collectors"`
	}
	b, err := os.ReadFile(filepath.Join(t.d.Dir, "state", "collectors.json"))
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.t.Fatal(err)
	}
	positions = make(map[string]uint64)
	for key, c := range f.Collectors {
		positions[key] = c.O
	}
	return positions, f.Log
}

// ended stores how a life of the distributor ended.
func (t *Trial) ended(killed bool) {
	positions, log := t.rememberedIn()
	t.ends = append(t.ends, ending{killed, positions, log})
	t.life.Add(1)
	t.syncFailed = t.syncFailed || t.diskFailed
	t.workerKilled, t.diskFailed, t.handoverMayFail = false, false, false
}

// checkLog fails if the log has an error that the trial did not cause.
func (t *Trial) checkLog() {
	afterPowerLoss := t.epochs[len(t.epochs)-1].first == int(t.life.Load())
	bad := t.d.Log(func(l Line) bool {
		switch {
		case l.Level != "ERROR",
			l.Msg == "worker lost" && t.workerKilled,
			strings.HasPrefix(l.Msg, "configuration not reloaded"),
			strings.HasPrefix(l.Msg, "database does not answer"), // there is none
			t.diskFailed && !strings.Contains(l.Msg, "DAMAGE"),
			t.handoverMayFail && l.Msg == handoverFailed,
			t.syncFailed && strings.HasPrefix(l.Msg, "frame log: cannot vouch for what is on disk"),
			afterPowerLoss &&
				l.Msg == "frame log: committed frames at the end are given up, to be made again":
			return false
		}
		return true
	})
	if len(bad) > 0 {
		t.t.Errorf("an error in the log: %s", bad[0].Text)
	}
}

// check fails if a witness has a fault.
func (t *Trial) check() {
	for _, w := range t.witnesses {
		w.mu.Lock()
		err := w.fault
		w.mu.Unlock()
		if err != nil {
			t.t.Fatal(err)
		}
	}
}

func (t *Trial) ok(err error) {
	if err != nil {
		t.t.Fatal(err)
	}
}

// until waits for a condition, and fails early if a witness has a fault.
func (t *Trial) until(what string, condition func() bool) {
	for end := time.Now().Add(patience); !condition(); time.Sleep(look) {
		t.check()
		if time.Now().After(end) {
			t.t.Fatalf("not within %v: %s; records written: %v; witnesses: %v",
				patience, what, t.book.Counts(), t.witnesses)
		}
	}
}

func (a *Archiver) mustWrite(t testing.TB, records int) {
	t.Helper()
	if err := a.Write(records); err != nil {
		t.Fatal(err)
	}
	for _, s := range datalog.Streams {
		if err := a.logs[s].Close(); err != nil {
			t.Fatal(err)
		}
	}
}
