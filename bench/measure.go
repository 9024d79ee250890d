package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"distributor/bench/proc"
)

// measurement has the CPU time that the kernel counted for the processes between two moments, and
// other values of that time.
type measurement struct {
	Seconds   float64 `json:"seconds"`
	Primary   float64 `json:"primary_cpu"`   // CPU seconds, with the query process; 0 without one
	Server    float64 `json:"server_cpu"`    // of the processes that send: workers, raw, or a peer
	Generator float64 `json:"generator_cpu"` // subscribers, what else makes load, and this process
	Softirq   float64 `json:"softirq_cpu"`   // of the kernel's threads, for server and generator
	// Other is the CPU time of everything else on these CPUs: other programs, writes to disk,
	// interrupts. A high value means that the machine was not quiet.
	Other   float64            `json:"other_cpu"`
	Private float64            `json:"server_private_bytes"` // at the end
	Extra   map[string]float64 `json:"extra,omitempty"`
}

// disturbedShare is the largest share of one CPU for other things in an undisturbed measurement.
const disturbedShare = 0.1

func (m measurement) disturbed() bool { return m.Other > disturbedShare*m.Seconds }

// value is a value of a measurement.
type value func(measurement) float64

func sender(m measurement) float64    { return m.Server }
func server(m measurement) float64    { return m.Primary + m.Server }
func generator(m measurement) float64 { return m.Generator }
func seconds(m measurement) float64   { return m.Seconds }
func privateMB(m measurement) float64 { return m.Private / 1e6 }

// extra returns a value by its name in the JSON lines.
func extra(name string) value { return func(m measurement) float64 { return m.Extra[name] } }

// times is a value times a factor.
func (v value) times(n float64) value { return func(m measurement) float64 { return v(m) * n } }

// over is the quotient of two values.
func (v value) over(w value) value { return func(m measurement) float64 { return v(m) / w(m) } }

// turn is one round of a scenario, in which each way is measured once.
type turn struct {
	*bench
	scenario string
	round    int // 0: to warm up
	results  map[string]measurement
	err      error // of the first way that failed; those after it are not measured
}

// run does a part of the round, and ends everything that this part has started.
func (t *turn) run(do func() error) {
	if t.err == nil {
		t.err = errors.Join(do(), t.end())
	}
}

// measure measures a way.
func (t *turn) measure(way string, one func() (measurement, error)) {
	t.run(func() error {
		m, err := one()
		if err == nil {
			t.add(way, m)
		}
		return err
	})
}

func (t *turn) add(way string, m measurement) {
	t.results[way] = m
	t.report.round(t.scenario, way, t.round, m)
}

// comparison has the measurements of a scenario's counted rounds: one of each way per round.
type comparison struct {
	*bench
	scenario string
	rounds   int
	ways     map[string][]measurement
}

// compare calls one for the warm-up and then for rounds, until n of them were undisturbed. When no
// time is left for that, disturbed rounds count too. With n 1, a scenario that is steady, which has
// a start of its own that does not count or needs none, has no warm-up.
func (b *bench) compare(
	ctx context.Context, scenario string, n int, steady bool, one func(*turn),
) (*comparison, error) {
	c := &comparison{bench: b, scenario: scenario, ways: make(map[string][]measurement)}
	for round := either(steady && n == 1, 1, 0); c.rounds < n; round++ {
		if b.quiet != nil {
			if err := b.quiet(ctx); err != nil {
				return nil, err
			}
		}
		t := &turn{bench: b, scenario: scenario, round: round, results: make(map[string]measurement)}
		one(t)
		if err := errors.Join(t.err, ctx.Err()); err != nil {
			return nil, err
		}
		disturbed := false
		for _, m := range t.results {
			disturbed = disturbed || m.disturbed()
		}
		switch {
		case round == 0:
		case disturbed && time.Now().Before(b.repeatUntil):
			b.report.say("  disturbed: another round in place of this one")
		default:
			b.disturbed += either(disturbed, 1, 0)
			c.rounds++
			for way, m := range t.results {
				c.ways[way] = append(c.ways[way], m)
			}
		}
	}
	return c, nil
}

