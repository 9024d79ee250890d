package supervisor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"distributor/engine/handoff"
	"distributor/engine/logging"
	"distributor/wsproto"
)

const (
	// closeGap for each client is what Stop spreads their ends over, within its
	// bound: as many come back a second as one address may (package gateway).
	closeGap = time.Millisecond
	// lastWords is how long after its end a worker's channel and output are
	// read: they end with it, unless it had children.
	lastWords = time.Second
)

// poke has run look. It never waits.
func (s *Supervisor) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// run is the goroutine that does what time asks for and starts processes,
// until Stop has been called and no worker is left.
func (s *Supervisor) run() {
	runtime.LockOSThread() // see startProcess
	defer runtime.UnlockOSThread()
	defer close(s.over)
	for {
		due := s.plan()
		for _, f := range due.failed {
			s.condemn(f.worker, f.why, nil)
		}
		for _, w := range due.start {
			s.start(w)
		}
		if due.over {
			return
		}
		select {
		case <-s.kick:
		case <-time.After(due.sleep):
		}
	}
}

// plan is what run has to do without the lock.
type plan struct {
	failed []failed
	start  []*worker
	sleep  time.Duration
	over   bool
}

type failed struct {
	worker *worker
	why    Failure
}

func (s *Supervisor) plan() plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	p := plan{sleep: s.times.look}
	if s.stopping { // Stop watches over the rest
		p.over = len(s.workers) == 0
		return p
	}
	// Round strips the monotonic clock, which does not follow when the wall
	// clock is set.
	wall := s.wall().Round(0)
	s.expire(wall)
	if !s.nextExpiry.IsZero() {
		p.wakeAt(wall, s.nextExpiry)
	}
	look := now.Sub(s.looked) >= s.times.look
	if look {
		s.looked = now
	}
	for _, w := range s.workers {
		if look {
			w.quiet++
		}
		switch {
		case w.state == starting && now.Sub(w.since) >= s.times.ready:
			p.failed = append(p.failed, failed{w, FailedStart})
		case w.state == ready && w.quiet > s.times.quiet:
			p.failed = append(p.failed, failed{w, FailedSilent})
		case w.state == draining && now.Sub(w.since) >= s.times.drain:
			p.failed = append(p.failed, failed{w, FailedDrain})
		}
	}
	s.retire(now, &p)
	s.grow(now, &p)
	return p
}

func (p *plan) wakeAt(now, t time.Time) { p.sleep = max(0, min(p.sleep, t.Sub(now))) }

// retire ends workers that nobody needs, the last first.
func (s *Supervisor) retire(now time.Time, p *plan) {
	alive := s.count(starting) + s.count(ready)
	for _, w := range slices.Backward(s.workers) {
		if w.state != ready || len(w.clients) > 0 || (alive <= s.limits.Warm && w.number <= s.limits.Max) {
			continue
		}
		if end := w.idle.Add(s.times.linger); now.Before(end) {
			p.wakeAt(now, end)
			continue
		}
		alive--
		s.drain(w, handoff.Drain{Disconnect: wsproto.ServerShutdown.Name})
	}
}

// drain takes a worker out of service in peace. No client can be given to it
// any more, and those that were are before the Drain in its queue.
func (s *Supervisor) drain(w *worker, d handoff.Drain) {
	w.enter(draining)
	w.send(outgoing{message: handoff.Message{Drain: &d}})
}

// grow plans starts: the warm workers, and as many as those who wait need.
func (s *Supervisor) grow(now time.Time, p *plan) {
	s.backoff.Forget(now)
	soon := s.count(starting)
	alive := soon + s.count(ready)
	for number := 1; number <= s.limits.Max; number++ {
		if alive >= s.limits.Warm && s.waiting.Len() <= soon*s.limits.MaxClients {
			return
		}
		if now.Before(s.backoff.Until) {
			p.wakeAt(now, s.backoff.Until)
			return
		}
		if s.backoff.Failures > 0 && soon > 0 {
			return // one at a time, until one is ready
		}
		at, taken := slices.BinarySearchFunc(s.workers, number, func(w *worker, n int) int { return w.number - n })
		if taken {
			continue
		}
		w := newWorker(number, s.log)
		w.send(s.settingsFor(w))
		s.workers = slices.Insert(s.workers, at, w)
		p.start = append(p.start, w)
		soon, alive = soon+1, alive+1
	}
}

func (s *Supervisor) count(state State) (n int) {
	for _, w := range s.workers {
		if w.state == state {
			n++
		}
	}
	return n
}

// start starts the process of a worker that grow has planned.
func (s *Supervisor) start(w *worker) {
	p, err := startProcess(s.command, s.env)
	s.mu.Lock()
	s.counts.spawns++
	if err != nil {
		s.fail(w, FailedSpawn, err)
		s.remove(w, w.err)
		s.mu.Unlock()
		w.log.Error("worker not started", "error", err)
		return
	}
	w.process = p
	w.enter(starting)
	stopping := s.stopping
	s.mu.Unlock()
	s.reaps.Add(1)
	go s.reap(w)
	if stopping {
		s.condemn(w, FailedStart, ErrStopping)
	}
}

