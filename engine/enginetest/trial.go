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

	"distributor/engine/simulator"
	"distributor/wsproto"
)

// Trial is one plan, carried out with the real binary. All of it but the
// witnesses runs on one goroutine.
type Trial struct {
	t        testing.TB
	plan     Plan
	tally    *Tally
	d        *Distributor
	book     *Book
	archiver *Archiver

	chronicle *Witness
	witnesses []*Witness // all of them
	running   sync.WaitGroup

	origin  wsproto.Position // of the frame log, before the first record
	life    atomic.Int64     // of the distributor: how many have ended
	cuts    atomic.Int64     // calls of mayCut: odd while connections may end
	handing atomic.Bool      // there are two primaries
	ends    []ending         // of each life

	frozen  bool // a process does not run: nothing is waited for
	killed  bool // a worker, in this life
	sick    bool // the disk was, in this life
	lacking bool // the same, since the machine was started: a sync that has failed is remembered
	failing bool // a handover has failed, in this life
	touched bool // the times of data logs mean nothing

	binary     string       // what is judged; the distributor's is a link to it
	impatience atomic.Int64 // odd while who does not answer is cut soon
	lost       atomic.Bool  // the power is, and where the frame log ends now is not known
	epochsMu   sync.Mutex   // guards epochs, for witnesses
	epochs     []epoch
	noted      noted

	since  [len(simulator.Streams)]int64 // rotations when the chronicle was last seen to have all
	unread int64                         // bytes written since then
}

// ending is how a life of the distributor ended, and what it left of the
// collectors' positions.
type ending struct {
	killed     bool
	remembered map[string]uint64
	log        string // ID that these are offsets under
}

// piece is how many records are written at a time.
const piece = 20

// try carries out the plan of a seed; binary is what Build made, or a mutant.
// It tells whether something was wrong, and what.
func try(t testing.TB, seed uint64, binary string, tally *Tally) (failed bool, said string) {
	plan := NewPlan(seed)
	failed, said = hear(t, func(tb testing.TB) {
		tr := &Trial{t: tb, plan: plan, tally: tally, book: NewBook()}
		tr.run(binary)
	})
	tally.done(&plan, failed)
	return failed, said
}

