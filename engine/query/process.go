package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/ipc"
	"distributor/engine/logging"
)

const (
	// niceness is that of the query process. The firehose goes first whenever it has work. On a
	// machine that the firehose fills, a tenth of a processor is left.
	niceness = 10
	// setUpWithin is how long the query process may take to start.
	setUpWithin = 10 * time.Second
	// endsWithin is how long a failed request waits for the query process to end. If it ends, the
	// request was lost with it, and is asked again.
	endsWithin = time.Second
	// endWithin is how long the query process may take to end when the primary stops.
	endWithin = 2 * time.Second
	// maxConnections bounds the requests that are with the query process at a time. Each has a
	// connection. They may be many more than it works on, because requests count whose clients read
	// slowly. With few descriptors the bound is lower: see connections.
	maxConnections = 256
	// ownConnections is the number of connections for the primary's own requests: setup, tables,
	// health and rows.
	ownConnections = 4
	// otherDescriptors is the number of descriptors of the channel, the pipe, and a connection that
	// is being passed.
	otherDescriptors = 6
	// idleConnections is how many idle connections are kept for the next requests.
	idleConnections = 64

	// idleTimeout is how long an idle connection is kept. It is short, because each costs a descriptor
	// on both sides, and a new connection takes microseconds.
	idleTimeout = 10 * time.Second
)

// checks are the interval of the checks of the query process, and their time limits.
type checks struct {
	every time.Duration
	// within is how long the query process may take to return its counters. After that it is killed.
	// The limit is long, because the process gets little time beside a busy firehose. With every, it
	// is less than the default time of a request, so that the next process can answer the requests of
	// this one, and none is refused.
	within time.Duration
	// health is how long it may take to report on the databases: a locked one takes two seconds.
	health time.Duration
}

var defaultChecks = checks{
	every: time.Second, within: 7 * time.Second, health: 3 * time.Second,
}

// connections returns how many requests may be with the query process at a time, if limit is the
// limit of descriptors of a process.
func connections(limit uint64) int { return int(min(maxConnections, max(limit/8, 1))) }

// Descriptors returns how many descriptors the primary may need for the query process, if limit is
// the limit of descriptors of a process.
func Descriptors(limit uint64) int { return connections(limit) + ownConnections + otherDescriptors }

func descriptorLimit() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return maxConnections // few enough for any
	}
	return limit.Cur
}

// ErrNoProcess: the query process is not running. It is about to be started.
var ErrNoProcess = errors.New("query: the process that reads the databases is not running")

// process is a query process that has been set up.
type process struct {
	cmd     *exec.Cmd
	channel *channel
	client  *http.Client // for requests of the API
	own     *http.Client // for the primary's own requests, which never wait for those of clients
	output  *os.File
	gone    chan struct{} // closed when it has ended
	version uint64        // of the setup that it has; guarded by Front.mu
}

