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
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"distributor/bench/peers"
	"distributor/bench/proc"
	"distributor/bench/subscriber"
)

// roles are the roles of this program as a child process of itself.
var roles = map[string]func() error{
	subscriber.Role: subscriber.Run, peers.RawRole: peers.RunRaw,
	peers.GorillaRole: peers.RunGorilla, peers.GwsRole: peers.RunGws,
}

func main() {
	if len(os.Args) == 2 && roles[os.Args[1]] != nil {
		signal.Ignore(syscall.SIGINT) // a child ends at the end of its input
		if err := roles[os.Args[1]](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
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
	quick := flags.Bool("quick", false, "less of everything: minutes, less exact")
	binary := flags.String("binary", "../bin/distributor", "the program under test")
	base := flags.String("base", "", "another program: measure both by turns, report their ratios")
	times := flags.Int("times", 3, "with --base: how often each is measured")
	dir := flags.String("dir", os.TempDir(),
		"where the temporary directory for logs and frame logs is made; on a disk, not in memory")
	wait := flags.Duration("patience", 4*time.Minute, "from the start, how long a busy machine is "+
		"waited for, and disturbed rounds are repeated; quick: a tenth of it")
	out := flags.String("out", "out", "directory of the JSON lines")
	readme := flags.String("publish", "", "a README.md to put the figures in")
	wsDir := flags.String("peers", "ws", "the directory ws of the sources; empty: no peers")
	flags.Usage = func() {
		const title = "\nscenarios (default: all; quick: those without a star):\n"
		fmt.Fprint(stderr, usage, flags.FlagUsages(), title)
		for _, s := range scenarios {
			fmt.Fprintf(stderr, "  %s\n", s.title())
		}
	}
	if i := slices.Index(args, "-quick"); i >= 0 { // as the go command writes flags
		args = slices.Clone(args)
		args[i] = "--quick"
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
	b.wsDir = *wsDir
	start := time.Now()
	b.repeatUntil = start.Add(either(*quick, *wait/10, *wait))
	if *base == "" {
		err = b.runAll(ctx, chosen, *quick)
	} else {
		err = b.against(ctx, *base, *times, chosen, *quick)
	}
	if err != nil {
		return err
	}
	if err := b.results(start, args, stdout, *readme); err != nil {
		return err
	}
	took := time.Since(start).Round(time.Second)
	b.report.say("%v in all; load average %s; %s", took, loadAverage(), b.report.file.Name())
	return nil
}

func (b *bench) runAll(ctx context.Context, chosen []scenario, quick bool) error {
	for _, s := range chosen {
		b.report.say("%s: %s", s.name, s.about)
		err := s.run(ctx, b, s.name, either(quick, s.quick, s.full))
		if ctx.Err() != nil {
			err = errors.New("stopped")
		}
		if err = errors.Join(err, b.end()); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// against measures the binary and a base alternately, and reports each figure of the binary as a
// ratio to that of the base.
func (b *bench) against(
	ctx context.Context, base string, times int, chosen []scenario, quick bool,
) error {
	base, err := filepath.Abs(base)
	if err != nil {
		return err
	}
	var order []figure
	medians := map[string]map[[2]string][]float64{base: {}, b.binary: {}}
	ours := b.binary
	for n := range times {
		for _, b.binary = range []string{base, ours} {
			b.report.say("%s, %d of %d", b.binary, n+1, times)
			b.report.figures = nil
			if err := b.runAll(ctx, chosen, quick); err != nil {
				return err
			}
			for _, f := range b.report.figures {
				name := [2]string{f.Scenario, f.Name}
				medians[b.binary][name] = append(medians[b.binary][name], f.Median)
			}
			order = b.report.figures
		}
	}
	b.report.figures = nil
	for _, f := range order {
		name := [2]string{f.Scenario, f.Name}
		b.report.figure(f.Scenario, f.Name+", to the base's", "×",
			ratios(medians[ours][name], medians[base][name]))
	}
	return nil
}

// bench has what all scenarios use.
type bench struct {
	binary    string
	dir       string    // temporary
	all       proc.CPUs // the CPUs that this process may use
	server    proc.CPUs // one CPU, for the server under test
	generator proc.CPUs // the others, for the clients, the archiver and this process
	softirq   []int     // the kernel's network threads, of all CPUs
	report    *report
	dirs      int            // made so far
	started   []func() error // what ends what has been started
	wsDir     string         // the directory of npm ws' server; "": no peers are measured
	peers     []*peer        // that can be measured; nil before preparePeers

	// repeatUntil is the time until which disturbed rounds are repeated and a busy machine is waited
	// for.
	repeatUntil time.Time
	disturbed   int                         // disturbed rounds that count
	quiet       func(context.Context) error // awaitQuiet; nil: do not wait
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
		return nil, errors.New("at least two CPUs are needed: for the server, and for the clients")
	}
	b := &bench{binary: binary, all: all, server: all[:1], generator: all[1:]}
	b.quiet, b.softirq = b.awaitQuiet, proc.Softirq(all)
	if err := proc.PinSelf(b.generator); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp(parent, "distributor-bench-"); err != nil {
		return nil, err
	}
	if b.report, err = newReport(out, time.Now(), progress); err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.dir))
	}
	var files unix.Rlimit
	err = unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
	cpu, kernel := machine(b)
	b.report.line("machine", map[string]any{
		"cpus": cpu, "kernel": kernel, "load": loadAverage(), "open_files": files.Cur,
	})
	return b, err
}

func (b *bench) close() error {
	return errors.Join(b.end(), b.report.close(), os.RemoveAll(b.dir))
}

// end ends everything that was started since the last end, the newest first.
func (b *bench) end() (err error) {
	for _, end := range slices.Backward(b.started) {
		err = errors.Join(err, end())
	}
	b.started = nil
	return err
}

// newDir returns the name of a directory that does not exist yet.
func (b *bench) newDir(name string) string {
	b.dirs++
	return filepath.Join(b.dir, fmt.Sprintf("%s-%d", name, b.dirs))
}

// results prints the tables, and writes them beside the JSON lines and into the readme, if given.
func (b *bench) results(start time.Time, args []string, stdout io.Writer, readme string) error {
	text := b.report.markdown(b.heading(start, args))
	columns := tabwriter.NewWriter(stdout, 0, 0, 1, ' ', 0)
	fmt.Fprint(columns, strings.ReplaceAll(text, " | ", "\t| "))
	base := strings.TrimSuffix(b.report.file.Name(), ".jsonl")
	err := errors.Join(columns.Flush(), os.WriteFile(base+".md", []byte(text), 0o644))
	if readme != "" {
		err = errors.Join(err, publish(readme, text))
	}
	return err
}

// heading returns the time, the machine and the quality of the measurement.
func (b *bench) heading(start time.Time, args []string) string {
	disturbed := "No round that counts was disturbed."
	if b.disturbed > 0 {
		disturbed = fmt.Sprintf("**%d rounds were disturbed by other work (load average %s) and count "+
			"all the same: take the figures for rough.**", b.disturbed, loadAverage())
	}
	cpu, kernel := machine(b)
	return fmt.Sprintf("%s, `bench %s` (%v); %s, %s. Median, range in brackets. %s",
		start.UTC().Format(time.DateOnly), strings.Join(args, " "),
		time.Since(start).Round(time.Second), cpu, kernel, disturbed)
}
