package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

const usage = `Acts as an archiver: writes realistic cycle, originalTx and receipt records to data logs.

Usage: distributor simulate --dir DIR [flags]

It runs until --seconds or --count is reached, or until it is interrupted, and then prints one line
of JSON with the counts. Without --fresh it continues the logs in DIR.

Flags:
`

// exitConfig is EX_CONFIG, the distributor's exit status for invalid arguments.
const exitConfig = 78

// Command is "distributor simulate". It parses args (without the names of program and command),
// runs until it is done or ctx ends, and returns the exit status: 0, 1 for failures, exitConfig for
// invalid arguments.
func Command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseArgs(args, stdout)
	if errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "distributor simulate: %s (see --help)\n", err)
		return exitConfig
	}
	if !o.quiet && (o.progress || isTerminal(stderr)) {
		o.Progress = func(s Summary) { fmt.Fprintln(stderr, progressLine(s)) }
	}
	summary, err := Run(ctx, o.Options)
	if err != nil {
		fmt.Fprintf(stderr, "distributor simulate: %s\n", err)
		if errors.Is(err, ErrOptions) {
			return exitConfig
		}
		return 1
	}
	if err := json.NewEncoder(stdout).Encode(summary); err != nil {
		fmt.Fprintf(stderr, "distributor simulate: printing the summary: %s\n", err)
		return 1
	}
	return 0
}

type commandOptions struct {
	Options
	progress, quiet bool
}

func parseArgs(args []string, stdout io.Writer) (o commandOptions, err error) {
	f := pflag.NewFlagSet("simulate", pflag.ContinueOnError)
	f.SortFlags = false
	f.Usage = func() { fmt.Fprint(stdout, usage, f.FlagUsages()) }

	f.StringVarP(&o.Dir, "dir", "d", "", "directory of the data logs (required; made if it does not exist)")
	f.StringVar(&o.Databases, "db", "", "directory of the five databases to fill with the same records (default none)")
	rate := f.String("rate", "100", "records a second in all, 2 % cycles, 28 % originalTx, 70 % receipts; or for each stream, as receipt=50,cycle=0.1; 0: as fast as possible")
	streams := f.StringSlice("streams", Streams[:], "streams to write")
	seconds := f.Float64("seconds", 0, "end after this many seconds (default no end)")
	f.Int64Var(&o.Count, "count", 0, "end after this many records (default no end)")
	generation := f.String("generation", string(BytesBlank), "how logs are written: entries (older archivers, collectors), bytes, bytes-blank (newest archivers)")
	f.IntVar(&o.Log.MaxEntries, "max-entries", 1000, "records in a log before it rotates (entries)")
	f.Int64Var(&o.Log.MaxBytes, "max-bytes", 10<<20,
		"bytes in a log before it rotates (bytes, bytes-blank)")
	f.IntVar(&o.Log.MaxFiles, "max-files", 0, "highest number of a log, even; then 1 again (default 10 for entries, else 20)")
	batch := f.Float64("batch-ms", 50, "interval of writes, in milliseconds")
	f.IntVar(&o.Log.BatchLines, "batch-lines", 0, "most lines in one write (default all of a batch)")
	f.Float64Var(&o.Log.Torn, "torn", 0, "share of writes, 0 to 1, that are cut in two")
	tornPause := f.Float64("torn-ms", 30, "milliseconds between the two parts of a torn write")
	odd := f.String("odd", "", "share of records, 0 to 1, with something odd: noncanonical, trailer (in a memo), damaged, blank, and for receipts refused, repeated (logged and not stored); as damaged=0.01,blank=0.1, or one number for all (default none)")
	f.StringVar(&o.Seed, "seed", "", "equal seeds give equal records, except their times (default a new one)")
	f.Int64Var(&o.FirstCycle, "first-cycle", 0, "counter of the first cycle (default the next in the databases, or 0)")
	f.BoolVar(&o.ShardKeys, "shard-keys", false, "receipts with executionShardKey, which the newest archivers delete before they log a receipt")
	f.StringVar(&o.Manifest, "manifest", "", `file that lists every record, as "<stream> <SHA-256, 24 hex digits>" (default none)`)
	f.BoolVar(&o.Log.Fresh, "fresh", false, "delete the streams' logs, the databases and the manifest first")
	f.BoolVar(&o.progress, "progress", false,
		"one line per second on stderr, also if it is not a terminal")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no progress at all")

	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.Log.Generation = Generation(*generation)
	if o.Duration, err = duration("seconds", *seconds, time.Second); err != nil {
		return o, err
	}
	if o.Batch, err = duration("batch-ms", *batch, time.Millisecond); err != nil {
		return o, err
	}
	if o.Log.TornPause, err = duration("torn-ms", *tornPause, time.Millisecond); err != nil {
		return o, err
	}
	if o.Odd, err = parseOdd(*odd); err != nil {
		return o, err
	}
	for _, flag := range []string{"max-entries", "max-bytes", "batch-ms"} {
		if f.Lookup(flag).Value.String() == "0" {
			return o, fmt.Errorf("--%s must be above 0", flag)
		}
	}
	if o.Rates, o.Unpaced, err = parseRate(*rate, *streams); err != nil {
		return o, err
	}
	if o.Seed == "" {
		o.Seed = strconv.FormatUint(rand.Uint64(), 36)
	}
	return o, nil
}

