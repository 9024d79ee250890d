package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"distributor/bench/proc"
)

// measurement is what was booked for the processes between two moments.
type measurement struct {
	Seconds   float64 `json:"seconds"`
	Primary   float64 `json:"primary_cpu"`   // CPU seconds, with the query process; 0 where there is none
	Server    float64 `json:"server_cpu"`    // of the processes that send: workers, raw, or a peer
	Generator float64 `json:"generator_cpu"` // subscribers, what else makes load, and this process
	Softirq   float64 `json:"softirq_cpu"`   // of the kernel's threads that do network work, for server and generator
	// Other is what everything else took of our CPUs: other programs, writing
	// to disk, interrupts. Much of it means that the machine was not quiet.
	Other float64 `json:"other_cpu"`
	// User is the share of the sending processes' time that they spent outside the
	// kernel; 0 when too little was booked to tell.
	User    float64 `json:"server_user_share"`
	Private int64   `json:"server_private_bytes"` // at the end
}

// disturbedShare of one CPU is what may go elsewhere in an undisturbed
// measurement.
const disturbedShare = 0.1

func (m measurement) disturbed() bool { return m.Other > disturbedShare*m.Seconds }

// rounds calls one for the warm-up, round 0, and then until n rounds were
// undisturbed, whose keep it calls. When there is no more time for that,
// disturbed rounds are kept too.
func (b *bench) rounds(ctx context.Context, n int, one func(round int) (keep func(), ms []measurement, err error)) error {
	return b.roundsFrom(ctx, 0, n, one)
}

// steadyRounds does without the warm-up when a single round is wanted: for what
// has a start of its own that does not count, or needs none.
func (b *bench) steadyRounds(ctx context.Context, n int, one func(round int) (keep func(), ms []measurement, err error)) error {
	return b.roundsFrom(ctx, either(n == 1, 1, 0), n, one)
}

func (b *bench) roundsFrom(ctx context.Context, round, n int, one func(round int) (keep func(), ms []measurement, err error)) error {
	for kept := 0; kept < n; round++ {
		if b.quiet != nil {
			if err := b.quiet(ctx); err != nil {
				return err
			}
		}
		keep, ms, err := one(round)
		if err := errors.Join(err, b.failure, ctx.Err()); err != nil {
			return err
		}
		disturbed := slices.ContainsFunc(ms, measurement.disturbed)
		switch {
		case round == 0:
		case disturbed && time.Now().Before(b.repeatUntil):
			b.report.say("  disturbed: another round in place of this one")
		default:
			if disturbed {
				b.disturbed++
			}
			keep()
			kept++
		}
	}
	return nil
}

// quietFor is how long the machine has to be quiet before a round begins.
const quietFor = 500 * time.Millisecond

// awaitQuiet waits for other programs to pause, as long as there is time.
func (b *bench) awaitQuiet(ctx context.Context) error {
	for time.Now().Before(b.repeatUntil) {
		before, err := b.read(processes{})
		if err != nil {
			return err
		}
		if err := sleep(ctx, quietFor); err != nil {
			return err
		}
		after, err := b.read(processes{})
		if err != nil {
			return err
		}
		if !after.since(before).disturbed() {
			return nil
		}
	}
	return nil
}

// processes are those whose books are read. 0 stands for none.
type processes struct {
	primary, query, subscribers int
	servers                     []int // that send
	load                        []int // what else the measurement needs
}

// books is what the kernel has booked up to a moment.
type books struct {
	at                                        time.Time
	primary, server, generator, softirq, busy time.Duration
	user, system                              time.Duration // of the servers
	private                                   int64         // their memory
}

func (b *bench) read(p processes) (books, error) {
	now := books{at: time.Now()}
	var failed error
	cpu := func(pids ...int) (sum time.Duration) {
		for _, pid := range pids {
			if pid == 0 {
				continue
			}
			d, err := proc.CPU(pid)
			if err != nil {
				failed = err
			}
			sum += d
		}
		return sum
	}
	now.primary, now.server, now.generator = cpu(p.primary, p.query), cpu(p.servers...), cpu(p.subscribers, os.Getpid())
	now.softirq = cpu(b.softirq...)
	now.generator += cpu(p.load...)
	var err error
	if now.busy, err = proc.Busy(b.all); err != nil {
		return now, err
	}
	for _, pid := range p.servers {
		user, system, err := proc.Shares(pid)
		if err != nil {
			return now, err
		}
		private, err := proc.PrivateBytes(pid)
		if err != nil {
			return now, err
		}
		now.user, now.system, now.private = now.user+user, now.system+system, now.private+private
	}
	return now, failed
}

// since is what was booked from then to b.
func (b books) since(then books) measurement {
	m := measurement{
		Seconds: b.at.Sub(then.at).Seconds(),
		Primary: (b.primary - then.primary).Seconds(), Server: (b.server - then.server).Seconds(),
		Generator: (b.generator - then.generator).Seconds(), Softirq: (b.softirq - then.softirq).Seconds(), Private: b.private,
	}
	m.Other = max(0, (b.busy-then.busy).Seconds()-m.Primary-m.Server-m.Generator-m.Softirq)
	if user, system := b.user-then.user, b.system-then.system; user+system > 0 {
		m.User = float64(user) / float64(user+system)
	}
	return m
}

// loadAverage is the machine's, over the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	var one string
	_, _ = fmt.Sscan(string(text), &one)
	return one
}