// reap is the goroutine that a worker has for life: it runs the others, waits
// for the process's end, and clears up.
func (s *Supervisor) reap(w *worker) {
	defer s.reaps.Done()
	p := w.process
	read, wrote, forwarded := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() { defer close(read); s.read(w) }()
	go func() { defer close(wrote); s.write(w) }()
	go func() { defer close(forwarded); logging.Forward(p.output, w.log, "worker") }()

	exited := p.cmd.Wait() == nil // with status 0
	// Last words count: why clients were closed, and what the process died of.
	late := make(chan struct{}) // closed, so that it ends both waits
	timer := time.AfterFunc(lastWords, func() { close(late) })
	for _, done := range []chan struct{}{read, forwarded} {
		select {
		case <-done:
		case <-late:
		}
	}
	timer.Stop()
	s.mu.Lock()
	if w.state != gone {
		if w.state != draining || !exited {
			s.fail(w, FailedExit, nil)
		}
		s.dismiss(w) // ends the writer
	}
	s.mu.Unlock()
	p.close()
	<-read
	<-wrote
	<-forwarded
	s.bury(w)
}

// bury clears up after a worker that is no more.
func (s *Supervisor) bury(w *worker) {
	s.mu.Lock()
	why, err := wsproto.ServerShutdown, error(nil)
	if w.why != "" {
		why, err = wsproto.WorkerLost, fmt.Errorf("%w (%v)", w.err, w.process.cmd.ProcessState)
	}
	lost := make([]*client, 0, len(w.clients))
	for _, c := range w.clients {
		lost = append(lost, c)
	}
	for _, c := range lost {
		s.position(c, c.reached, false)
		s.forget(c)
		s.counts.disconnect(why.Name)
	}
	s.remove(w, err)
	stopping := s.stopping
	s.mu.Unlock()

	switch {
	case err == nil:
		w.log.Info("worker ended")
	case stopping:
		w.log.Warn("worker killed", "error", err)
	default:
		w.log.Error("worker lost", "failure", string(w.why), "error", err, "clients", len(lost))
	}
	for _, c := range lost {
		s.onClosed(c.public(), handoff.Closed{ID: c.id, Disconnect: why.Name})
	}
}

// remove takes a worker from the list; err says why it was lost, in full.
func (s *Supervisor) remove(w *worker, err error) {
	s.workers = slices.DeleteFunc(s.workers, func(other *worker) bool { return other == w })
	s.counts.past.Add(w.stats.Counters)
	if err == nil {
		s.counts.ended++
	} else {
		if errors.Is(s.backoff.Err, w.err) {
			s.backoff.Err = err
		}
		if s.count(starting)+s.count(ready) == 0 {
			s.tellStart(fmt.Errorf("%w: %w", ErrNoWorker, err))
		}
	}
	s.settle()
	s.poke()
}

// Stop refuses new clients, lets the workers' clients catch up with head
// within a time, closes them with ServerShutdown, closeGap apart if there is time
// for that, and ends the workers; when ctx ends, which should be some seconds
// later, what is left is killed. It returns when every process is reaped and no
// goroutine is left. Another call, with less time perhaps, takes the place of
// the first, and both return.
func (s *Supervisor) Stop(ctx context.Context, head uint64, within time.Duration) {
	s.mu.Lock()
	s.stopping = true
	for e := s.waiting.Front(); e != nil; e = s.waiting.Front() {
		s.finish(e.Value.(*client), ErrStopping)
	}
	for _, c := range s.byKey {
		if c.phase == held {
			s.finish(c, ErrStopping)
		}
	}
	clients := 0
	for _, w := range s.workers {
		clients += len(w.clients) - w.closing
	}
	spread := min(within, time.Duration(clients)*closeGap)
	for _, w := range s.workers {
		if w.state == ready || w.state == draining {
			s.drain(w, handoff.Drain{Head: head, WithinMS: within.Milliseconds(), SpreadMS: spread.Milliseconds(), Disconnect: wsproto.ServerShutdown.Name})
		}
	}
	s.tellStart(ErrStopping)
	started := s.started
	s.mu.Unlock()
	if !started {
		return
	}
	s.killAll(starting)
	s.poke()
	select {
	case <-s.over:
	case <-ctx.Done():
		s.killAll(starting, draining)
		<-s.over
	}
	s.reaps.Wait()
}

// killAll kills the workers in these states. One whose process does not exist
// yet is killed by start.
func (s *Supervisor) killAll(states ...State) {
	s.mu.Lock()
	doomed := slices.Clone(s.workers)
	doomed = slices.DeleteFunc(doomed, func(w *worker) bool { return w.process == nil || !slices.Contains(states, w.state) })
	s.mu.Unlock()
	for _, w := range doomed {
		s.condemn(w, FailedDrain, ErrStopping)
	}
}
