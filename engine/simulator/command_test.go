package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func command(t *testing.T, ctx context.Context, args ...string) (status int, stdout,
	stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = Command(ctx, args, &out, &err)
	return status, out.String(), err.String()
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	status, stdout, stderr := command(t, t.Context(), "--dir", dir, "--rate", "0", "--count", "300",
		"--streams", "cycle,receipt", "--generation", "entries", "--max-entries", "100", "--seed", "s",
		"--manifest", filepath.Join(dir, "manifest"))
	if status != 0 || stderr != "" || strings.Count(stdout, "\n") != 1 {
		t.Fatalf("status %d, said %q, %q", status, stdout, stderr)
	}
	var s Summary
	must(t, json.Unmarshal([]byte(stdout), &s))
	if s.Total != 300 || s.Seed != "s" || s.Generation != Entries || s.Rotations[Receipt] != 2 ||
		len(s.Records) != 2 {
		t.Errorf("summary %s", stdout)
	}
	if n := len(linesOf(t, dir, Receipt)) + len(linesOf(t, dir, Cycle)); n != 300 {
		t.Errorf("%d records", n)
	}
}

func TestCommandStops(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	status, stdout, stderr := command(t, ctx, "--dir", t.TempDir(), "--rate", "1000")
	if status != 0 || !strings.HasPrefix(stdout, "{") || stderr != "" {
		t.Errorf("status %d, said %q, %q", status, stdout, stderr)
	}
}

func TestCommandShowsProgress(t *testing.T) {
	for quiet, lines := range map[string]int{"--quiet=false": 3, "--quiet": 0} {
		synctest.Test(t, func(t *testing.T) {
			status, _, stderr := command(t, t.Context(), "--dir", t.TempDir(), "--rate", "100",
				"--seconds", "3.5", "--progress", quiet)
			if status != 0 || strings.Count(stderr, "\n") != lines ||
				strings.Count(stderr, " rotations\n") != lines {
				t.Errorf("%s: status %d, said\n%s", quiet, status, stderr)
			}
		})
	}
}

func TestCommandHelp(t *testing.T) {
	status, stdout, stderr := command(t, t.Context(), "--help")
	for _, flag := range []string{"dir", "db", "rate", "seconds", "count", "generation", "streams",
		"max-entries", "max-bytes", "max-files", "batch-ms", "torn", "seed", "manifest", "fresh", "odd",
		"quiet", "progress"} {
		if !strings.Contains(stdout, "--"+flag) {
			t.Errorf("no word of --%s", flag)
		}
	}
	if status != 0 || stderr != "" {
		t.Errorf("status %d, said %q", status, stderr)
	}
}

func TestCommandRefuses(t *testing.T) {
	dir := t.TempDir()
	for args, why := range map[string]string{
		"":                                         "no directory",
		"--dir D extra":                            `unexpected argument "extra"`,
		"--dir D --rate -3":                        "--rate",
		"--dir D --rate fast":                      "--rate",
		"--dir D --rate NaN":                       "--rate",
		"--dir D --rate receipts=5":                "--rate",
		"--dir D --rate receipt=-5":                "a rate of -5 receipt records a second",
		"--dir D --rate receipt=0":                 "at least one must be above 0",
		"--dir D --rate cycle=1,cycle=2":           "once",
		"--dir D --rate cycle=1 --streams receipt": "not in --streams",
		"--dir D --streams receipts":               `--streams "receipts": the streams are cycle, originalTx, receipt`,
		"--dir D --seconds -1":                     "--seconds",
		"--dir D --count -1":                       "a count of -1",
		"--dir D --generation new":                 `generation "new"`,
		"--dir D --max-entries 0":                  "--max-entries must be above 0",
		"--dir D --max-bytes -1":                   "-1 bytes in a log",
		"--dir D --max-files 3":                    "even and at least 4",
		"--dir D --batch-ms 0":                     "--batch-ms must be above 0",
		"--dir D --batch-ms 1e6":                   "at most one a minute",
		"--dir D --torn 2":                         "a share of 2 of torn writes",
		"--dir D --odd 3":                          "a share of 3 of odd",
		"--dir D --odd strange=1":                  "noncanonical, trailer, damaged, blank",
		"--dir D --nonsense":                       "unknown flag",
	} {
		status, stdout, stderr := command(t, t.Context(),
			strings.Fields(strings.ReplaceAll(args, "D", dir))...)
		if status != exitConfig || stdout != "" || !strings.Contains(stderr, why) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, said %q, want %q", args, status, stdout+stderr, why)
		}
	}
	if got := listing(t, dir); got != "" {
		t.Errorf("wrote %s", got)
	}
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o644))
	if status, _, stderr := command(t, t.Context(), "--dir", file, "--count", "1"); status != 1 ||
		!strings.Contains(stderr, "opening data logs") {
		t.Errorf("logs in a file: status %d, said %q", status, stderr)
	}
}

func TestFlags(t *testing.T) {
	o, err := parseArgs(strings.Fields("-d D --db E --rate receipt=7,cycle=0.5 --seconds 1.5 --count 9 --generation bytes --max-bytes 7 --max-files 6 --batch-ms 2.5 --batch-lines 3 --torn 0.5 --torn-ms 7 --seed s --first-cycle 4 --shard-keys --manifest M --fresh --odd damaged=0.25,blank=1 -q"), nil)
	must(t, err)
	want := commandOptions{quiet: true, Options: Options{
		Dir: "D", Databases: "E", Seed: "s", FirstCycle: 4, ShardKeys: true,
		Rates: [3]float64{0.5, 0, 7}, Duration: 1500 * time.Millisecond, Count: 9,
		Batch: 2500 * time.Microsecond,
		Log: LogOptions{Generation: Bytes, MaxEntries: 1000, MaxBytes: 7, MaxFiles: 6, Fresh: true,
			BatchLines: 3, Torn: 0.5, TornPause: 7 * time.Millisecond},
		Manifest: "M", Odd: Odd{Damaged: 0.25, Blank: 1},
	}}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("got  %+v\nwant %+v", o, want)
	}
	o, err = parseArgs([]string{"--rate", "0", "--streams", "receipt", "--odd", "0.1"}, nil)
	must(t, err)
	if !o.Unpaced || o.Rates != [3]float64{0, 0, 1} ||
		o.Odd != (Odd{0.1, 0.1, 0.1, 0.1, 0.1, 0.1}) || o.Seed == "" {
		t.Errorf("%+v", o)
	}
}
