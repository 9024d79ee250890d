package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is the path of the binary that Build made.
var built string

// Build compiles cmd/distributor into dir, for all tests of this process.
func Build(dir string) error {
	path := filepath.Join(dir, "distributor")
	if err := compile(path); err != nil {
		return err
	}
	built = path
	return nil
}

// crashing returns the path of a binary with crash points (package crashpoint), which is built at
// the first call.
var crashing = sync.OnceValues(func() (path string, err error) {
	path = built + "-crashpoints"
	return path, compile(path, "-tags", "crashpoints")
})

func compile(path string, flags ...string) error {
	args := append([]string{"build", "-o", path}, flags...)
	if RaceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "distributor/cmd/distributor")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("enginetest: build the binary: %w\n%s", err, out)
	}
	return nil
}

// Result is the result of a finished command.
type Result struct {
	Status         int
	Stdout, Stderr string
}

// Run runs the binary in dir and waits for its end.
func Run(t testing.TB, dir string, args ...string) Result {
	t.Helper()
	cmd := command(built, dir, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	err := within(t, done, func() { _ = cmd.Process.Kill() })
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("distributor %v: %v", args, err)
	}
	return Result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}
