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
	// niceness of the query process: whenever the firehose has something to do, it goes first; and on a machine where the
	// firehose takes all there is, a tenth of a processor is left.
	niceness = 10
	// setUpWithin is how long the query process may take to start.
	setUpWithin = 10 * time.Second
	// endsWithin is how long after a failed request the query process is waited for to end: the
	// request may be lost with it, and is asked again then.
	endsWithin = time.Second
	// endWithin is how long it may take to end when the primary does.
	endWithin = 2 * time.Second
	// maxConnections bounds the requests that are with the query process at a time, each of which
	// has a connection. They may be many more than it works on, as those count whose clients read
	// slowly. Few descriptors make them fewer: connections.
	maxConnections = 256
	// ownConnections are for what the primary itself asks: setup, tables, health and rows.
	ownConnections = 4
	// otherDescriptors are the channel's, the pipe's, and of a connection that is being passed.
	otherDescriptors = 6
	// idleConnections are kept for the next requests.
	idleConnections = 64

	// idleTimeout is how long one of them is kept unused. It is short because each costs a descriptor
	// on both sides, and dialling anew takes microseconds.
	idleTimeout = 10 * time.Second
)

// looks are how often the query process is asked how it is, and how long it may take to answer.
type looks struct {
	every time.Duration
	// within is for its counters, which it has at hand. Without them in that time the process is
	// killed. That is long, since it gets little time beside a busy firehose; and with every it is
	// less than a request has by default, so that the next process answers the requests that this
	// one holds, and none is refused.
	within time.Duration
	// health is for what the databases say: one that is locked takes two seconds.
	health time.Duration
}

var defaultLooks = looks{every: time.Second, within: 7 * time.Second, health: 3 * time.Second}

// connections is how many requests may be with the query process at a time, of a process with that
// limit of descriptors.
func connections(limit uint64) int { return int(min(maxConnections, max(limit/8, 1))) }

// Descriptors returns how many descriptors the primary may need for the query process, with that
// limit of them.
func Descriptors(limit uint64) int { return connections(limit) + ownConnections + otherDescriptors }

func descriptorLimit() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return maxConnections // few enough for any
	}
	return limit.Cur
}

// ErrNoProcess: the query process is not running; it is about to be started.
var ErrNoProcess = errors.New("query: the process that reads the databases is not running")

// process is a query process that has been set up.
type process struct {
	cmd     *exec.Cmd
	channel *channel
	client  *http.Client // for requests of the API
	own     *http.Client // for what the primary asks: it never waits behind clients' requests
	output  *os.File
	gone    chan struct{} // closed when it has ended
	version uint64        // of the setup that it has; Front.mu guards it
}

// keep starts the query process, again and again, until ctx ends. It stays on one thread for life: the process gets
// SIGKILL when the thread that forked it ends, and has inherited the niceness of that thread.
func (f *Front) keep(ctx context.Context) {
	runtime.LockOSThread() // for ever: the thread ends with this goroutine
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, niceness); err != nil {
		f.log.Warn("the query process has no lower priority than the firehose", "error", err)
	}
	var backoff ipc.Backoff
	for ctx.Err() == nil {
		err := f.live(ctx)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		backoff.Fail(now, err)
		pause := backoff.Until.Sub(now)
		f.set(nil, fmt.Errorf("%w: %w", ErrNoProcess, err))
		f.log.Error("the query process has ended; it is started again", "error", err, "in", pause.Round(time.Millisecond))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// live is one life of the query process. The error says how it ended.
func (f *Front) live(ctx context.Context) error {
	p, err := start(f.command, f.env)
	if err != nil {
		return err
	}
	var parts sync.WaitGroup
	parts.Go(func() { logging.Forward(p.output, f.log.With("process", "query"), "query process") })
	ended := make(chan error, 1)
	go func() {
		defer close(p.gone)
		ended <- p.cmd.Wait()
	}()
	parts.Go(func() { f.tend(ctx, p) })
	select {
	case err = <-ended:
	case <-ctx.Done():
		p.channel.close() // it ends by that
		select {
		case <-ended:
		case <-time.After(endWithin):
			p.kill()
			select {
			case <-ended:
			case <-time.After(endWithin): // a disk that hangs keeps it, and not us
			}
		}
		err = ctx.Err()
	}
	p.close()
	_ = p.output.SetReadDeadline(time.Now().Add(time.Second)) // for its last words; others may hold the pipe open
	parts.Wait()
	_ = p.output.Close()
	if err == nil {
		err = errors.New("exit status 0")
	}
	return err
}

// tend is what the primary does for a query process until that has ended. ctx ends when it is to
// end.
func (f *Front) tend(ctx context.Context, p *process) {
	if !f.settle(ctx, p) {
		return
	}
	f.set(p, nil)
	f.log.Info("query process", "pid", p.pid())
	var parts sync.WaitGroup
	parts.Go(func() { f.follow(ctx, p) })
	parts.Go(func() { f.watch(ctx, p) })
	parts.Go(func() { f.examine(ctx, p) })
	parts.Wait()
}

// settle gives the query process the settings. One that does not take them is killed: the next one
// starts with them.
func (f *Front) settle(ctx context.Context, p *process) bool {
	f.mu.Lock()
	s, version := f.setup, f.version
	f.mu.Unlock()
	if err := p.setUp(ctx, s); err != nil {
		if ctx.Err() == nil && p.lives() {
			f.log.Error("the query process did not take its settings; it is started again", "pid", p.pid(), "error", err)
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

// follow gives the query process the settings whenever they have changed, until it has ended.
func (f *Front) follow(ctx context.Context, p *process) {
	for {
		f.mu.Lock()
		behind, changed := p.version != f.version, f.changed
		f.mu.Unlock()
		if behind {
			if !f.settle(ctx, p) {
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

// watch asks the query process for its counters until it has ended. One that does not give them for
// long is stopped, or loops, and is killed: another one takes its place.
func (f *Front) watch(ctx context.Context, p *process) {
	for {
		if err := f.look(ctx, p); errors.Is(err, context.DeadlineExceeded) {
			f.log.Error("the query process does not answer and is killed", "pid", p.pid(), "error", err)
			p.kill()
			return
		}
		if p.ends(ctx, f.looks.every) || ctx.Err() != nil {
			return
		}
	}
}

// look asks the query process for its counters.
func (f *Front) look(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, f.looks.within)
	defer cancel()
	var tables map[string]TableSnapshot
	err := p.tell(ctx, tablesPath, &tables)
	if err == nil {
		f.tables.Store(&tables)
	}
	return err
}

// examine asks the query process what keeps the databases from answering, until it has ended.
func (f *Front) examine(ctx context.Context, p *process) {
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, f.looks.health)
		var problems []Problem
		if err := p.tell(within, healthPath, &problems); err != nil {
			problems = []Problem{{Text: err.Error()}}
		}
		cancel()
		f.problems.Store(&problems)
		if p.ends(ctx, f.looks.every) {
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
		channel: c, gone: make(chan struct{}), client: client(connections(descriptorLimit())), own: client(ownConnections),
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

// ends reports whether the process ends within a time.
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

// kill is harmless after the process's end.
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
func send(ctx context.Context, over *http.Client, method, path, kind string, body []byte) (*http.Response, error) {
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

// tell reads the answer to a GET into what.
func (p *process) tell(ctx context.Context, path string, what any) error {
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
