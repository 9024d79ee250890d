package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// built is what Build has made.
var built string

// Build compiles cmd/distributor into dir, for all tests of this process.
func Build(dir string) error {
	path := filepath.Join(dir, "distributor")
	args := []string{"build", "-o", path}
	if RaceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "distributor/cmd/distributor")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("enginetest: build the binary: %w\n%s", err, out)
	}
	built = path
	return nil
}

// Result is what a finished command left.
type Result struct {
	Status         int
	Stdout, Stderr string
}

// Run runs the binary in dir to its end.
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
