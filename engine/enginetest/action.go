package enginetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gobwas/ws"

	"distributor/engine/simulator"
	"distributor/wsproto"
)

// action is something that happens in a trial, by the trial's goroutine. What
// it chooses it chooses by rng. One that may end connections calls mayCut
// before it does and after.
type action struct {
	name   string
	weight int
	do     func(t *Trial, rng *rand.Rand)
}

// actions are all there are. A new one is a line here.
var actions []action

func init() { // not a literal: the functions refer to the table, by way of the plan
	actions = []action{
		{"nothing", 1, func(*Trial, *rand.Rand) {}},
		{"a worker is killed", 4, killWorker},
		{"all workers are killed", 2, func(t *Trial, _ *rand.Rand) { t.killWorkers(t.d.Workers()...) }},
		{"the primary is killed", 4, func(t *Trial, rng *rand.Rand) { t.down(rng, t.kill) }},
		{"a worker and the primary are killed", 2, func(t *Trial, rng *rand.Rand) { t.down(rng, func() { killWorker(t, rng); t.kill() }) }},
		{"the distributor is stopped", 4, func(t *Trial, rng *rand.Rand) { t.down(rng, t.stop) }},
		{"another process takes over", 4, takeOver},
		{"a handover fails", 4, failHandover},
		{"the power is lost", 5, losePower},
		{"the file system fails, and the power is lost", 1, failDisk},
		{"the disk is full for a while", 3, fillDisk},
		{"the disk is read-only for a while", 2, readOnlyDisk},
		{"a file refuses writes for a while", 2, failFile},
		{"the data logs are moved to copies", 3, mirrorLogs},
		{"data logs are replaced by copies", 2, replaceLogs},
		{"data logs get other times", 2, touchLogs},
		{"data logs are restored from an older copy", 3, restoreLogs},
		{"a process is frozen", 3, freeze},
		{"the configuration is reloaded", 2, reload},
		{"a broken configuration is reloaded", 1, reloadBroken},
		{"the archiver is restarted", 2, func(t *Trial, _ *rand.Rand) { t.ok(t.archiver.Reopen()) }},
		{"logs that were read are deleted", 2, deleteLogs},
		{"a collector resets its connection", 3, func(t *Trial, rng *rand.Rand) { w := t.someone(rng); w.leave(t, reset); w.come() }},
		{"a collector closes and comes back", 3, func(t *Trial, rng *rand.Rand) { w := t.someone(rng); w.leave(t, closing(rng)); w.come() }},
		{"a collector is away for a while", 4, away},
		{"a collector does not read for a while", 3, deaf},
		{"a collector stops reading", 3, func(t *Trial, rng *rand.Rand) { t.someone(rng).hold() }},
		{"a collector that does not answer is cut", 2, cutMute},
		{"a collector answers late, and is cut", 4, answerLate},
		{"a collector is cut again and again", 4, cutAgain},
		{"a collector connects twice", 3, func(t *Trial, rng *rand.Rand) { t.someone(rng).double(t) }},
		{"a collector talks", 2, func(t *Trial, rng *rand.Rand) { talk(t.someone(rng), rng) }},
		{"a collector breaks the protocol", 2, breakProtocol},
		{"a collector comes", 2, func(t *Trial, rng *rand.Rand) { t.cast(t.plan.part(rng)) }},
		{"all is quiet", 4, func(t *Trial, _ *rand.Rand) { t.rest() }},
	}
}

// losesPower are the actions after which the machine has been started again.
var losesPower = map[string]bool{"the power is lost": true, "the file system fails, and the power is lost": true}

func drawAction(rng *rand.Rand) action {
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	n := rng.IntN(total)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			return a
		}
	}
	panic("unreachable")
}

func killWorker(t *Trial, rng *rand.Rand) {
	if workers := t.d.Workers(); len(workers) > 0 {
		t.killWorkers(workers[rng.IntN(len(workers))])
	}
}

func (t *Trial) killWorkers(workers ...*Process) {
	t.mayCut()
	t.killed = true
	for _, w := range workers {
		w.kill()
	}
	for _, w := range workers {
		w.Gone(patience)
	}
	t.mayCut()
}

