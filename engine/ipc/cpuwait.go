package ipc

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// CPUWait returns how long the threads of a process have waited for a processor in all. It adds up
// what the kernel says of each: the second number of schedstat, in nanoseconds
// (Documentation/scheduler/sched-stats.rst).
func CPUWait(pid int) (total time.Duration, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("ipc: no schedstat of process %d: %w", pid, os.ErrNotExist)
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		var ran, waited int64
		if _, err := fmt.Sscan(string(text), &ran, &waited); err != nil {
			return 0, fmt.Errorf("ipc: %s: %w", path, err)
		}
		total += time.Duration(waited)
	}
	return total, nil
}
