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
	// closeGap per client is the time over which Stop spreads the disconnects, within its bound. As
	// many clients come back per second as one address may open (package gateway).
	closeGap = time.Millisecond
	// lastWords is how long after a worker's end its channel and output are read. They end with the
	// worker, unless it had children.
	lastWords = time.Second
	// starvedTimes is how many times as long as others a worker may be silent that gets no processor.
	starvedTimes = 12
)

// wake makes run plan again. It never waits.
func (s *Supervisor) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// run is the goroutine that does the periodic work and starts processes, until Stop has been called
// and no worker is left.
func (s *Supervisor) run() {
	runtime.LockOSThread() // see startProcess
	defer runtime.UnlockOSThread()
	defer close(s.over)
	for {
		due := s.plan()
		for _, f := range due.failed {
			if f.why == FailedSilent && !f.tooLong && s.starved(f.worker) {
				continue
			}
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

// plan is what run has to do after the lock is released.
type plan struct {
	failed []failed
	start  []*worker
	sleep  time.Duration
	over   bool
}

type failed struct {
	worker  *worker
	why     Failure
	tooLong bool // silent for so long that the reason does not count
}

// starved reports whether a silent worker is runnable and gets no processor: since the last time it
// was asked about, its threads waited for one for half of the time at least. A worker that is
// stopped, hangs or loops on an idle machine does not wait. starved is for run alone, after plan.
func (s *Supervisor) starved(w *worker) bool {
	now, last := time.Now(), w.waited
	elapsed := now.Sub(last.at)
	if elapsed < s.times.check/2 {
		return true // asked too early to tell
	}
	waits, err := s.cpuWait(w.process.cmd.Process.Pid)
	if err != nil {
		return false
	}
	w.waited = cpuWait{now, waits}
	return elapsed > 3*s.times.check || waits-last.total >= elapsed/2 // the first time, it cannot tell
}

func (s *Supervisor) plan() plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	p := plan{sleep: s.times.check}
	if s.stopping { // Stop does the rest
		p.over = len(s.workers) == 0
		return p
	}
	// Round strips the monotonic clock, which does not change when the wall clock is set.
	wall := s.wall().Round(0)
	s.expire(wall)
	if !s.nextExpiry.IsZero() {
		p.wakeAt(wall, s.nextExpiry)
	}
	check := now.Sub(s.checked) >= s.times.check
	if check {
		s.checked = now
	}
	for _, w := range s.workers {
		if check {
			w.silentChecks++
		}
		switch {
		case w.state == starting && now.Sub(w.since) >= s.times.ready:
			p.failed = append(p.failed, failed{worker: w, why: FailedStart})
		case w.state == ready && w.silentChecks > s.times.silentChecks:
			p.failed = append(p.failed, failed{w, FailedSilent,
				w.silentChecks > starvedTimes*s.times.silentChecks})
		case w.state == draining && now.Sub(w.since) >= s.times.drain:
			p.failed = append(p.failed, failed{worker: w, why: FailedDrain})
		}
	}
	s.retire(now, &p)
	s.grow(now, &p)
	return p
}

func (p *plan) wakeAt(now, t time.Time) { p.sleep = max(0, min(p.sleep, t.Sub(now))) }

// retire ends workers that are not needed, the last first.
func (s *Supervisor) retire(now time.Time, p *plan) {
	alive := s.count(starting) + s.count(ready)
	for _, w := range slices.Backward(s.workers) {
		warm := alive <= s.limits.Warm && w.number <= s.limits.Max
		if w.state != ready || len(w.clients) > 0 || warm {
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

// drain takes a worker out of service. It gets no client any more, and the clients that it was
// given are before the Drain in its queue.
func (s *Supervisor) drain(w *worker, d handoff.Drain) {
	w.enter(draining)
	w.send(outgoing{message: handoff.Message{Drain: &d}})
}

// grow plans starts: of the warm workers, and of as many as the waiting clients need.
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
		at, taken := slices.BinarySearchFunc(s.workers, number,
			func(w *worker, n int) int { return w.number - n })
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

// reap is the goroutine that each worker has until its end. It starts the worker's other
// goroutines, waits for the process's end, and cleans up.
func (s *Supervisor) reap(w *worker) {
	defer s.reaps.Done()
	p := w.process
	read, wrote, forwarded := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() { defer close(read); s.read(w) }()
	go func() { defer close(wrote); s.write(w) }()
	go func() { defer close(forwarded); logging.Forward(p.output, w.log, "worker") }()

	exited := p.cmd.Wait() == nil // with status 0
	// What the worker sent last counts: why clients were closed, and why the process ended.
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
		s.endService(w) // ends the writer
	}
	s.mu.Unlock()
	p.close()
	<-read
	<-wrote
	<-forwarded
	s.cleanUp(w)
}

// cleanUp removes a worker whose process has ended, with its clients.
func (s *Supervisor) cleanUp(w *worker) {
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

// remove takes a worker from the list. err is the full reason of its loss, or nil.
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
			s.reportStart(fmt.Errorf("%w: %w", ErrNoWorker, err))
		}
	}
	s.assignWaiting()
	s.wake()
}

// Stop refuses new clients, and drains the workers: their clients get up to within to catch up with
// head, and are closed with ServerShutdown, closeGap apart if there is time for that. When ctx
// ends, which should be some seconds later than within, the workers that are left are killed. Stop
// returns when every process is reaped and no goroutine is left. Another call, for example with
// less time, replaces the first, and both return.
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
			s.drain(w, handoff.Drain{
				Head: head, WithinMS: within.Milliseconds(), SpreadMS: spread.Milliseconds(),
				Disconnect: wsproto.ServerShutdown.Name,
			})
		}
	}
	s.reportStart(ErrStopping)
	started := s.started
	s.mu.Unlock()
	if !started {
		return
	}
	s.killAll(starting)
	s.wake()
	select {
	case <-s.over:
	case <-ctx.Done():
		s.killAll(starting, draining)
		<-s.over
	}
	s.reaps.Wait()
}

// killAll kills the workers in these states. If the process of a worker is not started yet, start
// kills it.
func (s *Supervisor) killAll(states ...State) {
	s.mu.Lock()
	doomed := slices.Clone(s.workers)
	doomed = slices.DeleteFunc(doomed, func(w *worker) bool {
		return w.process == nil || !slices.Contains(states, w.state)
	})
	s.mu.Unlock()
	for _, w := range doomed {
		s.condemn(w, FailedDrain, ErrStopping)
	}
}
