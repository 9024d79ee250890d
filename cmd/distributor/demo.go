package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"distributor/engine/config"
	"distributor/engine/simulator"
	"distributor/wsproto"
	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

const demoHelp = `Runs the whole path of the data: a simulated archiver appends records to data logs, a
distributor follows and signs them, and a collector verifies what it receives over the
WebSocket. Prints live counts until Ctrl-C, then stops everything cleanly. The exit status
is 0 if every record that was written was received and verified.

usage: distributor demo [flags]

`

// demoPatience is how long the demo waits for the last records at the end, and for the distributor
// to start and to stop.
const demoPatience = 15 * time.Second

type demoOptions struct {
	rate       float64
	seconds    float64
	generation string
	dir        string
}

func demoCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o demoOptions
	flags := pflag.NewFlagSet("demo", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Float64Var(&o.rate, "rate", 200,
		"records per second that the archiver writes; 0: as fast as possible")
	flags.Float64Var(&o.seconds, "seconds", 0, "stop after this many seconds; 0: at Ctrl-C")
	flags.StringVar(&o.generation, "generation", string(simulator.BytesBlank),
		"how the archiver writes: entries, bytes or bytes-blank")
	flags.StringVar(&o.dir, "dir", "",
		"keep logs, frame log and the distributor's output here; default: a temporary directory, removed at the end")
	flags.Usage = func() { fmt.Fprint(stdout, demoHelp, flags.FlagUsages()) }
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "distributor demo: %v (see --help)\n", err)
		return exitConfig
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "distributor demo: unexpected argument %q (see --help)\n", flags.Arg(0))
		return exitConfig
	case o.rate < 0 || o.seconds < 0:
		fmt.Fprintln(stderr, "distributor demo: --rate and --seconds cannot be negative (see --help)")
		return exitConfig
	}
	if err := demo(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "distributor demo:", err)
		return exitFailed
	}
	return exitOK
}

func demo(ctx context.Context, o demoOptions, stdout, stderr io.Writer) (err error) {
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "distributor-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	d := &demonstration{dir: dir, account: newAccount(stdout), stderr: stderr}
	if err := d.layOutLogs(o); err != nil {
		return err
	}
	if err := d.startDistributor(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stopDistributor()) }()
	return d.run(ctx, o)
}

// demonstration is one run: this process is the archiver and the collector, and a child process is
// the distributor.
type demonstration struct {
	dir     string
	stderr  io.Writer
	account *account
	server  *exec.Cmd
	address string        // of the firehose
	admin   string        // of the status page
	logged  chan struct{} // closed at the end of the distributor's log
}

func (d *demonstration) logs() string      { return filepath.Join(d.dir, "data-logs") }
func (d *demonstration) databases() string { return filepath.Join(d.dir, "databases") }

// layOutLogs creates what an archiver has before its first record, so that the distributor finds
// the data logs that it is configured to follow.
func (d *demonstration) layOutLogs(o demoOptions) error {
	for _, stream := range simulator.Streams {
		w, err := simulator.NewLogWriter(simulator.LogOptions{Dir: d.logs(), Stream: stream,
			Generation: simulator.Generation(o.generation)})
		if err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	db, err := simulator.OpenDatabases(d.databases(), true)
	if err != nil {
		return err
	}
	return db.Close()
}

// startDistributor runs `distributor serve` and waits until it distributes.
func (d *demonstration) startDistributor() error {
	settings, err := json.Marshal(map[string]any{
		"LISTEN_ADDR": "127.0.0.1", "DISTRIBUTOR_PORT": 0, "DATA_LOG_DIR": d.logs(),
		"ARCHIVER_DB_DIR": d.databases(), "ADMIN_ADDR": "127.0.0.1:0",
		"STATE_DIR": filepath.Join(d.dir, "state"), "LOG_FORMAT": "json",
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.dir, config.DefaultFile), settings, 0o644); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	d.server = exec.Command(self, "serve")
	d.server.Dir = d.dir
	d.server.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true, // Ctrl-C reaches only the demonstration, which then stops the server
		Pdeathsig: syscall.SIGTERM,
	}
	out, err := d.server.StderrPipe()
	if err != nil {
		return err
	}
	if err := d.server.Start(); err != nil {
		return fmt.Errorf("start the distributor: %w", err)
	}
	listening := make(chan struct{})
	d.logged = make(chan struct{})
	go d.readLog(out, listening)
	select {
	case <-listening:
	case <-d.logged:
	case <-time.After(demoPatience):
	}
	select {
	case <-listening:
		return nil
	default:
		return errors.Join(errors.New("the distributor did not start"), d.stopDistributor())
	}
}

