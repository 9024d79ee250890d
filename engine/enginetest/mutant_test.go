package enginetest

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// mutantSeeds is how many scenarios, with the seeds from 1 on, are tried before a mutant counts as
// not found.
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

// TestMutantsApply checks that all patches apply. A change of the code that a mutant edits must
// change the mutant too.
func TestMutantsApply(t *testing.T) {
	for _, m := range loadMutants(t) {
		if _, err := m.Apply(filepath.Join("..", ".."), t.TempDir()); err != nil {
			t.Error(err)
		}
	}
}

// TestMutants is run by make mutants: it builds each mutant and runs tests or scenarios until one
// fails. Mutants with a test come first, because they take least time. MUTANT selects mutants by a
// part of their names.
func TestMutants(t *testing.T) {
	if os.Getenv("MUTANTS") == "" {
		t.Skip("only when asked for: make mutants")
	}
	patience = min(patience, 10*time.Second) // a mutant that hangs is found
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	var tried []Mutant
	for _, m := range loadMutants(t) {
		if strings.Contains(m.Name, os.Getenv("MUTANT")) {
			tried = append(tried, m)
		}
	}
	slices.SortStableFunc(tried, func(a, b Mutant) int { return cmp.Compare(rank(a), rank(b)) })
	killed, sound := 0, make(map[uint64]bool)
	for _, m := range tried {
		began := time.Now()
		by, seed, err := find(t, m, root)
		switch {
		case err != nil:
			t.Error(err)
			by = err.Error()
		case by == "":
			t.Errorf("mutant %s was not found: %s", m.Name, m.Why)
			by = "SURVIVED"
		default:
			killed++
		}
		if m.Test == "" && err == nil && by != "SURVIVED" {
			if !sound[seed] {
				if failed, said := runTrial(t, seed, built, &Tally{}); failed {
					t.Fatalf("seed %d fails without a mutant, so its result is not usable: %s", seed, said)
				}
				sound[seed] = true
			}
			if !slices.Contains(m.Seeds, seed) {
				by += fmt.Sprintf(" (say so in the patch: # seeds: %d)", seed)
			}
		}
		fmt.Printf("%-36s %6v  %.200s\n", m.Name, time.Since(began).Round(100*time.Millisecond), by)
	}
	fmt.Printf("%d of %d mutants killed\n", killed, len(tried))
}

// rank is the sort key of a mutant: those with a test come before those with known seeds.
func rank(m Mutant) int {
	if m.Test != "" {
		return 0
	}
	return 1
}

// find returns what found a mutant, a test or a seed of the judge; "": nothing did.
func find(t *testing.T, m Mutant, root string) (by string, seed uint64, err error) {
	dir := t.TempDir()
	if m.Test != "" {
		found, err := m.RunTest(root, dir)
		if err != nil || !found {
			return "", 0, err
		}
		return m.Test, 0, nil
	}
	binary, err := m.Build(root, dir)
	if err != nil {
		return "", 0, err
	}
	defer os.Remove(binary)
	by, seed = judgeMutant(t, binary, m.Seeds)
	return by, seed, nil
}

// judgeMutant returns what found the mutant, with its seed. It tries the known seeds first, each
// twice, because the outcome depends on the timing of processes.
func judgeMutant(t *testing.T, binary string, known []uint64) (by string, seed uint64) {
	seeds := slices.Concat(known, known)
	for n := uint64(1); n <= mutantSeeds; n++ {
		seeds = append(seeds, n)
	}
	var mu sync.Mutex // guards what follows, by and seed
	next := 0
	take := func() (n uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if by != "" || next == len(seeds) {
			return 0, false
		}
		next++
		return seeds[next-1], true
	}
	var working sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		working.Go(func() {
			for n, ok := take(); ok; n, ok = take() {
				if failed, said := runTrial(t, n, binary, &Tally{}); failed {
					mu.Lock()
					if by == "" {
						by, seed = fmt.Sprintf("seed %d: %s", n, strings.Join(strings.Fields(said), " ")), n
					}
					mu.Unlock()
				}
			}
		})
	}
	working.Wait()
	return by, seed
}
