package config

import (
	"os"
	"strconv"
	"strings"
)

// Memory returns how many bytes of memory the machine has, or the container if that has less, and
// how many of them are available. It returns 0 if /proc does not say.
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
		// Page cache counts as used, but can be freed. Its size is not known; half of the used memory
		// is assumed.
		total, available = limit, min(available, limit-used/2)
	}
	return total, available
}

// recordMemory is how many bytes of memory each byte of a record takes while the record is encoded:
// 7.9 for 250 MB of numbers (peak of the process, 2026-11-30).
const recordMemory = 8

// memory is Memory; tests replace it.
var memory = Memory

// checkMemory refuses a MAX_RECORD_BYTES with which one record takes more memory than there is: the
// kernel would kill the distributor at that record, after each start again. The default is not
// refused, because records of that length do not occur in practice.
func (l *loader) checkMemory() {
	if _, given := l.origin["MAX_RECORD_BYTES"]; !given || !l.good("MAX_RECORD_BYTES") {
		return
	}
	most := int64(l.cfg.MaxRecordBytes)
	total, _ := memory()
	if total > 0 && most*recordMemory > total {
		l.fail("MAX_RECORD_BYTES (%s) is %d: a record of that size takes up to %d bytes of memory, "+
			"and there are %d; set at most %d",
			l.place("MAX_RECORD_BYTES"), most, most*recordMemory, total, total/recordMemory)
	}
}