// keep starts the query process again and again, until ctx ends. It stays on one thread: the
// process gets SIGKILL when the thread that forked it ends, and inherits the niceness of that
// thread.
func (f *Front) keep(ctx context.Context) {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, niceness); err != nil {
		f.log.Warn("the query process has no lower priority than the firehose", "error", err)
	}
	var backoff ipc.Backoff
	for ctx.Err() == nil {
		err := f.runOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		backoff.Fail(now, err)
		pause := backoff.Until.Sub(now)
		f.set(nil, fmt.Errorf("%w: %w", ErrNoProcess, err))
		f.log.Error("the query process has ended; it is started again",
			"error", err, "in", pause.Round(time.Millisecond))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// runOnce starts a query process, and returns when it has ended. The error says how it ended.
func (f *Front) runOnce(ctx context.Context) error {
	p, err := start(f.command, f.env)
	if err != nil {
		return err
	}
	var parts sync.WaitGroup
	parts.Go(func() {
		logging.Forward(p.output, f.log.With("process", "query"), "query process")
	})
	ended := make(chan error, 1)
	go func() {
		defer close(p.gone)
		ended <- p.cmd.Wait()
	}()
	parts.Go(func() { f.manage(ctx, p) })
	select {
	case err = <-ended:
	case <-ctx.Done():
		p.channel.close() // this makes it end
		select {
		case <-ended:
		case <-time.After(endWithin):
			p.kill()
			select {
			case <-ended:
			case <-time.After(endWithin): // a disk that hangs keeps it; do not wait
			}
		}
		err = ctx.Err()
	}
	p.close()
	// Read its last lines, but not forever: other processes may hold the pipe open.
	_ = p.output.SetReadDeadline(time.Now().Add(time.Second))
	parts.Wait()
	_ = p.output.Close()
	if err == nil {
		err = errors.New("exit status 0")
	}
	return err
}

// manage sets up a query process, then sends it settings and checks it until it has ended. ctx ends
// when the process should end.
func (f *Front) manage(ctx context.Context, p *process) {
	if !f.applySetup(ctx, p) {
		return
	}
	f.set(p, nil)
	f.log.Info("query process", "pid", p.pid())
	var parts sync.WaitGroup
	parts.Go(func() { f.follow(ctx, p) })
	parts.Go(func() { f.watch(ctx, p) })
	parts.Go(func() { f.checkDatabases(ctx, p) })
	parts.Wait()
}

// applySetup sends the query process the settings. If it does not take them, it is killed: the next
// process starts with them.
func (f *Front) applySetup(ctx context.Context, p *process) bool {
	f.mu.Lock()
	s, version := f.setup, f.version
	f.mu.Unlock()
	if err := unlessStarved(p.cpuWait, func() error { return p.setUp(ctx, s) }); err != nil {
		if ctx.Err() == nil && p.lives() {
			f.log.Error("the query process did not take its settings; it is started again",
				"pid", p.pid(), "error", err)
		}
		p.kill()
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p.version = version
	f.announce()
	return true
}

// follow sends the query process the settings whenever they have changed, until it has ended.
func (f *Front) follow(ctx context.Context, p *process) {
	for {
		f.mu.Lock()
		behind, changed := p.version != f.version, f.changed
		f.mu.Unlock()
		if behind {
			if !f.applySetup(ctx, p) {
				return
			}
			continue
		}
		select {
		case <-changed:
		case <-p.gone:
			return
		case <-ctx.Done():
			return
		}
	}
}

// watch fetches the counters of the query process until it has ended. If it does not return them in
// time it is stopped or loops. Then it is killed, and another one is started.
func (f *Front) watch(ctx context.Context, p *process) {
	for {
		err := unlessStarved(p.cpuWait, func() error { return f.fetchCounters(ctx, p) })
		if errors.Is(err, context.DeadlineExceeded) {
			f.log.Error("the query process does not answer and is killed",
				"pid", p.pid(), "error", err)
			p.kill()
			return
		}
		if p.ends(ctx, f.checks.every) || ctx.Err() != nil {
			return
		}
	}
}

// starvedTimes is how often the query process may exceed a time limit while it gets no processor.
const starvedTimes = 6

// unlessStarved asks the query process something that has a time limit. It asks again if the
// process exceeded the limit and waited for a processor meanwhile, for half of the time at least:
// the next process would get none either.
func unlessStarved(cpuWait func() (time.Duration, error), ask func() error) (err error) {
	for range starvedTimes {
		before, unknown := cpuWait()
		began := time.Now()
		if err = ask(); !errors.Is(err, context.DeadlineExceeded) || unknown != nil {
			return err
		}
		if after, gone := cpuWait(); gone != nil || after-before < time.Since(began)/2 {
			return err
		}
	}
	return err
}

func (p *process) cpuWait() (time.Duration, error) { return ipc.CPUWait(p.pid()) }

// fetchCounters asks the query process for its counters.
func (f *Front) fetchCounters(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, f.checks.within)
	defer cancel()
	var tables map[string]TableSnapshot
	err := p.get(ctx, tablesPath, &tables)
	if err == nil {
		f.tables.Store(&tables)
	}
	return err
}

// checkDatabases asks the query process which databases do not answer, until it has ended.
func (f *Front) checkDatabases(ctx context.Context, p *process) {
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, f.checks.health)
		var problems []Problem
		if err := p.get(within, healthPath, &problems); err != nil {
			problems = []Problem{{Text: err.Error()}}
		}
		cancel()
		f.problems.Store(&problems)
		if p.ends(ctx, f.checks.every) {
			return
		}
	}
}

func start(argv, env []string) (*process, error) {
	channel, control, err := newChannel()
	if err != nil {
		return nil, err
	}
	defer control.Close()
	p := newProcess(channel)
	if p.cmd, p.output, err = ipc.Start(argv, env, control); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func newProcess(c *channel) *process {
	client := func(most int) *http.Client {
		return &http.Client{Transport: &http.Transport{
			DialContext: c.dial, DisableCompression: true, IdleConnTimeout: idleTimeout,
			MaxConnsPerHost: most, MaxIdleConnsPerHost: min(most, idleConnections),
		}}
	}
	return &process{
		channel: c, gone: make(chan struct{}),
		client: client(connections(descriptorLimit())), own: client(ownConnections),
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) lives() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// ends waits up to within for the end of the process, and reports whether it has ended.
func (p *process) ends(ctx context.Context, within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-p.gone:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}

// kill kills the process. It does nothing after the process's end.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

func (p *process) close() {
	p.channel.close()
	p.client.CloseIdleConnections()
	p.own.CloseIdleConnections()
}

func (p *process) setUp(ctx context.Context, s setup) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("query: set up: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, setUpWithin)
	defer cancel()
	answer, err := send(ctx, p.own, http.MethodPut, setupPath, "", text)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return fmt.Errorf("query: set up: %s", bytes.TrimSpace(why))
	}
	return nil
}

// send sends a request to the query process. The caller closes the answer's body.
func send(
	ctx context.Context, over *http.Client, method, path, kind string, body []byte,
) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://query"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	answer, err := over.Do(r)
	if err != nil {
		return nil, fmt.Errorf("query: ask the query process: %w", err)
	}
	return answer, nil
}

// get sends a GET to the query process, and decodes the answer into what.
func (p *process) get(ctx context.Context, path string, what any) error {
	answer, err := send(ctx, p.own, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return fmt.Errorf("query: %s: %s: %s", path, answer.Status, bytes.TrimSpace(why))
	}
	if err := json.NewDecoder(answer.Body).Decode(what); err != nil {
		return fmt.Errorf("query: %s: %w", path, err)
	}
	return nil
}
