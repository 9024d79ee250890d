package config

import (
	"os"
	"strconv"
	"strings"
)

// Memory returns the bytes of memory of the machine, or of the container if that has less, and how
// many of them are free or can be freed. 0: /proc does not say.
func Memory() (total, available int64) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		words := strings.Fields(line)
		if len(words) > 1 {
			kib, _ = strconv.ParseInt(words[1], 10, 64)
		}
		switch {
		case strings.HasPrefix(line, "MemTotal:"):
			total = kib << 10
		case strings.HasPrefix(line, "MemAvailable:"):
			available = kib << 10
		}
	}
	number := func(path string) (int64, error) { // an error also for "max"
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	}
	limit, err := number("/sys/fs/cgroup/memory.max")
	used, usedErr := number("/sys/fs/cgroup/memory.current")
	if err == nil && usedErr == nil && limit < total {
		// Page cache counts as used and can be freed. No figure says how much of it there is: half
		// is taken for it.
		total, available = limit, min(available, limit-used/2)
	}
	return total, available
}

// recordMemory is how many bytes of memory a record takes for each of its own while it is made a
// message: 7.9 for 250 MB of numbers (peak of the process, 2026-11-30).
const recordMemory = 8

// memory is Memory, but in tests.
var memory = Memory

// checkMemory refuses a MAX_RECORD_BYTES that lets one record take more memory than there is: the
// kernel would kill the distributor, and each next start, at that record. The default is not
// refused: its longest records are no real ones.
func (l *loader) checkMemory() {
	if _, given := l.origin["MAX_RECORD_BYTES"]; !given || !l.good("MAX_RECORD_BYTES") {
		return
	}
	most := int64(l.cfg.MaxRecordBytes)
	total, _ := memory()
	if total > 0 && most*recordMemory > total {
		l.fail("MAX_RECORD_BYTES (%s) is %d: a record of that size takes up to %d bytes of memory, and there are %d; set at most %d",
			l.place("MAX_RECORD_BYTES"), most, most*recordMemory, total, total/recordMemory)
	}
}