func duration(flag string, n float64, unit time.Duration) (time.Duration, error) {
	if !(n >= 0 && n <= 1e9) {
		return 0, fmt.Errorf("--%s %v: it must be 0 to 1000000000", flag, n)
	}
	return time.Duration(n * float64(unit)), nil
}

// parseRate parses --rate for the streams of --streams.
func parseRate(
	text string, streams []string,
) (rates [len(Streams)]float64, unpaced bool, err error) {
	for _, s := range streams {
		if !slices.Contains(Streams[:], s) {
			return rates, false,
				fmt.Errorf("--streams %q: the streams are %s", s, strings.Join(Streams[:], ", "))
		}
	}
	if len(streams) == 0 {
		return rates, false, errors.New("--streams is empty")
	}
	if total, err := strconv.ParseFloat(text, 64); err == nil {
		if !(total >= 0 && total <= 1e9) {
			return rates, false, fmt.Errorf("--rate %v: it must be 0 to 1000000000 records a second", total)
		}
		if total == 0 {
			return Spread(1, streams...), true, nil
		}
		return Spread(total, streams...), false, nil
	}
	given, err := numbers("rate", text, Streams[:])
	if err != nil {
		return rates, false, err
	}
	for i, s := range Streams {
		if v, ok := given[s]; ok && !slices.Contains(streams, s) {
			return rates, false, fmt.Errorf("--rate %s=%v: the stream is not in --streams", s, v)
		}
		rates[i] = given[s]
	}
	if rates == [len(Streams)]float64{} {
		return rates, false, fmt.Errorf("--rate %s: at least one must be above 0", text)
	}
	return rates, false, nil
}

func parseOdd(text string) (odd Odd, err error) {
	if text == "" {
		return odd, nil
	}
	all, err := strconv.ParseFloat(text, 64)
	given := map[string]float64{}
	if err != nil {
		if given, err = numbers("odd", text, oddNames[:]); err != nil {
			return odd, err
		}
	}
	for k := range oddKinds {
		*odd.share(k) = all
		if v, ok := given[oddNames[k]]; ok {
			*odd.share(k) = v
		}
	}
	return odd, nil
}

// numbers parses name=number,…; each name at most once.
func numbers(flag, text string, names []string) (map[string]float64, error) {
	given := map[string]float64{}
	for part := range strings.SplitSeq(text, ",") {
		name, number, ok := strings.Cut(part, "=")
		_, twice := given[name]
		v, err := strconv.ParseFloat(number, 64)
		if !ok || twice || err != nil || !slices.Contains(names, name) {
			return nil, fmt.Errorf("--%s %q: a number, or name=number once for any of %s",
				flag, part, strings.Join(names, ", "))
		}
		given[name] = v
	}
	return given, nil
}

func progressLine(s Summary) string {
	var rotations int64
	for _, n := range s.Rotations {
		rotations += n
	}
	return fmt.Sprintf("%6.0f s %12d records %9.0f/s %9.2f MB/s %6d rotations",
		s.Seconds, s.Total, s.PerSecond, float64(s.Bytes)/1e6/s.Seconds, rotations)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
