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

	"distributor/mmaplog/datalog"
	"distributor/wsproto"
)

// action is one event of a trial. It runs in the trial's goroutine, and takes all random choices
// from rng. If it may end connections, it calls mayCut before and after.
type action struct {
	name   string
	weight int
	do     func(t *Trial, rng *rand.Rand)
}

// actions lists all actions.
var actions []action

func init() { // not a literal, because the functions refer to the table through the plan
	actions = []action{
		{"nothing", 1, func(*Trial, *rand.Rand) {}},
		{"a worker is killed", 4, killWorker},
		{"all workers are killed", 2, func(t *Trial, _ *rand.Rand) {
			t.killWorkers(t.d.Workers()...)
		}},
		{"the primary is killed", 4, func(t *Trial, rng *rand.Rand) { t.down(rng, t.kill) }},
		{"a worker and the primary are killed", 2, func(t *Trial, rng *rand.Rand) {
			t.down(rng, func() { killWorker(t, rng); t.kill() })
		}},
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
		{"the archiver is restarted", 2, func(t *Trial, _ *rand.Rand) {
			t.ok(t.archiver.Reopen())
		}},
		{"logs that were read are deleted", 2, deleteLogs},
		{"a collector resets its connection", 3, func(t *Trial, rng *rand.Rand) {
			w := t.anyWitness(rng)
			w.disconnect(t, reset)
			w.connect()
		}},
		{"a collector closes and comes back", 3, func(t *Trial, rng *rand.Rand) {
			w := t.anyWitness(rng)
			w.disconnect(t, closeCode(rng))
			w.connect()
		}},
		{"a collector is away for a while", 4, away},
		{"a collector does not read for a while", 3, doNotRead},
		{"a collector stops reading", 3, func(t *Trial, rng *rand.Rand) {
			t.anyWitness(rng).pauseReading()
		}},
		{"a collector that does not answer is cut", 2, cutUnanswering},
		{"a collector answers late, and is cut", 4, answerLateThenCut},
		{"a collector is cut again and again", 4, cutAgain},
		{"a collector connects twice", 3, func(t *Trial, rng *rand.Rand) {
			t.anyWitness(rng).connectTwice(t)
		}},
		{"a collector talks", 2, func(t *Trial, rng *rand.Rand) {
			sendUnexpected(t.anyWitness(rng), rng)
		}},
		{"a collector breaks the protocol", 2, breakProtocol},
		{"a collector comes", 2, func(t *Trial, rng *rand.Rand) {
			t.addWitness(t.plan.part(rng))
		}},
		{"all is quiet", 4, func(t *Trial, _ *rand.Rand) { t.waitQuiet() }},
	}
}

// losesPower has the actions that include a loss of power.
var losesPower = map[string]bool{
	"the power is lost": true, "the file system fails, and the power is lost": true,
}

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
	t.workerKilled = true
	for _, w := range workers {
		w.kill()
	}
	for _, w := range workers {
		w.Gone(patience)
	}
	t.mayCut()
}

// takeOver does a handover while records are written, in one of three cases with a collector that
// does not read and so keeps the old process running.
func takeOver(t *Trial, rng *rand.Rand) {
	w := t.anyWitness(rng)
	if rng.IntN(3) == 0 {
		w.pauseReading()
	}
	t.mayCut()
	t.inHandover.Store(true)
	taken := t.d.BeginHandOver()
	t.write(rng.IntN(60))
	taken()
	t.write(rng.IntN(60))
	w.resumeReading()
	t.d.Alone()
	t.inHandover.Store(false)
	t.mayCut()
}

// freeze stops a process by SIGSTOP while records are written, for a shorter time than the one
// after which the primary would kill a worker.
func freeze(t *Trial, rng *rand.Rand) {
	pid := t.d.Pid()
	if workers := t.d.Workers(); len(workers) > 0 && rng.IntN(3) > 0 {
		pid = workers[rng.IntN(len(workers))].Pid
	}
	p := OpenProcess(t.t, pid)
	p.Signal(t.t, syscall.SIGSTOP)
	t.noWait = true
	t.write(rng.IntN(60))
	t.noWait = false
	p.Signal(t.t, syscall.SIGCONT)
}

