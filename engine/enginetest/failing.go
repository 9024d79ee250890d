package enginetest

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// badSuccessor is the environment variable that makes this test binary fail a handover when it is
// started as the new process.
const badSuccessor = "ENGINETEST_SUCCESSOR"

// If the environment has badSuccessor=toldByFile, the failing new process reads its mode from
// badSuccessorFile in the working directory. So each handover may fail at another step.
const (
	toldByFile       = "told"
	badSuccessorFile = "successor-mode"
)

// badSuccessorModes are the steps of a handover at which a trial's new process fails.
var badSuccessorModes = [...]string{"exits", "talks", "ready", "released", "opens", "hangs"}

// linked makes d.Binary a link of its own, which can be replaced.
func linked(t testing.TB, d *Distributor) {
	t.Helper()
	d.Binary = filepath.Join(d.Dir, "distributor")
	replaceBinary(t, d, built)
}

func replaceBinary(t testing.TB, d *Distributor, by string) {
	t.Helper()
	aside := d.Binary + ".new"
	if err := os.Symlink(by, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, d.Binary); err != nil {
		t.Fatal(err)
	}
}

// replaceByBad replaces d's binary by this test binary.
func replaceByBad(t testing.TB, d *Distributor) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	replaceBinary(t, d, self)
}

// failHandover starts a handover to a process that fails at some step, while records are written.
// The old process must continue, and no connection may end.
func failHandover(t *Trial, rng *rand.Rand) {
	mode := badSuccessorModes[rng.IntN(len(badSuccessorModes))]
	t.ok(os.WriteFile(filepath.Join(t.d.Dir, badSuccessorFile), []byte(mode), 0o644))
	replaceByBad(t.t, t.d)
	mark := t.d.Mark()
	// The old process reads no records while the new process has the frame log.
	t.handoverMayFail, t.noWait = true, true
	t.d.Signal(unix.SIGUSR2)
	t.write(rng.IntN(60))
	if mode == "hangs" {
		const hangs = "the new process hangs"
		t.d.WaitLogAfter(mark, hangs, func(l Line) bool { return l.Msg == hangs })
		t.write(rng.IntN(20))
		for _, p := range t.d.children("serve") {
			p.kill()
		}
	}
	t.d.WaitLogAfter(mark, handoverFailed, func(l Line) bool { return l.Msg == handoverFailed })
	t.noWait = false
	replaceBinary(t.t, t.d, t.binary)
}

// handoverFailed is the error in the log after a failed handover.
const handoverFailed = "handover failed; this process continues"
