package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// CPUs are the numbers of some of the machine's CPUs.
type CPUs []int

// Allowed are those that this process may run on, ascending.
func Allowed() (CPUs, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("proc: affinity: %w", err)
	}
	var cpus CPUs
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

func (c CPUs) set() (set unix.CPUSet) {
	for _, cpu := range c {
		set.Set(cpu)
	}
	return set
}

// PinSelf moves all threads of this process to cpus; later ones inherit it.
func PinSelf(cpus CPUs) error {
	set := cpus.set()
	if err := eachThread(func(tid int) error { return unix.SchedSetaffinity(tid, &set) }); err != nil {
		return err
	}
	runtime.GOMAXPROCS(len(cpus))
	return nil
}

// StartOn starts cmd on cpus: from its first instruction, so that a Go program
// takes them for all that the machine has.
func StartOn(cmd *exec.Cmd, cpus CPUs) error {
	runtime.LockOSThread() // a child inherits the affinity of the thread that forks
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("proc: affinity: %w", err)
	}
	set := cpus.set()
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("proc: pin to %v: %w", cpus, err)
	}
	startErr := cmd.Start()
	if err := unix.SchedSetaffinity(0, &before); err != nil {
		return fmt.Errorf("proc: affinity: %w", err)
	}
	return startErr
}

// Nice lowers the priority of all threads of this process; later ones inherit
// it. It cannot be taken back.
func Nice(by int) error {
	return eachThread(func(tid int) error { return unix.Setpriority(unix.PRIO_PROCESS, tid, by) })
}

// eachThread does something to all threads of this process, those that are
// started meanwhile included.
func eachThread(do func(tid int) error) error {
	done := map[string]bool{}
	for fresh := true; fresh; { // a thread may start another while we look
		fresh = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("proc: threads: %w", err)
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || done[t.Name()] {
				continue
			}
			done[t.Name()], fresh = true, true
			if err := do(tid); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("proc: thread %d: %w", tid, err)
			}
		}
	}
	return nil
}