func reload(t *Trial, rng *rand.Rand) {
	t.d.Configure(Settings{
		"MAX_CLIENTS_PER_CHILD": 1 + rng.IntN(4), "NUMBER_OF_WORKERS": rng.IntN(3),
		"PING_INTERVAL_MS": [...]int{50, 25_000}[rng.IntN(2)],
		"DRAIN_MS":         [...]int{0, 300}[rng.IntN(2)],
	})
	t.reloadBy([...]syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1}[rng.IntN(2)])
}

func reloadBroken(t *Trial, _ *rand.Rand) {
	t.d.WriteConfig(`{"MAX_WORKERS": "many"`)
	if l := t.d.Reload(syscall.SIGHUP); l.Msg == "configuration reloaded" {
		t.t.Fatalf("a broken configuration was accepted: %s", l.Text)
	}
	t.d.Configure(nil)
}

// deleteLogs deletes logs that were read, as an operator or a cron job does to make room. It leaves
// the newest log of each group that the archiver renames together. Without an old- log, an archiver
// does not rename, and later appends to logs of its previous round. After a restart the distributor
// does not know what was read of those.
func deleteLogs(t *Trial, _ *rand.Rand) {
	t.catchUp()
	// After a loss of power the logs may be needed. Without their times the order is unknown.
	if t.plan.Power || t.timesChanged {
		return
	}
	for _, stream := range datalog.Streams {
		active, err := os.ReadFile(filepath.Join(t.d.Logs, "active-"+stream.String()+"-log.txt"))
		t.ok(err)
		together := make(map[string][]string)
		logs, err := filepath.Glob(filepath.Join(t.d.Logs, "*"+stream.String()+"-log*.txt"))
		t.ok(err)
		for _, path := range logs {
			name := strings.TrimSuffix(filepath.Base(path), ".txt")
			old, digits, _ := strings.Cut(name, stream.String()+"-log")
			if n, err := strconv.Atoi(digits); err == nil && filepath.Base(path) != string(active) {
				half := fmt.Sprint(old, n <= t.plan.Log.MaxFiles/2)
				together[half] = append(together[half], path)
			}
		}
		for _, logs := range together {
			slices.SortFunc(logs, func(a, b string) int { return modTime(t, a).Compare(modTime(t, b)) })
			for _, path := range logs[:len(logs)-1] {
				t.ok(os.Remove(path))
			}
		}
	}
}

func modTime(t *Trial, path string) time.Time {
	info, err := os.Stat(path)
	t.ok(err)
	return info.ModTime()
}

func away(t *Trial, rng *rand.Rand) {
	w := t.anyWitness(rng)
	if rng.IntN(2) == 0 {
		w.disconnect(t, reset)
	} else {
		w.disconnect(t, closeCode(rng))
	}
	t.write(rng.IntN(100))
	if rng.IntN(3) > 0 { // else it connects at the end, or when it is chosen again
		w.connect()
	}
}

// doNotRead makes a collector read nothing while records are sent. Large records are more than the
// socket buffers hold.
func doNotRead(t *Trial, rng *rand.Rand) {
	w := t.anyWitness(rng)
	w.pauseReading()
	t.write(30 + rng.IntN(60))
	if rng.IntN(2) == 0 {
		t.catchUp()
	}
	w.resumeReading()
}

// answerLateThenCut makes a collector answer a ping only after newer records were sent, of which it
// reads nothing, and then cuts it. So it has confirmed the position in the ping, and no more.
func answerLateThenCut(t *Trial, rng *rand.Rand) {
	w := t.anyAnswering(rng)
	w.update(func() { w.deferPong, w.readPaused = true, false })
	t.write(1 + rng.IntN(20))
	t.until("a ping comes", func() bool { return !w.wantsConnection() || w.owesPong() })
	w.pauseReading()
	t.write(10 + rng.IntN(20))
	t.catchUp()
	w.sendPendingPong()
	w.update(func() { w.deferPong, w.pendingPing = false, nil })
	w.disconnect(t, reset)
	w.connect()
}

