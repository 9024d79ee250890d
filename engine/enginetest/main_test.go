package enginetest

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// seed is the seed of all random choices: records, times, and kills of processes.
var seed = flag.Uint64("seed", 1, "seed of everything random")

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if mode := os.Getenv(badSuccessor); mode != "" {
		return failTakingOver(mode)
	}
	flag.Parse()
	// The parallel tests mostly wait, so more of them than cores may run at a time.
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "12")
	}
	dir, err := os.MkdirTemp("", "enginetest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