// takeOver is a handover while records are written, and sometimes while a
// collector does not read: that one keeps the old process.
func takeOver(t *Trial, rng *rand.Rand) {
	w := t.someone(rng)
	if rng.IntN(3) == 0 {
		w.hold()
	}
	t.mayCut()
	t.handing.Store(true)
	taken := t.d.BeginHandOver()
	t.write(rng.IntN(60))
	taken()
	t.write(rng.IntN(60))
	w.release()
	t.d.Alone()
	t.handing.Store(false)
	t.mayCut()
}

// freeze holds a process up while records are written: for less than what it
// would be killed for.
func freeze(t *Trial, rng *rand.Rand) {
	pid := t.d.Pid()
	if workers := t.d.Workers(); len(workers) > 0 && rng.IntN(3) > 0 {
		pid = workers[rng.IntN(len(workers))].Pid
	}
	p := OpenProcess(t.t, pid)
	p.Signal(t.t, syscall.SIGSTOP)
	t.frozen = true
	t.write(rng.IntN(60))
	t.frozen = false
	p.Signal(t.t, syscall.SIGCONT)
}

func reload(t *Trial, rng *rand.Rand) {
	t.d.Configure(Settings{
		"MAX_CLIENTS_PER_CHILD": 1 + rng.IntN(4), "NUMBER_OF_WORKERS": rng.IntN(3), "PING_INTERVAL_MS": [...]int{50, 25_000}[rng.IntN(2)],
		"DRAIN_MS": [...]int{0, 300}[rng.IntN(2)],
	})
	if l := t.d.Reload([...]syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1}[rng.IntN(2)]); l.Msg != "configuration reloaded" {
		t.t.Fatalf("a good configuration was not taken: %s", l.Text)
	}
}

func reloadBroken(t *Trial, _ *rand.Rand) {
	t.d.WriteConfig(`{"MAX_WORKERS": "many"`)
	if l := t.d.Reload(syscall.SIGHUP); l.Msg == "configuration reloaded" {
		t.t.Fatalf("a broken configuration was taken: %s", l.Text)
	}
	t.d.Configure(nil)
}

// deleteLogs is an operator, or a cron job, that makes room: it deletes logs that
// were read. It leaves the newest of those that are renamed together: an archiver
// that finds no old- log does not rename, and later goes back to logs of the lap
// before. What a distributor has read of these is not known to the next one.
func deleteLogs(t *Trial, _ *rand.Rand) {
	t.catchUp()
	if t.plan.Power || t.touched { // they may be needed, or cannot be told from one another by their times
		return
	}
	for _, stream := range simulator.Streams {
		active, err := os.ReadFile(filepath.Join(t.d.Logs, "active-"+stream+"-log.txt"))
		t.ok(err)
		together := make(map[string][]string)
		logs, err := filepath.Glob(filepath.Join(t.d.Logs, "*"+stream+"-log*.txt"))
		t.ok(err)
		for _, path := range logs {
			old, digits, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".txt"), stream+"-log")
			if n, err := strconv.Atoi(digits); err == nil && filepath.Base(path) != string(active) {
				half := fmt.Sprint(old, n <= t.plan.Log.MaxFiles/2)
				together[half] = append(together[half], path)
			}
		}
		for _, logs := range together {
			slices.SortFunc(logs, func(a, b string) int { return changed(t, a).Compare(changed(t, b)) })
			for _, path := range logs[:len(logs)-1] {
				t.ok(os.Remove(path))
			}
		}
	}
}

func changed(t *Trial, path string) time.Time {
	info, err := os.Stat(path)
	t.ok(err)
	return info.ModTime()
}

func away(t *Trial, rng *rand.Rand) {
	w := t.someone(rng)
	if rng.IntN(2) == 0 {
		w.leave(t, reset)
	} else {
		w.leave(t, closing(rng))
	}
	t.write(rng.IntN(100))
	if rng.IntN(3) > 0 { // else at the end, or when it is chosen again
		w.come()
	}
}

// deaf is a collector that does not read while records come; large ones are
// more than the sockets hold.
func deaf(t *Trial, rng *rand.Rand) {
	w := t.someone(rng)
	w.hold()
	t.write(30 + rng.IntN(60))
	if rng.IntN(2) == 0 {
		t.catchUp()
	}
	w.release()
}