// cutAgain cuts an unmodified collector repeatedly before it has read all that it missed. It must
// advance all the same (verdict.progress).
func cutAgain(t *Trial, rng *rand.Rand) {
	var plain []*Witness
	for _, w := range t.witnesses {
		if w.part.Habit == Plain && w.part.Answers == "" && !w.part.Thin {
			plain = append(plain, w)
		}
	}
	w := plain[rng.IntN(len(plain))]
	w.disconnect(t, reset)
	t.write(t.plan.Most + rng.IntN(t.plan.Most))
	t.catchUp()
	quota := 1 + rng.IntN(t.plan.Most/2)
	for range 2 {
		w.update(func() { w.quota, w.wanted = quota, true })
		t.until("a collector is let in", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.now != nil
		})
		t.write(quota) // for a collector that begins live
		var v *visit
		t.until("a collector has its quota", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.now == nil || w.inVisit < quota {
				return false
			}
			v = w.now
			v.cutAtQuota = true
			return true
		})
		w.disconnect(t, reset)
		t.until("what it has confirmed is known", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return !t.plan.Resume || t.remembered()[w.key.Public().String()] >= v.confirmed
		})
	}
	w.connect()
}

// cutUnanswering makes a collector answer no ping until it is closed. On a busy machine other
// collectors may be closed too.
func cutUnanswering(t *Trial, rng *rand.Rand) {
	w := t.anyAnswering(rng)
	w.mu.Lock()
	v := w.now
	w.noPongs, w.readPaused = v != nil, false
	w.changed.Broadcast()
	w.mu.Unlock()
	if v == nil {
		return
	}
	t.pingTimeouts.Add(1)
	interval := t.d.settings["PING_INTERVAL_MS"]
	t.setAndReload(Settings{"PING_INTERVAL_MS": 50, "PING_TIMEOUT_MS": 500})
	t.write(rng.IntN(20))
	t.until("a collector that does not answer is cut", func() bool { return isClosed(v.closed) })
	w.update(func() { w.noPongs = false })
	t.setAndReload(Settings{"PING_INTERVAL_MS": interval, "PING_TIMEOUT_MS": nil})
	t.pingTimeouts.Add(1)
}

func (t *Trial) setAndReload(s Settings) {
	t.d.Configure(s)
	t.reloadBy(syscall.SIGHUP)
}

// reloadBy sends a signal for a valid configuration, which must be accepted.
func (t *Trial) reloadBy(s syscall.Signal) {
	if l := t.d.Reload(s); l.Msg != "configuration reloaded" {
		t.t.Fatalf("a valid configuration was not accepted: %s", l.Text)
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

// sendUnexpected sends frames that the protocol allows and that no collector has a reason to send.
func sendUnexpected(w *Witness, rng *rand.Rand) {
	for range 1 + rng.IntN(4) {
		switch rng.IntN(4) {
		case 0:
			w.send(ws.OpText, []byte(strings.Repeat("x", rng.IntN(3000))))
		case 1:
			w.send(ws.OpBinary, make([]byte, rng.IntN(300)))
		case 2:
			position := fmt.Sprintf("%032x-%d", rng.Uint64(), rng.IntN(5)) // of no log
			w.send(ws.OpPong, []byte(position))
		case 3:
			w.send(ws.OpPing, nil)
		}
	}
}

// breakProtocol sends an invalid frame. The connection must end with the code of RFC 6455 for it.
func breakProtocol(t *Trial, rng *rand.Rand) {
	w := t.anyWitness(rng)
	switch rng.IntN(3) {
	case 0:
		w.sendInvalid(t, []byte{0x81, 0x01, 'x'}, wsproto.ProtocolError) // not masked
	case 1:
		unknownExtension := []byte{0xff, 0x80, 0, 0, 0, 0}
		w.sendInvalid(t, unknownExtension, wsproto.ProtocolError)
	case 2:
		large := []byte{0x81, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 2, 3, 4}
		w.sendInvalid(t, large, wsproto.MessageTooBig)
	}
}

// closeCode returns the code of a collector's close frame; 0: a close frame without a code.
func closeCode(rng *rand.Rand) departure {
	return departure([...]uint16{0, 1000, 1001, 1011, 3000, 4999}[rng.IntN(6)])
}
