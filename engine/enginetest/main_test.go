package enginetest

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// seed is the seed of all random choices: records, times, and kills of processes.
var seed = flag.Uint64("seed", 1, "seed of everything random")

// short selects the tests that `go test -short` runs if no -run selects others: the real binary,
// in a few seconds.
const short = "^(TestConfigurationErrors|TestReload|TestHandover|TestMutantsApply)$"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if mode := os.Getenv(badSuccessor); mode != "" {
		return failTakingOver(mode)
	}
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	// The parallel tests mostly wait, so more of them than cores may run at a time.
	if !given["test.parallel"] {
		_ = flag.Set("test.parallel", "12")
	}
	if testing.Short() && !given["test.run"] {
		_ = flag.Set("test.run", short)
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
