package enginetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// fixedSeeds are the seeds of every run. They include all actions and all kinds of records. The
// first has a loss of power of an ext4, the second a full disk.
var fixedSeeds = []uint64{128681, 237656, 281443, 18593, 244091, 138570, 26638}

// TestJudge runs the scenarios of fixedSeeds, and one with a random seed.
func TestJudge(t *testing.T) {
	seeds := append([]uint64{rand.Uint64N(1e9)}, fixedSeeds...)
	if RaceEnabled || testing.Short() {
		seeds = seeds[:3]
	}
	tally := &Tally{}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if disk := NewPlan(seed).Disk; !disks()[disk] {
				t.Logf("no %s can be made here: STATE_DIR is a directory", disk)
			}
			if failed, said := runTrial(t, seed, built, tally); failed {
				t.Errorf("%s\n%s", sentence(seed), said)
			}
		})
	}
	t.Cleanup(func() { t.Log(tally) })
}

// sentence returns the command that repeats a failed scenario, and its plan.
func sentence(seed uint64) string {
	return fmt.Sprintf("FAILED; again by: make soak SEED=%d SCENARIOS=1\n%v", seed, NewPlan(seed))
}

// TestSoak is run by make soak: SCENARIOS scenarios, or those of the time SOAK, with seeds from
// SEED on, JOBS at a time.
func TestSoak(t *testing.T) {
	scenarios, span := number(t, "SCENARIOS", 0), os.Getenv("SOAK")
	if scenarios == 0 && span == "" {
		t.Skip("only when asked for: make soak")
	}
	until := time.Now().Add(24 * 365 * time.Hour)
	if span != "" {
		d, err := time.ParseDuration(span)
		if err != nil {
			t.Fatalf("SOAK: %v", err)
		}
		until = time.Now().Add(d)
	}
	first := number(t, "SEED", rand.Uint64N(1e9))
	jobs := number(t, "JOBS", uint64(2*runtime.NumCPU()))
	fmt.Printf("seeds from %d on, %d at a time\n", first, jobs)
	tally, began := &Tally{}, time.Now()
	var mu sync.Mutex // guards taken, failed and the output
	taken, failures, told := uint64(0), []uint64(nil), began
	take := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if scenarios > 0 && taken == scenarios || time.Now().After(until) ||
			len(failures) >= mostFailures {
			return 0, false
		}
		if time.Since(told) >= 10*time.Second {
			told = time.Now()
			fmt.Printf("%8v  %v\n", time.Since(began).Round(time.Second), tally)
		}
		taken++
		return first + taken - 1, true
	}
	var working sync.WaitGroup
	for range jobs {
		working.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				if failed, said := runTrial(t, seed, built, tally); failed {
					mu.Lock()
					failures = append(failures, seed)
					fmt.Printf("seed %d %s\n%s\n", seed, sentence(seed), said)
					mu.Unlock()
				}
			}
		})
	}
	working.Wait()
	fmt.Printf("seeds %d to %d in %v\n%v\n%s", first, first+taken-1,
		time.Since(began).Round(time.Second), tally, tally.Faults())
	if len(failures) > 0 {
		t.Errorf("failed: seeds %v", failures)
	}
}

// mostFailures is the number of failures that ends a soak.
const mostFailures = 20

// number returns the value of an environment variable, or otherwise if it is not set.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
