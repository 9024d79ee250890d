package simulator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"distributor/wsproto/shardus"
)

var trailer = regexp.MustCompile(`^End: Number of (entries|bytes): \d+$`)

// linesOf returns the lines of logs 1…n of a stream, in order, without blank lines and trailers.
func linesOf(t *testing.T, dir, stream string) (lines []string) {
	t.Helper()
	for n := 1; ; n++ {
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%s-log%d.txt", stream, n)))
		if errors.Is(err, os.ErrNotExist) {
			return lines
		}
		must(t, err)
		for _, line := range strings.Split(string(text), "\n") {
			if line != "" && !trailer.MatchString(line) {
				lines = append(lines, line)
			}
		}
	}
}

func note(stream, record string) string {
	sum := sha256.Sum256([]byte(record))
	return stream + " " + hex.EncodeToString(sum[:])[:24]
}

func run(t *testing.T, o Options) Summary {
	t.Helper()
	s, err := Run(t.Context(), o)
	must(t, err)
	return s
}

// With the clock of synctest a paced run is exact, and takes no time.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var late time.Duration
		counts, written, reports := map[string]int64{}, int64(0), 0
		o := Options{Dir: t.TempDir(), Seed: "pace", Rates: Spread(400, Streams[:]...),
			Duration: 5 * time.Second, Batch: 20 * time.Millisecond}
		o.OnWrite = func(stream string, line []byte, at time.Time) {
			written++
			counts[stream]++
			due := start.Add(time.Duration(written) * time.Second / 400)
			late = max(late, at.Sub(due))
			if at.Before(due) {
				t.Errorf("record %d came %v early", written, due.Sub(at))
			}
		}
		o.Progress = func(s Summary) {
			reports++
			if s.Total < int64(reports)*350 {
				t.Errorf("after %d s: %d records", reports, s.Total)
			}
		}
		s := run(t, o)
		if s.Total != 2000 || written != 2000 || s.Seconds != 5 || s.PerSecond != 400 {
			t.Errorf("%d records, %+v", written, s)
		}
		for stream, want := range map[string]int64{Cycle: 40, OriginalTx: 560, Receipt: 1400} {
			if d := s.Records[stream] - want; d < -1 || d > 1 || counts[stream] != s.Records[stream] {
				t.Errorf("%d of %s, OnWrite was called for %d, want %d", s.Records[stream], stream,
					counts[stream], want)
			}
		}
		if late > o.Batch {
			t.Errorf("a record came %v late, batches are %v apart", late, o.Batch)
		}
		if reports < 4 {
			t.Errorf("%d reports in 5 s", reports)
		}
	})
}

func TestRatesOfStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := run(t, Options{Dir: dir, Rates: [3]float64{0, 30, 10}, Duration: 10 * time.Second})
		if s.Records[OriginalTx] != 300 || s.Records[Receipt] != 100 || s.Total != 400 {
			t.Errorf("%+v", s)
		}
		if _, err := os.Stat(filepath.Join(dir, "active-cycle-log.txt")); !errors.Is(err,
			os.ErrNotExist) {
			t.Errorf("a stream without rate has a log: %v", err)
		}
	})
}

// The same seed and the same clock give the same directory, byte for byte.
func TestRunIsDeterministic(t *testing.T) {
	var texts [2]string
	for i := range texts {
		synctest.Test(t, func(t *testing.T) {
			o := Options{Dir: t.TempDir(), Seed: "same", Rates: Spread(500, Streams[:]...), Count: 900,
				Odd: Odd{0.1, 0.1, 0.1, 0.1, 0.1, 0.1}}
			o.Log = LogOptions{Generation: Entries, MaxEntries: 100, Torn: 0.5, TornPause: time.Millisecond}
			run(t, o)
			texts[i] = listing(t, o.Dir)
		})
	}
	if texts[0] != texts[1] {
		t.Error("two runs, two directories")
	}
}

func TestCountManifestAndDatabases(t *testing.T) {
	for _, g := range []Generation{Entries, Bytes, BytesBlank} {
		dir := t.TempDir()
		o := Options{Dir: filepath.Join(dir, "logs"), Databases: filepath.Join(dir, "db"),
			Manifest: filepath.Join(dir, "manifest"), Seed: "count", Count: 700}
		o.Log = LogOptions{Generation: g, MaxEntries: 150, MaxBytes: 500_000}
		o.Odd = Odd{NonCanonical: 0.1, Trailer: 0.1, Damaged: 0.1, Blank: 0.1}
		s := run(t, o)
		if s.Total != 700 || s.Generation != g || s.Rotations[Receipt] < 3 {
			t.Errorf("%+v", s)
		}
		for kind, n := range s.Odd {
			if kind != "refused" && kind != "repeated" && (n < 30 || n > 150) {
				t.Errorf("%d of 700 records are odd: %s", n, kind)
			}
		}

		// A reader that skips invalid JSON and makes the rest canonical gets exactly the manifest.
		notes, err := os.ReadFile(o.Manifest)
		must(t, err)
		want, got, damaged := map[string][]string{}, map[string][]string{}, int64(0)
		for _, n := range strings.Fields(strings.ReplaceAll(string(notes), " ", "=")) {
			stream, _, _ := strings.Cut(n, "=")
			want[stream] = append(want[stream], strings.Replace(n, "=", " ", 1))
		}
		for _, stream := range Streams {
			for _, line := range linesOf(t, o.Dir, stream) {
				record, err := shardus.AppendCanonical(nil, []byte(line))
				if err != nil {
					damaged++
					continue
				}
				got[stream] = append(got[stream], note(stream, string(record)))
			}
			if fmt.Sprint(got[stream]) != fmt.Sprint(want[stream]) ||
				int64(len(got[stream])) != s.Records[stream] {
				t.Errorf("%s %s: %d records in the logs, %d in the manifest, %d counted", g, stream, len(got[stream]), len(want[stream]), s.Records[stream])
			}
		}
		if damaged != s.Odd["damaged"] {
			t.Errorf("%d damaged lines, counted %d", damaged, s.Odd["damaged"])
		}
		for table, stream := range map[string]string{"cycles": Cycle, "originalTxsData": OriginalTx,
			"receipts": Receipt, "transactions": Receipt} {
			if n := number(t, o.Databases, table, "SELECT count(*) FROM "+table); n != s.Records[stream] {
				t.Errorf("%d rows in %s, %d records of %s", n, table, s.Records[stream], stream)
			}
		}
	}
}