// readLog prints warnings and errors, copies the log to a file, and finds the addresses that the
// distributor listens on. It closes listening when it has both.
func (d *demonstration) readLog(r io.Reader, listening chan<- struct{}) {
	defer close(d.logged)
	file, err := os.Create(filepath.Join(d.dir, "distributor.log"))
	if err == nil {
		defer file.Close()
		r = io.TeeReader(r, file)
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Level, Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) != nil ||
			(line.Level != "INFO" && line.Level != "DEBUG") {
			fmt.Fprintf(d.stderr, "%s\n", lines.Bytes())
		}
		switch {
		case listening == nil: // both are known; after a handover they come again
			continue
		case line.Msg == "distributing":
			d.address = line.Address
		case line.Msg == "admin listener":
			d.admin = line.Address
		default:
			continue
		}
		if d.address != "" && d.admin != "" {
			close(listening)
			listening = nil
		}
	}
	_, _ = io.Copy(io.Discard, r)
}

func (d *demonstration) stopDistributor() error {
	if err := d.server.Process.Signal(syscall.SIGTERM); err != nil &&
		!errors.Is(err, os.ErrProcessDone) {
		return err
	}
	kill := time.AfterFunc(demoPatience, func() { _ = d.server.Process.Kill() })
	defer kill.Stop()
	<-d.logged
	if err := d.server.Wait(); err != nil {
		return fmt.Errorf("the distributor failed: %w", err)
	}
	return nil
}

func (d *demonstration) run(ctx context.Context, o demoOptions) error {
	defaults := config.Default()
	hashKey, err := shardus.ParseHashKey(defaults.HashKey)
	if err != nil {
		return err
	}
	owner, err := shardus.ParsePublicKey(defaults.PublicKey)
	if err != nil {
		return err
	}
	_, key, err := shardus.GenerateKey()
	if err != nil {
		return err
	}
	c, err := collector.Dial(ctx, collector.Options{
		URL: "http://" + d.address, Keys: key, HashKey: hashKey, ExpectOwner: owner,
		From:   wsproto.From{Start: wsproto.Live},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return fmt.Errorf("connect the collector: %w", err)
	}
	defer c.Close()
	fmt.Fprintf(d.account.out, `archiver     writes to %s
distributor  on http://%s
status page  http://%s
collector    connected; to add another one: bin/distributor tail --url http://%[2]s
Ctrl-C stops everything. Latency is the time from append to reception.

`, d.logs(), d.address, d.admin)

	collecting, stopCollecting := context.WithCancel(context.Background())
	defer stopCollecting()
	collected := make(chan error, 1)
	go func() { collected <- d.collect(collecting, c) }()
	showing, stopShowing := context.WithCancel(context.Background())
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		d.account.show(showing)
	}()

	archiving, stopArchiving := context.WithCancel(ctx)
	defer stopArchiving()
	archived := make(chan error, 1)
	go func() {
		_, err := simulator.Run(archiving, simulator.Options{
			Dir: d.logs(), Databases: d.databases(), Seed: "demo",
			Rates: simulator.Spread(cmp.Or(o.rate, 1), simulator.Streams[:]...), Unpaced: o.rate == 0,
			// what is written is compared with what is received, so the distributor must add nothing
			ShardKeys: true,
			Duration:  time.Duration(o.seconds * float64(time.Second)), Batch: 10 * time.Millisecond,
			Log:     simulator.LogOptions{Generation: simulator.Generation(o.generation)},
			OnWrite: d.account.written,
		})
		archived <- err
	}()

	select {
	case err = <-archived:
	case collectErr := <-collected: // only after an error
		stopArchiving()
		err = errors.Join(collectErr, <-archived)
		collected <- nil
	}
	// The last records may still be on their way.
	missing, extra := d.account.open()
	for end := time.Now().Add(demoPatience); err == nil && missing+extra > 0 &&
		time.Now().Before(end); missing, extra = d.account.open() {
		time.Sleep(10 * time.Millisecond)
	}
	stopShowing()
	<-shown
	stopCollecting()
	if collectErr := <-collected; !errors.Is(collectErr, context.Canceled) {
		err = errors.Join(err, collectErr)
	}
	d.account.total()
	if missing+extra > 0 && err == nil {
		err = fmt.Errorf("%d records were not received; %d received records were not written, or came twice", missing, extra)
	}
	return err
}

func (d *demonstration) collect(ctx context.Context, c *collector.Collector) error {
	for {
		m, err := c.Next(ctx)
		if err != nil {
			return err
		}
		d.account.received(m)
	}
}