// answerLate is a collector that answers a ping when it has got, or its sockets
// have, what came behind that, reads nothing of it, and is gone: it has confirmed
// what the ping said, and no more.
func answerLate(t *Trial, rng *rand.Rand) {
	w := t.answering(rng)
	w.set(func() { w.tardy, w.held = true, false })
	t.write(1 + rng.IntN(20))
	t.until("a ping comes", func() bool { return !w.here() || w.owing() })
	w.hold()
	t.write(10 + rng.IntN(20))
	t.catchUp()
	w.answer()
	w.set(func() { w.tardy, w.owes = false, nil })
	w.leave(t, reset)
	w.come()
}

// cutAgain is an unmodified collector that comes back to more than it can read
// before it is cut, again and again: it has to get on all the same (verdict.progress).
func cutAgain(t *Trial, rng *rand.Rand) {
	var plain []*Witness
	for _, w := range t.witnesses {
		if w.part.Habit == Plain && w.part.Answers == "" && !w.part.Thin {
			plain = append(plain, w)
		}
	}
	w := plain[rng.IntN(len(plain))]
	w.leave(t, reset)
	t.write(t.plan.Most + rng.IntN(t.plan.Most))
	t.catchUp()
	quota := 1 + rng.IntN(t.plan.Most/2)
	for range 2 {
		w.set(func() { w.quota, w.present = quota, true })
		t.until("a collector is let in", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.now != nil
		})
		t.write(quota) // for one that begins live
		var v *visit
		t.until("a collector has its quota", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.now == nil || w.came < quota {
				return false
			}
			v = w.now
			v.short = true
			return true
		})
		w.leave(t, reset)
		t.until("what it has confirmed is known", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return !t.plan.Resume || t.remembered()[w.key.Public().String()] >= v.confirmed
		})
	}
	w.come()
}

// cutMute has a collector answer no ping for so long that it is closed. Others may be, on a machine
// that has no time for them.
func cutMute(t *Trial, rng *rand.Rand) {
	w := t.answering(rng)
	w.mu.Lock()
	v := w.now
	w.mute, w.held = v != nil, false
	w.changed.Broadcast()
	w.mu.Unlock()
	if v == nil {
		return
	}
	t.impatience.Add(1)
	interval := t.d.settings["PING_INTERVAL_MS"]
	t.setAndReload(Settings{"PING_INTERVAL_MS": 50, "PING_TIMEOUT_MS": 500})
	t.write(rng.IntN(20))
	t.until("a collector that does not answer is cut", func() bool { return isClosed(v.closed) })
	w.set(func() { w.mute = false })
	t.setAndReload(Settings{"PING_INTERVAL_MS": interval, "PING_TIMEOUT_MS": nil})
	t.impatience.Add(1)
}

func (t *Trial) setAndReload(s Settings) {
	t.d.Configure(s)
	if l := t.d.Reload(syscall.SIGHUP); l.Msg != "configuration reloaded" {
		t.t.Fatalf("a good configuration was not taken: %s", l.Text)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// talk says what a collector has no reason to say, and may.
func talk(w *Witness, rng *rand.Rand) {
	for range 1 + rng.IntN(4) {
		switch rng.IntN(4) {
		case 0:
			w.send(ws.OpText, []byte(strings.Repeat("x", rng.IntN(3000))))
		case 1:
			w.send(ws.OpBinary, make([]byte, rng.IntN(300)))
		case 2:
			w.send(ws.OpPong, []byte(fmt.Sprintf("%032x-%d", rng.Uint64(), rng.IntN(5)))) // a position of no log
		case 3:
			w.send(ws.OpPing, nil)
		}
	}
}

// breakProtocol must end with the code that RFC 6455 has for it.
func breakProtocol(t *Trial, rng *rand.Rand) {
	w := t.someone(rng)
	switch rng.IntN(3) {
	case 0:
		w.misbehave(t, []byte{0x81, 0x01, 'x'}, wsproto.ProtocolError) // not masked
	case 1:
		w.misbehave(t, []byte{0xff, 0x80, 0, 0, 0, 0}, wsproto.ProtocolError) // an extension that nobody has agreed to
	case 2:
		w.misbehave(t, []byte{0x81, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 2, 3, 4}, wsproto.MessageTooBig)
	}
}

// closing is how a collector leaves by a close frame. 0: without a code.
func closing(rng *rand.Rand) departure {
	return departure([...]uint16{0, 1000, 1001, 1011, 3000, 4999}[rng.IntN(6)])
}
