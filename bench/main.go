// Command bench measures the distributor: see README.md for what and how.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"distributor/bench/proc"
	"distributor/bench/raw"
	"distributor/bench/storm"
	"distributor/bench/subscriber"
)

// roles are what this program also is, as a child of itself.
var roles = map[string]func() error{subscriber.Role: subscriber.Run, raw.Role: raw.Run, storm.Role: storm.Run, signRole: runSign, apiRole: runAPIClients, writerRole: runWriter}

func main() {
	if len(os.Args) == 2 && roles[os.Args[1]] != nil {
		signal.Ignore(syscall.SIGINT) // the end of our input ends us
		if err := roles[os.Args[1]](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const usage = `Measures the distributor from outside; figures are ratios of what runs by turns.

usage: bench [flags] [scenario…]

`

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	quick := flags.Bool("quick", false, "less of everything: under two minutes, less exact")
	binary := flags.String("binary", "bin/distributor", "the program under test")
	dir := flags.String("dir", os.TempDir(), "where the temporary directory for logs and frame logs is made; a real disk rather than memory")
	wait := flags.Duration("patience", 4*time.Minute, "from the start, for how long a busy machine is waited for, and disturbed rounds are repeated; quick: a tenth of it")
	out := flags.String("out", "bench/out", "directory of the JSON lines")
	readme := flags.String("publish", "", "a README.md into which the figures go, and the picture beside it")
	peersDir := flags.String("peers", "bench/peers", "the Go module of the libraries to compare with; empty: none are")
	flags.Usage = func() {
		fmt.Fprint(stderr, usage, flags.FlagUsages(), "\nscenarios (default: all; quick: those without a star):\n")
		for _, s := range scenarios {
			fmt.Fprintf(stderr, "  %s\n", s.title())
		}
	}
	for i, a := range args {
		if a == "-quick" { // as the go command writes flags
			args = slices.Concat(args[:i], []string{"--quick"}, args[i+1:])
		}
	}
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	chosen, err := choose(flags.Args(), *quick)
	if err != nil {
		return err
	}
	b, err := newBench(*binary, *dir, *out, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	b.peersDir = *peersDir
	start := time.Now()
	b.repeatUntil = start.Add(either(*quick, *wait/10, *wait))
	for _, s := range chosen {
		b.report.say("%s: %s", s.name, s.about)
		if err := s.run(ctx, b, s.name, *quick); err != nil {
			if ctx.Err() != nil {
				err = errors.New("stopped")
			}
			return errors.Join(fmt.Errorf("%s: %w", s.name, err), b.failure)
		}
	}
	b.report.table(stdout)
	b.report.targetTable(stdout)
	for _, n := range b.report.notes {
		fmt.Fprintln(stdout, n)
	}
	if err := b.results(start, args, *readme); err != nil {
		return err
	}
	if b.disturbed > 0 {
		fmt.Fprintf(stdout, "%d rounds were disturbed by other work on this machine, and are counted all the same: take the figures for rough.\n", b.disturbed)
	}
	b.report.say("%v in all; load average %s; %s", time.Since(start).Round(time.Second), loadAverage(), b.report.file.Name())
	return nil
}

// results leaves tables and picture beside the JSON lines, and in readme if
// there is one.
func (b *bench) results(start time.Time, args []string, readme string) error {
	heading := b.heading(start, time.Since(start), args)
	base := strings.TrimSuffix(b.report.file.Name(), ".jsonl")
	var text strings.Builder
	b.report.markdown(&text, heading)
	err := os.WriteFile(base+".md", []byte(text.String()), 0o644)
	if charts := b.report.charts(); len(charts) > 0 && err == nil {
		err = os.WriteFile(base+".svg", []byte(drawCharts(charts)), 0o644)
	}
	if err == nil && readme != "" {
		err = b.report.publish(readme, heading)
	}
	return err
}

// bench is what scenarios work with.
type bench struct {
	binary    string
	dir       string    // temporary
	all       proc.CPUs // those we may use
	server    proc.CPUs // one, for what is measured
	generator proc.CPUs // the others, for the clients, the archiver and ourselves
	softirq   []int     // the kernel's threads for the network, of all CPUs
	report    *report
	servers   int     // started so far
	peersDir  string  // their sources; "" for none
	peers     []*peer // that can be measured; nil before buildPeers
	failure   error   // of something that was to end well

	repeatUntil time.Time                   // as long as a busy machine is waited for, and disturbed rounds are repeated
	disturbed   int                         // rounds that were kept all the same
	quiet       func(context.Context) error // awaitQuiet; nil: nothing is waited for
}

func newBench(binary, parent, out string, progress io.Writer) (*bench, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("%w (make build makes it)", err)
	}
	all, err := proc.Allowed()
	if err != nil {
		return nil, err
	}
	if len(all) < 2 {
		return nil, errors.New("at least two CPUs are needed, one for the server and one for the clients")
	}
	b := &bench{binary: binary, all: all, server: all[:1], generator: all[1:]}
	b.quiet = b.awaitQuiet
	if b.softirq, err = proc.Softirq(all); err != nil {
		return nil, err
	}
	if err := proc.PinSelf(b.generator); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp(parent, "distributor-bench-"); err != nil {
		return nil, err
	}
	if b.report, err = newReport(out, time.Now(), progress); err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.dir))
	}
	files, err := proc.Files(os.Getpid())
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	b.report.line("machine", machine(b, files))
	return b, nil
}

func (b *bench) close() error { return errors.Join(b.report.close(), os.RemoveAll(b.dir)) }

// finish is for defer: what does not end well spoils the run.
func (b *bench) finish(end func() error) { b.failure = errors.Join(b.failure, end()) }

// distributor starts one with one worker on cpus. databases is the directory of
// the archiver's; "" for none.
func (b *bench) distributor(cpus proc.CPUs, databases string) (*distributor, error) {
	return b.distributorOf(setup{cpus: cpus, databases: databases})
}

func (b *bench) distributorOf(o setup) (*distributor, error) {
	b.servers++
	return startDistributor(b.binary, filepath.Join(b.dir, fmt.Sprintf("distributor-%d", b.servers)), o)
}

func (b *bench) stageMade(name string, s stage) {
	b.report.line("stage", struct {
		Scenario string `json:"scenario"`
		stage
	}{name, s})
	b.report.say("  %d records, %.0f bytes each on average, %.1f MB of frames", s.Records, float64(s.LogBytes)/float64(s.Records), float64(s.FrameBytes)/1e6)
}

// machine is what figures have to be read with.
func machine(b *bench, files uint64) map[string]any {
	m := map[string]any{"cpus": len(b.all), "server_cpus": b.server, "generator_cpus": b.generator, "open_files": files, "load": loadAverage(), "time": time.Now()}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				m["model"] = strings.TrimSpace(v)
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m["kernel"] = strings.TrimSpace(string(text))
	}
	return m
}
