package enginetest

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// minIdentified is the size in bytes from which on the follower can identify a log by its content
// (mmaplog/datalog/doc.go).
const minIdentified = 256

// mirrorLogs replaces all data logs by copies, in random order, while nothing runs.
func mirrorLogs(t *Trial, rng *rand.Rand) {
	t.down(rng, func() {
		if rng.IntN(2) == 0 {
			t.kill()
		} else {
			t.stop()
		}
		t.swapLogs(t.copyLogs(rng))
	})
}

// copyLogs copies the data logs with their times, as rsync does, in random order.
func (t *Trial) copyLogs(rng *rand.Rand) (dir string) {
	dir, err := os.MkdirTemp(t.d.Dir, "copy-")
	t.ok(err)
	entries, err := os.ReadDir(t.d.Logs)
	t.ok(err)
	rng.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	for _, e := range entries {
		t.copyLog(filepath.Join(t.d.Logs, e.Name()), filepath.Join(dir, e.Name()))
	}
	return dir
}

func (t *Trial) copyLog(from, to string) {
	in, err := os.Open(from)
	t.ok(err)
	info, err := in.Stat()
	t.ok(err)
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	t.ok(err)
	_, err = io.Copy(out, in)
	t.ok(err)
	t.ok(out.Close())
	t.ok(in.Close())
	t.ok(os.Chtimes(to, info.ModTime(), info.ModTime()))
}

// swapLogs replaces the directory of the data logs by dir, where the archiver then continues.
func (t *Trial) swapLogs(dir string) {
	t.ok(t.archiver.Close())
	t.ok(os.RemoveAll(t.d.Logs))
	t.ok(os.Rename(dir, t.d.Logs))
	t.ok(t.archiver.Resume())
}

// replaceLogs replaces some data logs by copies while the distributor runs. The archiver is stopped
// meanwhile, so that the active logs can be replaced too.
func replaceLogs(t *Trial, rng *rand.Rand) {
	t.ok(t.archiver.Close())
	entries, err := os.ReadDir(t.d.Logs)
	t.ok(err)
	rng.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	for _, e := range entries {
		if rng.IntN(3) == 0 {
			continue
		}
		path := filepath.Join(t.d.Logs, e.Name())
		aside := filepath.Join(t.d.Logs, "."+e.Name()+".Xq3f0a") // as rsync names it
		t.copyLog(path, aside)
		t.ok(os.Rename(aside, path))
	}
	t.ok(t.archiver.Resume())
}

// touchLogs changes the modification times of the data logs while the distributor runs or is down.
func touchLogs(t *Trial, rng *rand.Rand) {
	touch := func() {
		paths, err := filepath.Glob(filepath.Join(t.d.Logs, "*.txt"))
		t.ok(err)
		same := rng.IntN(2) == 0
		now := time.Now()
		for _, path := range paths {
			at := now
			if !same {
				at = now.Add(-time.Duration(rng.IntN(50_000)) * time.Millisecond)
			}
			t.ok(os.Chtimes(path, at, at))
		}
	}
	t.timesChanged = true
	if rng.IntN(2) == 0 {
		touch()
		return
	}
	t.down(rng, func() { t.kill(); touch() })
}

// restoreLogs restores the data logs from a copy that lacks their last records, after these were
// read. The archiver continues where the copy ends. If a log was started or left since the copy was
// made, restoreLogs does nothing, because the copy is then no older state of that log.
func restoreLogs(t *Trial, rng *rand.Rand) {
	sizes := func() map[string]int64 {
		m := make(map[string]int64)
		paths, err := filepath.Glob(filepath.Join(t.d.Logs, "*.txt"))
		t.ok(err)
		for _, path := range paths {
			info, err := os.Stat(path)
			t.ok(err)
			m[path] = info.Size()
		}
		return m
	}
	t.ok(t.archiver.Reopen()) // completes all lines
	copied, before, rotated := t.copyLogs(rng), sizes(), t.archiver.Rotations()
	t.write(1 + rng.IntN(10))
	t.catchUp()
	olderState := t.archiver.Rotations() == rotated
	for path, size := range sizes() {
		olderState = olderState && (size == before[path] || before[path] >= minIdentified)
	}
	if !olderState {
		t.ok(os.RemoveAll(copied))
		return
	}
	t.tally.restored.Add(1)
	if rng.IntN(3) == 0 { // while the distributor runs
		t.swapLogs(copied)
		return
	}
	t.down(rng, func() {
		if rng.IntN(2) == 0 {
			t.kill()
		} else {
			t.stop()
		}
		t.swapLogs(copied)
	})
}