func (t *Trial) run(binary string) {
	t.d = New(t.t, t.plan.Settings)
	t.binary, t.d.Binary = binary, filepath.Join(t.d.Dir, "distributor")
	replaceBinary(t.t, t.d, binary)
	t.d.Env = append(t.d.Env, badSuccessor+"="+toldByFile)
	t.mountState()
	if t.plan.Before > 0 {
		NewArchiver(t.t, ArchiverOptions{Dir: t.d.Logs, Book: NewBook(), Seed: ^t.plan.Seed, Sizes: []int{100}, Log: t.plan.Log}).mustWrite(t.t, t.plan.Before)
	}
	t.d.Start()
	_, t.origin = Bounds(t.t, t.d.URL)
	begin := t.origin.Offset
	t.epochs = []epoch{{id: t.origin.Log, start: begin, floor: span{begin, begin}, cut: math.MaxUint64}}
	t.archiver = NewArchiver(t.t, ArchiverOptions{Dir: t.d.Logs, Book: t.book, Seed: t.plan.Seed, Sizes: t.plan.Sizes, Noise: t.plan.Noise, Log: t.plan.Log})
	t.t.Cleanup(t.dismiss)
	for _, p := range t.plan.Parts {
		t.cast(p)
	}
	t.until("every witness is connected", func() bool { return t.all(func(w *Witness) bool { return len(w.visits) > 0 }) })
	for _, s := range t.plan.Turns {
		before := t.book.Total()
		t.note()
		t.write(s.Write)
		due := before + int(s.Share*float64(s.Write))
		t.until("the chronicle goes on", func() bool { return t.chronicled() >= due })
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

// conclude lets everybody come to the end, and judges.
func (t *Trial) conclude() {
	for _, w := range t.witnesses {
		w.hurry()
		w.come()
	}
	// The last record of each stream must come to everybody; but for those who
	// notice only now that they were cut, and begin live behind it.
	for done := false; !done; {
		t.ok(t.archiver.WriteEach())
		t.catchUp()
		t.until("every witness has the last records", func() bool { return t.complete(false) })
		done = t.complete(true)
	}
	t.until("what came with an upgrade request is answered", func() bool {
		return t.all(func(w *Witness) bool { return !w.part.Eager || w.now != nil && w.now.early })
	})
	if t.plan.Seed%3 == 0 {
		t.rest()
	}
	floor, head := Bounds(t.t, t.d.URL)
	t.cast(Part{Habit: Tracks, Earliest: true})
	t.until("a late collector has all that is kept", func() bool { return t.complete(true) })
	t.check()
	t.mayCut()
	t.checkLog()
	t.d.Stop()
	t.ended(false)
	t.dismiss()
	v := verdict{trial: t, floor: floor, head: head}
	if err := v.judge(); err != nil {
		t.t.Fatal(err)
	}
}

// cast adds a witness.
func (t *Trial) cast(p Part) *Witness {
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

// dismiss ends all witnesses.
func (t *Trial) dismiss() {
	for _, w := range t.witnesses {
		w.finish()
	}
	t.running.Wait()
}

// answering is any witness but the chronicle that answers its pings, and reads as fast as it can.
func (t *Trial) answering(rng *rand.Rand) *Witness {
	for {
		if w := t.someone(rng); w.part.Answers == "" && !w.part.Thin { // the second one always is
			return w
		}
	}
}

// someone is any witness but the chronicle.
func (t *Trial) someone(rng *rand.Rand) *Witness {
	return t.witnesses[1+rng.IntN(len(t.witnesses)-1)]
}

// write writes records, a piece at a time, and waits where more would be more
// than is kept: of the data logs by the archiver, of the frame log by the
// distributor. Where it cannot wait it writes less.
func (t *Trial) write(n int) {
	for n > 0 {
		k := min(piece, n, t.room())
		if k <= 0 {
			if t.frozen || !t.d.Running() {
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

// room is how many records can be written without an end to anything that is
// not known to be read. A log is deleted MaxFiles-1 rotations after it was left;
// a record, and the noise behind it, are a rotation each at most.
func (t *Trial) room() int {
	if t.plan.Retain > 0 && t.unread > t.plan.Retain/4 {
		return 0
	}
	left := int64(t.plan.Log.MaxFiles - 1)
	for i := range t.since {
		left = min(left, int64(t.plan.Log.MaxFiles-1)-(t.archiver.rotations(i)-t.since[i]))
	}
	return int(left / 2)
}

// archived is how many bytes there are in the data logs, about.
func (t *Trial) archived() (n int64) {
	for _, l := range t.archiver.logs {
		n += l.Stats().Bytes
	}
	return n
}

// catchUp waits until the chronicle has all that was written.
func (t *Trial) catchUp() {
	t.until("the chronicle has all that was written", func() bool { return t.chronicle.complete(t.book.Counts(), true) })
	for i := range t.since {
		t.since[i] = t.archiver.rotations(i)
	}
	t.unread = 0
}

// rest waits until everybody has all, and the server knows it.
func (t *Trial) rest() {
	for _, w := range t.witnesses {
		w.hurry()
	}
	defer func() {
		for _, w := range t.witnesses {
			w.set(func() { w.hurried = false })
		}
	}()
	t.until("every witness was pinged behind all that it has", func() bool {
		return t.chronicle.complete(t.book.Counts(), true) && t.settled()
	})
}

func (t *Trial) settled() bool {
	for _, w := range t.witnesses {
		if !w.settled() {
			return false
		}
	}
	return true
}

// complete tells whether everybody has the newest records; strictly, or but for
// those who came behind them.
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
		ok := !w.present || is(w)
		w.mu.Unlock()
		if !ok {
			return false
		}
	}
	return true
}

// chronicled is how many records the chronicle has.
func (t *Trial) chronicled() int {
	t.chronicle.mu.Lock()
	defer t.chronicle.mu.Unlock()
	return t.chronicle.got
}

// reached is the chronicle's offset: the head was there. While nobody knows what a loss of power has
// left, it is the beginning.
func (t *Trial) reached() uint64 {
	if t.lost.Load() {
		return t.origin.Offset
	}
	return t.charted()
}

// charted is the chronicle's offset under the newest ID of the frame log: of what it had under an
// earlier one, only what is left.
func (t *Trial) charted() uint64 {
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

// mayCut says that connections may end, until it is called again: those that
// are there, and those that are made meanwhile.
func (t *Trial) mayCut() { t.cuts.Add(1) }

// cutSince tells whether a connection may have ended that was dialled when cuts
// stood at n.
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
		w.release() // a stop would wait for one that does not read
		w.set(func() { w.hurried = true })
	}
	t.mayCut()
	t.checkLog()
	t.d.Stop()
	t.mayCut()
	t.ended(false)
	for _, w := range t.witnesses {
		w.set(func() { w.hurried = false })
	}
}

// down ends the distributor, writes nothing, a little, or all that there is room
// for, so that the log that was being read is renamed meanwhile, and starts it again.
func (t *Trial) down(rng *rand.Rand, end func()) {
	end()
	t.write([...]int{0, rng.IntN(t.plan.Most), 10 * t.plan.Most}[rng.IntN(3)])
	t.d.Start()
}

// remembered is what the distributor has saved of the collectors' positions.
func (t *Trial) remembered() map[string]uint64 {
	positions, _ := t.rememberedIn()
	return positions
}

// rememberedIn is remembered, and the ID of the frame log that these are offsets of.
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

// ended notes what a life has left.
func (t *Trial) ended(killed bool) {
	positions, log := t.rememberedIn()
	t.ends = append(t.ends, ending{killed, positions, log})
	t.life.Add(1)
	t.lacking = t.lacking || t.sick
	t.killed, t.sick, t.failing = false, false, false
}

// checkLog fails for what a distributor may not have to say: an error that we
// have not caused.
func (t *Trial) checkLog() {
	bad := t.d.Log(func(l Line) bool {
		switch {
		case l.Level != "ERROR", l.Msg == "worker lost" && t.killed, strings.HasPrefix(l.Msg, "configuration not reloaded"),
			strings.HasPrefix(l.Msg, "database does not answer"), // there is none
			t.sick && !strings.Contains(l.Msg, "DAMAGE"), t.failing && l.Msg == handoverFailed,
			t.lacking && strings.HasPrefix(l.Msg, "frame log: cannot vouch for what is on disk"),
			l.Msg == "frame log: committed frames at the end are given up, to be made again" && t.epochs[len(t.epochs)-1].first == int(t.life.Load()):
			return false
		}
		return true
	})
	if len(bad) > 0 {
		t.t.Errorf("an error in the log: %s", bad[0].Text)
	}
}

// check fails for what a witness has seen.
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

// until waits for a condition, or a fault.
func (t *Trial) until(what string, condition func() bool) {
	for end := time.Now().Add(patience); !condition(); time.Sleep(look) {
		t.check()
		if time.Now().After(end) {
			t.t.Fatalf("not within %v: %s; of %v records: %v", patience, what, t.book.Counts(), t.witnesses)
		}
	}
}

func (a *Archiver) mustWrite(t testing.TB, records int) {
	t.Helper()
	if err := a.Write(records); err != nil {
		t.Fatal(err)
	}
	for _, l := range a.logs {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
