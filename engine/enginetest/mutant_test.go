package enginetest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mutantSeeds are how many scenarios a mutant has to survive: the seeds from 1 on.
const mutantSeeds = 60

func loadMutants(t *testing.T) []Mutant {
	t.Helper()
	mutants, err := LoadMutants("mutants")
	if err != nil {
		t.Fatal(err)
	}
	if len(mutants) < 15 {
		t.Fatalf("only %d mutants", len(mutants))
	}
	return mutants
}

// Whoever changes what a mutant edits has to change the mutant.
func TestMutantsApply(t *testing.T) {
	for _, m := range loadMutants(t) {
		if _, err := m.Apply(filepath.Join("..", ".."), t.TempDir()); err != nil {
			t.Error(err)
		}
	}
}

// TestMutants is make mutants: what has no bug must pass, then each is built and judged until it is found out.
// MUTANT takes those alone whose names contain it.
func TestMutants(t *testing.T) {
	if os.Getenv("MUTANTS") == "" {
		t.Skip("only when asked for: make mutants")
	}
	patience = min(patience, 10*time.Second) // what hangs is found out
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	mutants, killed := loadMutants(t), 0
	var tried []Mutant
	for _, m := range mutants {
		if strings.Contains(m.Name, os.Getenv("MUTANT")) {
			tried = append(tried, m)
		}
	}
	if by, seed := judgeMutant(t, built); by != "" {
		t.Fatalf("without any bug, seed %d fails, so that no verdict means anything: %s", seed, by)
	}
	for _, m := range tried {
		began := time.Now()
		if m.Test != "" {
			found, err := m.RunTest(root, t.TempDir())
			verdict := "killed by " + m.Test
			if err != nil || !found {
				verdict = "SURVIVED"
				t.Errorf("%s survived: %s (%v)", m.Name, m.Why, err)
			} else {
				killed++
			}
			fmt.Printf("%-36s %6v  %s\n", m.Name, time.Since(began).Round(100*time.Millisecond), verdict)
			continue
		}
		binary, err := m.Build(root, t.TempDir())
		if err != nil {
			t.Error(err)
			continue
		}
		by, n := judgeMutant(t, binary)
		verdict := fmt.Sprintf("killed by seed %d: %s", n, by)
		if by == "" {
			verdict = "SURVIVED"
			t.Errorf("%s survived: %s", m.Name, m.Why)
		} else {
			killed++
		}
		fmt.Printf("%-36s %6v  %.150s\n", m.Name, time.Since(began).Round(100*time.Millisecond), verdict)
		_ = os.Remove(binary)
	}
	fmt.Printf("%d of %d mutants killed\n", killed, len(tried))
}

// judgeMutant tells by what, and by which seed, the mutant was found out.
func judgeMutant(t *testing.T, binary string) (by string, seed uint64) {
	var next atomic.Uint64
	var mu sync.Mutex // guards by and seed
	var working sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		working.Go(func() {
			for n := next.Add(1); n <= mutantSeeds; n = next.Add(1) {
				mu.Lock()
				over := by != ""
				mu.Unlock()
				if over {
					return
				}
				if failed, said := try(t, n, binary, &Tally{}); failed {
					mu.Lock()
					if by == "" {
						by, seed = strings.Join(strings.Fields(said), " "), n
					}
					mu.Unlock()
				}
			}
		})
	}
	working.Wait()
	return by, seed
}
