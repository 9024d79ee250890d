package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"distributor/bench/proc"
	"distributor/engine/config"
	"distributor/mmaplog/framelog"
	"distributor/wsproto/shardus"
)

// patience is how long anything may take that takes moments.
const patience = 20 * time.Second

// distributor is the program under test: the real binary in a directory of its
// own, which begins with nothing.
type distributor struct {
	dir     string
	asked   bool // it has databases
	cmd     *exec.Cmd
	Address string
	Workers []int         // their process ids
	Query   int           // that of the process that reads the databases
	ended   chan struct{} // closed when its log has
	frames  *framelog.Reader
}

// hashKey is the network's: every distributor and client here has the default.
func hashKey() shardus.HashKey {
	k, err := shardus.ParseHashKey(config.Default().HashKey)
	if err != nil {
		panic("bench: the default hash key is none: " + err.Error())
	}
	return k
}

// setup is what distributors differ in.
type setup struct {
	cpus      proc.CPUs
	databases string // directory of the archiver's; "" for none
	// workers are how many there are; 0 stands for one, which serves all
	// clients, so that one thread is compared with one thread.
	workers int
	each    int // clients of a worker at most; 0: as many as come
	linger  time.Duration
}

// startDistributor starts binary and waits until it distributes. dir is made,
// and removed by close.
func startDistributor(binary, dir string, o setup) (d *distributor, err error) {
	o.workers, o.each = cmp.Or(o.workers, 1), cmp.Or(o.each, 100_000)
	d = &distributor{dir: dir, asked: o.databases != "", ended: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start the distributor: %w", err), d.close())
			d = nil
		}
	}()
	if err := rest(d.logs()); err != nil {
		return d, err
	}
	keys := map[string]any{
		"LISTEN_ADDR": "127.0.0.1", "DISTRIBUTOR_PORT": 0, "DATA_LOG_DIR": d.logs(), "STATE_DIR": filepath.Join(dir, "state"), "LOG_FORMAT": "json",
		"NUMBER_OF_WORKERS": o.workers, "MAX_WORKERS": o.workers, "MAX_CLIENTS_PER_CHILD": o.each,
		// Nothing may fall out of the frame log, and silent clients may stay.
		"FRAME_LOG_BYTES": 8 << 30, "PING_INTERVAL_MS": 3_600_000, "PING_TIMEOUT_MS": 86_400_000,
		"RATE_LIMIT": 1_000_000, "DRAIN_MS": 0, "LINGER_MS": o.linger.Milliseconds(), "ADMIN_ADDR": "",
	}
	if o.databases != "" {
		keys["ARCHIVER_DB_DIR"] = o.databases
	}
	settings, err := json.Marshal(keys)
	if err != nil {
		return d, err
	}
	if err := os.WriteFile(filepath.Join(dir, config.DefaultFile), settings, 0o644); err != nil {
		return d, err
	}
	d.cmd = exec.Command(binary, "serve")
	d.cmd.Dir = dir
	// Ctrl-C is for us, who then stop it; and it ends should we be killed.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	out, err := d.cmd.StderrPipe()
	if err != nil {
		return d, err
	}
	if err := proc.StartOn(d.cmd, o.cpus); err != nil {
		return d, err
	}
	address := make(chan string, 1)
	go d.readLog(out, address)
	select {
	case d.Address = <-address:
	case <-d.ended:
		return d, errors.New("it ended at once")
	case <-time.After(patience):
		return d, errors.New("it took too long")
	}
	if err := d.findChildren(o.workers); err != nil {
		return d, err
	}
	d.frames, err = framelog.OpenReader(filepath.Join(dir, "state", "frames"))
	return d, err
}

// findChildren waits until all of them are there: the first worker is enough to
// distribute.
func (d *distributor) findChildren(workers int) error {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		found, err := proc.Children(d.PID(), "worker")
		if err != nil {
			return err
		}
		queries, err := proc.Children(d.PID(), "query")
		if err != nil {
			return err
		}
		if len(found) == workers && len(queries) == 1 {
			d.Workers, d.Query = found, queries[0]
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("workers asked for: %d, there are %v; of query processes %v", workers, found, queries)
		}
	}
}

func (d *distributor) logs() string { return filepath.Join(d.dir, "data-logs") }

// PID of the primary.
func (d *distributor) PID() int { return d.cmd.Process.Pid }

// processes are those whose books are read.
func (d *distributor) processes() processes {
	return processes{primary: d.PID(), query: d.Query, servers: d.Workers}
}

// Head of the frame log: bytes that have been made of records so far.
func (d *distributor) Head() uint64 { return d.frames.Head() }

// awaitHead waits until the head is at least at, and returns when that was, to
// a millisecond.
func (d *distributor) awaitHead(ctx context.Context, at uint64) (time.Time, error) {
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for d.Head() < at {
		select {
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-d.ended:
			return time.Time{}, fmt.Errorf("the distributor has ended at %d of %d bytes", d.Head(), at)
		case <-poll.C:
		}
	}
	return time.Now(), nil
}

// readLog keeps the log in a file, shows what is a warning or worse, and finds
// the address listened on.
func (d *distributor) readLog(r io.Reader, address chan<- string) {
	defer close(d.ended)
	if file, err := os.Create(filepath.Join(d.dir, "distributor.log")); err == nil {
		defer file.Close()
		r = io.TeeReader(r, file)
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Level, Msg, Address string }
		unwell := json.Unmarshal(lines.Bytes(), &line) != nil || line.Level != "INFO" && line.Level != "DEBUG"
		if missing := strings.HasPrefix(line.Msg, "database does not answer"); unwell && (d.asked || !missing) {
			fmt.Fprintf(os.Stderr, "distributor: %s\n", lines.Bytes())
		}
		if line.Msg == "distributing" {
			address <- line.Address
		}
	}
	_, _ = io.Copy(io.Discard, r)
}

// close stops it and removes its directory.
func (d *distributor) close() error {
	var err error
	if d.frames != nil {
		err = d.frames.Close()
	}
	if d.cmd != nil && d.cmd.Process != nil {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
		defer kill.Stop()
		<-d.ended
		if waitErr := d.cmd.Wait(); waitErr != nil {
			err = errors.Join(err, fmt.Errorf("the distributor ended badly: %w", waitErr))
		}
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}
