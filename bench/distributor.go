package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"distributor/bench/proc"
	"distributor/bench/subscriber"
	"distributor/engine/config"
	"distributor/engine/simulator"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// patience is the time limit of operations that normally take moments.
const patience = 20 * time.Second

// distributor is the program under test: the real binary in an empty directory of its own.
type distributor struct {
	dir     string
	cmd     *exec.Cmd
	address string
	worker  int           // process id
	query   int           // process id of the process that reads the databases
	ended   chan struct{} // closed when its log has
	frames  *framelog.Reader
}

// hashKey returns the network's hash key. Every distributor and client of the benchmark has the
// default.
func hashKey() shardus.HashKey {
	k, err := shardus.ParseHashKey(config.Default().HashKey)
	if err != nil {
		panic("bench: the default hash key is none: " + err.Error())
	}
	return k
}

// distributor starts a distributor with one worker, so that one thread is compared with one thread,
// and waits until it distributes. end stops it and removes its directory.
func (b *bench) distributor(cpus proc.CPUs) (d *distributor, err error) {
	dir := b.newDir("distributor")
	d = &distributor{dir: dir, ended: make(chan struct{})}
	b.started = append(b.started, d.close)
	defer func() {
		if err != nil {
			err = fmt.Errorf("start the distributor: %w", err)
		}
	}()
	if err := emptyLogs(d.logs()); err != nil {
		return d, err
	}
	text, err := json.Marshal(map[string]any{
		"LISTEN_ADDR": "127.0.0.1", "DISTRIBUTOR_PORT": 0, "ADMIN_ADDR": "", "LOG_FORMAT": "json",
		"DATA_LOG_DIR": d.logs(), "STATE_DIR": filepath.Join(dir, "state"),
		"NUMBER_OF_WORKERS": 1, "MAX_WORKERS": 1, "MAX_CLIENTS_PER_CHILD": 100_000,
		// Retention removes no frame, and silent clients stay connected.
		"FRAME_LOG_BYTES": 8 << 30, "PING_INTERVAL_MS": 3_600_000, "PING_TIMEOUT_MS": 86_400_000,
		"RATE_LIMIT": 1_000_000, "DRAIN_MS": 0,
	})
	if err != nil {
		return d, err
	}
	if err := os.WriteFile(filepath.Join(dir, config.DefaultFile), text, 0o644); err != nil {
		return d, err
	}
	d.cmd = cpus.Command(context.Background(), b.binary, "serve")
	d.cmd.Dir = dir
	// Only this process gets Ctrl-C, and then stops the distributor. If this process is killed, the
	// kernel kills the distributor.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	out, err := d.cmd.StderrPipe()
	if err != nil {
		return d, err
	}
	if err := d.cmd.Start(); err != nil {
		return d, err
	}
	address := make(chan string, 1)
	go d.readLog(out, address)
	select {
	case d.address = <-address:
	case <-d.ended:
		return d, errors.New("it ended at once")
	case <-time.After(patience):
		return d, errors.New("it took too long")
	}
	if err := d.findChildren(); err != nil {
		return d, err
	}
	d.frames, err = framelog.OpenReader(filepath.Join(dir, "state", "frames"))
	return d, err
}

// findChildren waits for the worker and the query process, because a distributor may distribute
// before both have started.
func (d *distributor) findChildren() error {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		workers, queries := proc.Children(d.pid(), "worker"), proc.Children(d.pid(), "query")
		if len(workers) == 1 && len(queries) == 1 {
			d.worker, d.query = workers[0], queries[0]
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not one worker and one query process: %v, %v", workers, queries)
		}
	}
}

func (d *distributor) logs() string { return filepath.Join(d.dir, "data-logs") }

func (d *distributor) pid() int { return d.cmd.Process.Pid }

// with returns the processes whose CPU time is measured, with those that make the load.
func (d *distributor) with(load ...*proc.Child) processes {
	return processes{[]int{d.pid(), d.query}, []int{d.worker}, pids(load...)}
}

func pids(children ...*proc.Child) (pids []int) {
	for _, c := range children {
		pids = append(pids, c.PID())
	}
	return pids
}

// target returns the target of clients that begin at from, a value of the URL's parameter.
func (d *distributor) target(from string) subscriber.Target {
	return subscriber.Target{Address: d.address, From: from, HashKey: hashKey()}
}

// awaitHead waits until the head of the frame log is at least at, and returns the time of that,
// with a precision of one millisecond.
func (d *distributor) awaitHead(ctx context.Context, at uint64) (time.Time, error) {
	for d.frames.Head() < at {
		select {
		case <-d.ended:
			return time.Time{}, errors.New("the distributor has ended")
		default:
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return time.Time{}, err
		}
	}
	return time.Now(), nil
}

// checkHead returns an error unless the frame log has exactly want bytes.
func (d *distributor) checkHead(want uint64) error {
	if head := d.frames.Head(); head != want {
		return fmt.Errorf("the frame log has %d bytes, its frames have %d", head, want)
	}
	return nil
}

// fill makes an archiver write records until their frames have a number of bytes, and waits until
// the frame log has them. The frame log must be empty before.
func (d *distributor) fill(ctx context.Context, bytes uint64) error {
	var written uint64
	archiving, stop := context.WithCancel(ctx)
	defer stop()
	_, err := simulator.Run(archiving, simulator.Options{
		Dir: d.logs(), Seed: "history", ShardKeys: true, Log: simulator.LogOptions{MaxFiles: 1000},
		OnWrite: func(stream string, line []byte, _ time.Time) {
			size := shardus.MessageSize(stream, len(line))
			written += uint64(len(wsproto.AppendTextHeader(nil, size)) + size)
			if written >= bytes {
				stop()
			}
		},
	})
	if err == nil {
		_, err = d.awaitHead(ctx, written)
	}
	return cmp.Or(err, d.checkHead(written))
}

// readLog prints warnings and errors, and finds the address.
func (d *distributor) readLog(r io.Reader, address chan<- string) {
	defer close(d.ended)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Level, Msg, Address string }
		bad := json.Unmarshal(lines.Bytes(), &line) != nil
		bad = bad || line.Level != "INFO" && line.Level != "DEBUG"
		if bad && !bytes.Contains(lines.Bytes(), []byte("database")) { // there are none
			fmt.Fprintf(os.Stderr, "distributor: %s\n", lines.Bytes())
		}
		if line.Msg == "distributing" {
			address <- line.Address
		}
	}
	_, _ = io.Copy(io.Discard, r)
}

// close stops the distributor and removes its directory.
func (d *distributor) close() (err error) {
	if d.frames != nil {
		err = d.frames.Close()
	}
	if d.cmd != nil && d.cmd.Process != nil {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
		defer kill.Stop()
		<-d.ended
		if waitErr := d.cmd.Wait(); waitErr != nil {
			err = cmp.Or(err, fmt.Errorf("the distributor ended badly: %w", waitErr))
		}
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}