// of returns a value of a way, round by round; nil if it was not measured in all rounds.
func (c *comparison) of(way string, v value) (values []float64) {
	if len(c.ways[way]) < c.rounds {
		return nil
	}
	for _, m := range c.ways[way] {
		values = append(values, v(m))
	}
	return values
}

// figure reports a value of a way, if it was measured.
func (c *comparison) figure(name, unit, way string, v value) {
	c.report.figure(c.scenario, name, unit, c.of(way, v))
}

// ratio reports a value of one way divided by that of another, round by round, because a
// disturbance of a round affects both.
func (c *comparison) ratio(name, way string, v value, base string, w value) {
	c.report.figure(c.scenario, name, "×", ratios(c.of(way, v), c.of(base, w)))
}

// each reports by how many bytes a value grows per client, from a measurement without clients and
// one with n.
func (c *comparison) each(name string, n int, with, without string, bytes value) {
	more, base := c.of(with, bytes), c.of(without, bytes)
	for i := range more {
		more[i] = (more[i] - base[i]) / 1024 / float64(n)
	}
	c.report.figure(c.scenario, name, "KiB", more)
}

// quietFor is how long the machine has to be quiet before a round begins.
const quietFor = 500 * time.Millisecond

// awaitQuiet waits for other programs to pause, as long as there is time.
func (b *bench) awaitQuiet(ctx context.Context) error {
	for time.Now().Before(b.repeatUntil) {
		m, err := b.during(processes{}, func() error { return sleep(ctx, quietFor) })
		if err != nil || !m.disturbed() {
			return err
		}
	}
	return nil
}

// processes are the processes whose CPU time is measured.
type processes struct {
	primary []int // with the query process
	servers []int // processes that send
	load    []int // processes that make load, in addition to this one
}

// books has the CPU times that the kernel has counted up to a moment.
type books struct {
	at time.Time
	measurement
	busy time.Duration
}

// during measures do.
func (b *bench) during(p processes, do func() error) (measurement, error) {
	before, err := b.read(p)
	if err != nil {
		return measurement{}, err
	}
	if err := do(); err != nil {
		return measurement{}, err
	}
	after, err := b.read(p)
	return after.since(before), err
}

func (b *bench) read(p processes) (now books, err error) {
	now.at = time.Now()
	var failed error
	cpu := func(pids ...int) (sum float64) {
		for _, pid := range pids {
			d, err := proc.CPU(pid)
			failed = errors.Join(failed, err)
			sum += d.Seconds()
		}
		return sum
	}
	now.Primary, now.Server = cpu(p.primary...), cpu(p.servers...)
	now.Generator, now.Softirq = cpu(p.load...)+cpu(os.Getpid()), cpu(b.softirq...)
	if now.busy, err = proc.Busy(b.all); err != nil {
		return now, err
	}
	for _, pid := range p.servers {
		private, _, err := proc.Memory(pid)
		if err != nil {
			return now, err
		}
		now.Private += private
	}
	return now, failed
}

// since returns the difference between two books.
func (b books) since(then books) measurement {
	m := b.measurement
	m.Seconds = b.at.Sub(then.at).Seconds()
	m.Primary -= then.Primary
	m.Server -= then.Server
	m.Generator -= then.Generator
	m.Softirq -= then.Softirq
	// The times of CPUs have coarser steps, so the rest may be below zero.
	m.Other = max(0, (b.busy-then.busy).Seconds()-m.Primary-m.Server-m.Generator-m.Softirq)
	return m
}

// loadAverage returns the machine's load average of the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// machine describes the machine, for readers of the figures.
func machine(b *bench) (cpu, kernel string) {
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(text), "model name\t: ")
		cpu, _, _ = strings.Cut(rest, "\n")
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(text))
	}
	return fmt.Sprintf("%d CPUs of %s", len(b.all), cpu), "Linux " + kernel
}
