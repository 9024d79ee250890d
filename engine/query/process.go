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
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/logging"
)

const (
	// niceness of the query process: whenever the firehose has something to do, it goes first; and on a machine where the
	// firehose takes all there is, a tenth of a processor is left.
	niceness = 10
	// setUpWithin is how long the query process may take to start.
	setUpWithin = 10 * time.Second
	// restartFirst and restartMost are the pauses before it is started again; twice as long each time.
	restartFirst = 100 * time.Millisecond
	restartMost  = 10 * time.Second
	// livedLong is a life after which the pauses begin anew.
	livedLong = time.Minute
	// lookWithin is how long it may take to say what it has at hand, each time, and hung how long it may not do that
	// before it is killed: long, since it gets little time beside a busy firehose.
	lookWithin = time.Second
	hung       = 30 * time.Second
	// endWithin is how long it may take to end when the primary does.
	endWithin = 2 * time.Second
	// idleConnections are kept for the next requests.
	idleConnections = 64

	// idleTimeout is how long one of them is kept unused. It is short because each costs a descriptor
	// on both sides, and dialling anew takes microseconds.
	idleTimeout = 10 * time.Second
)

// ErrNoProcess: the query process is not running; it is about to be started.
var ErrNoProcess = errors.New("query: the process that reads the databases is not running")

// process is a query process that has been set up.
type process struct {
	cmd     *exec.Cmd
	channel *channel
	client  *http.Client
	output  *os.File
	gone    chan struct{} // closed when it has ended
}

// keep starts the query process, again and again, until ctx ends. It stays on one thread for life: the process gets
// SIGKILL when the thread that forked it ends, and has inherited the niceness of that thread.
func (f *Front) keep(ctx context.Context) {
	runtime.LockOSThread() // for ever: the thread ends with this goroutine
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, niceness); err != nil {
		f.log.Warn("the query process has no lower priority than the firehose", "error", err)
	}
	pause := restartFirst
	for ctx.Err() == nil {
		begun := time.Now()
		err := f.live(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) >= livedLong {
			pause = restartFirst
		}
		f.set(nil, fmt.Errorf("%w: %w", ErrNoProcess, err))
		f.log.Error("the query process has ended; it is started again", "error", err, "in", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, restartMost)
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
	parts.Go(func() {
		f.changing.Lock()
		defer f.changing.Unlock()
		if err := p.setUp(f.setup); err != nil {
			f.log.Error("the query process could not be set up", "error", err)
			p.kill()
			return
		}
		f.set(p, nil)
		f.log.Info("query process", "pid", p.pid())
	})
	select {
	case err = <-ended:
	case <-ctx.Done():
		p.channel.close() // it ends by that
		select {
		case <-ended:
		case <-time.After(endWithin):
			p.kill()
			<-ended
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

func start(argv, env []string) (*process, error) {
	channel, control, err := newChannel()
	if err != nil {
		return nil, err
	}
	defer control.Close()
	r, w, err := os.Pipe()
	if err != nil {
		channel.close()
		return nil, fmt.Errorf("query: pipe: %w", err)
	}
	defer w.Close()
	p := newProcess(channel)
	p.output = r
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append([]string{}, env...) // not nil, which would inherit ours
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.ExtraFiles = []*os.File{control}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // a terminal's Ctrl-C is for the primary
	}
	if err := p.cmd.Start(); err != nil {
		p.close()
		_ = r.Close()
		return nil, fmt.Errorf("query: start the query process: %w", err)
	}
	return p, nil
}

func newProcess(c *channel) *process {
	return &process{channel: c, gone: make(chan struct{}), client: &http.Client{Transport: &http.Transport{
		DialContext: c.dial, DisableCompression: true, MaxIdleConnsPerHost: idleConnections, IdleConnTimeout: idleTimeout,
	}}}
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
}

func (p *process) setUp(s setup) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("query: set up: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), setUpWithin)
	defer cancel()
	answer, err := p.ask(ctx, http.MethodPut, setupPath, "", text)
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

// ask sends a request. The caller closes the answer's body.
func (p *process) ask(ctx context.Context, method, path, kind string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://query"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	answer, err := p.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("query: ask the query process: %w", err)
	}
	return answer, nil
}

// tell reads the answer to a GET into what.
func (p *process) tell(ctx context.Context, path string, what any) error {
	answer, err := p.ask(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("query: %s: %s", path, answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(what); err != nil {
		return fmt.Errorf("query: %s: %w", path, err)
	}
	return nil
}
