package enginetest

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// badSuccessor is the environment variable that makes this test binary, when it is
// started in a distributor's place, one that does not take over.
const badSuccessor = "ENGINETEST_SUCCESSOR"

// A distributor whose environment has badSuccessor=toldByFile has a bad new process read its mode from
// badSuccessorFile, in the working directory: each handover may fail at another step.
const (
	toldByFile       = "told"
	badSuccessorFile = "successor-mode"
)

// badSuccessorModes are the steps of a handover at which a new process of the judge's fails.
var badSuccessorModes = [...]string{"exits", "talks", "ready", "released", "opens", "hangs"}

// linked gives d a binary of its own, which can be replaced.
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

// replaceByBad puts this test binary in the place of d's.
func replaceByBad(t testing.TB, d *Distributor) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	replaceBinary(t, d, self)
}

// failHandover is a handover to a process that fails at some step, while records are written. The
// old process goes on, and nobody's connection ends.
func failHandover(t *Trial, rng *rand.Rand) {
	mode := badSuccessorModes[rng.IntN(len(badSuccessorModes))]
	t.ok(os.WriteFile(filepath.Join(t.d.Dir, badSuccessorFile), []byte(mode), 0o644))
	replaceByBad(t.t, t.d)
	mark := t.d.Mark()
	t.failing, t.frozen = true, true // it reads nothing on while the new process has the frame log
	t.d.Signal(unix.SIGUSR2)
	t.write(rng.IntN(60))
	if mode == "hangs" {
		t.d.WaitLogAfter(mark, "the new process hangs", func(l Line) bool { return l.Msg == "the new process hangs" })
		t.write(rng.IntN(20))
		for _, p := range t.d.children("serve") {
			p.kill()
		}
	}
	t.d.WaitLogAfter(mark, "the handover fails", func(l Line) bool { return l.Msg == handoverFailed })
	t.frozen = false
	replaceBinary(t.t, t.d, t.binary)
}

// handoverFailed is what the log says of it, as an error.
const handoverFailed = "handover failed; this process continues"