func TestRunGoesOn(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: filepath.Join(dir, "logs"), Databases: filepath.Join(dir, "db"),
		Manifest: filepath.Join(dir, "manifest"), Seed: "first", Count: 250}
	o.Log = LogOptions{Generation: Entries, MaxEntries: 100}
	first := run(t, o)
	before := linesOf(t, o.Dir, Receipt)
	o.Seed = "second"
	second := run(t, o)
	after := linesOf(t, o.Dir, Receipt)
	if int64(len(before)) != first.Records[Receipt] ||
		int64(len(after)) != first.Records[Receipt]+second.Records[Receipt] ||
		strings.Join(after[:len(before)], "\n") != strings.Join(before, "\n") {
		t.Errorf("%d receipts, then %d; %+v, then %+v", len(before), len(after), first, second)
	}
	if n := number(t, o.Databases, "cycles",
		"SELECT count(DISTINCT counter) FROM cycles"); n != first.Records[Cycle]+second.Records[Cycle] {
		t.Errorf("%d different cycles", n)
	}
	notes, err := os.ReadFile(o.Manifest)
	must(t, err)
	if n := bytes.Count(notes, []byte("\n")); n != 500 {
		t.Errorf("%d lines in the manifest", n)
	}
	o.Log.Fresh = true
	third := run(t, o)
	notes, err = os.ReadFile(o.Manifest)
	must(t, err)
	logs, rows := int64(len(linesOf(t, o.Dir, Receipt))),
		number(t, o.Databases, "receipts", "SELECT count(*) FROM receipts")
	if want := third.Records[Receipt]; logs != want || rows != want ||
		bytes.Count(notes, []byte("\n")) != 250 {
		t.Errorf("fresh: %d receipts, %d rows, want %d; %d bytes of manifest", logs, rows, want,
			len(notes))
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	for name, o := range map[string]Options{"unpaced": {},
		"paced": {Rates: Spread(2000, Receipt), Batch: time.Millisecond}} {
		ctx, stop := context.WithCancel(t.Context())
		o.Dir = t.TempDir()
		written := 0
		o.OnWrite = func(string, []byte, time.Time) {
			if written++; written == 100 {
				stop()
			}
		}
		s, err := Run(ctx, o)
		if err != nil || s.Total != int64(written) || written < 100 || written > 100+pieceBytes/1000 {
			t.Errorf("%s: %d records, OnWrite was called for %d, %v", name, s.Total, written, err)
		}
		lines := 0
		for _, stream := range Streams {
			lines += len(linesOf(t, o.Dir, stream))
		}
		if lines != written {
			t.Errorf("%s: %d lines, OnWrite was called for %d", name, lines, written)
		}
	}
}

func TestRunFails(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no directory": func(o *Options) { o.Dir = "" },
		"rate":         func(o *Options) { o.Rates[1] = -1 },
		"duration":     func(o *Options) { o.Duration = -1 },
		"count":        func(o *Options) { o.Count = -1 },
		"batch":        func(o *Options) { o.Batch = time.Hour },
		"first cycle":  func(o *Options) { o.FirstCycle = -1 },
		"odd":          func(o *Options) { o.Odd.Blank = 1.1 },
		"of the logs":  func(o *Options) { o.Log.MaxFiles = 7 },
		"generation":   func(o *Options) { o.Log.Generation = "x" },
	} {
		dir := t.TempDir()
		o := Options{Dir: filepath.Join(dir, "logs"), Databases: filepath.Join(dir, "db"), Count: 1}
		change(&o)
		if _, err := Run(t.Context(), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
		if got := listing(t, dir); got != "" {
			t.Errorf("%s: wrote %s", name, got)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o644))
	for name, o := range map[string]Options{
		"logs": {Dir: file}, "databases": {Dir: dir, Databases: file},
		"manifest": {Dir: dir, Manifest: filepath.Join(file, "m")},
	} {
		o.Count = 1
		if _, err := Run(t.Context(), o); err == nil || errors.Is(err, ErrOptions) {
			t.Errorf("%s in a file: %v", name, err)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	b.ReportAllocs()
	s, err := Run(b.Context(), Options{Dir: b.TempDir(), Seed: "bench", Count: int64(max(b.N, 1)),
		Log: LogOptions{MaxFiles: 4}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(s.Bytes / s.Total)
	b.ReportMetric(s.PerSecond, "records/s")
}
