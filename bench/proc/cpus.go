// Package proc starts processes on chosen CPUs, exchanges JSON lines with child processes, and
// reads the CPU times that the kernel counts for processes and CPUs. The kernel counts a whole
// process, so a measured process need not measure itself. Linux only.
package proc

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CPUs lists the numbers of some of the machine's CPUs.
type CPUs []int

func (c CPUs) String() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint([]int(c)), " ", ","), "[]")
}

// Allowed lists the CPUs that this process may run on, ascending.
func Allowed() (cpus CPUs, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("proc: affinity: %w", err)
	}
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// PinSelf moves all threads of this process to cpus; later ones inherit it.
func PinSelf(cpus CPUs) error {
	pid := strconv.Itoa(os.Getpid())
	out, err := exec.Command("taskset", "--all-tasks", "-cp", cpus.String(), pid).CombinedOutput()
	if err != nil {
		return fmt.Errorf("proc: pin to %v: %w: %s", cpus, err, out)
	}
	runtime.GOMAXPROCS(len(cpus))
	return nil
}

// Command is exec.CommandContext on cpus from the first instruction, so that a Go program sees only
// these CPUs.
func (c CPUs) Command(ctx context.Context, path string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "taskset", append([]string{"-c", c.String(), path}, args...)...)
}
