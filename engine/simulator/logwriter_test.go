package simulator

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// small returns options with which logs rotate after three of testLine's lines, and numbers begin
// again after four logs.
func small(dir string, g Generation) LogOptions {
	return LogOptions{Dir: dir, Stream: Receipt, Generation: g, MaxEntries: 3, MaxBytes: 40,
		MaxFiles: 4}
}

func openLog(t *testing.T, o LogOptions) *LogWriter {
	t.Helper()
	w, err := NewLogWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listing returns a directory in the form of the golden file: one line per file, with its text.
func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var b strings.Builder
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		fmt.Fprintf(&b, "%s %q\n", e.Name(), text)
	}
	return b.String()
}

// The golden listings come from another program that writes logs as archivers do. Its steps: two
// rotations, one round of all numbers, a restart in the middle of a log, a restart after a crash
// between trailer and rotation.
func TestGoldenDirectories(t *testing.T) {
	var got strings.Builder
	for _, g := range []Generation{Entries, Bytes, BytesBlank} {
		o := small(t.TempDir(), g)
		w, n := openLog(t, o), 0
		put := func(lines int, name string) {
			for range lines {
				must(t, w.Append(fmt.Appendf(nil, `{"n":%d,"t":"é"}`, n)))
				n++
			}
			must(t, w.Flush())
			fmt.Fprintf(&got, "== %s %s\n%s", g, name, listing(t, o.Dir))
		}
		put(8, "two rotations")
		put(16, "wrap-around")
		must(t, w.Close())
		w = openLog(t, o)
		put(2, "restart")
		must(t, w.Close())

		tail := "End: Number of entries: 3\nx\n\n"
		if g != Entries {
			tail = "End: Number of bytes: 3" + w.lineEnd() + strings.Repeat("x", 40) + w.lineEnd()
		}
		log, err := os.OpenFile(w.path(w.n), os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		_, err = log.WriteString(tail)
		must(t, errors.Join(err, log.Close()))
		w = openLog(t, o)
		put(1, "restart at a full log")
		must(t, w.Close())
	}
	want, err := os.ReadFile("testdata/directories.golden")
	must(t, err)
	gotLines, wantLines := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		if i >= len(gotLines) || i >= len(wantLines) || gotLines[i] != wantLines[i] {
			t.Fatalf("from line %d on:\n%s\nwant\n%s", i+1,
				strings.Join(gotLines[min(i, len(gotLines)):], "\n"),
				strings.Join(wantLines[min(i, len(wantLines)):], "\n"))
		}
	}
}

// The events that a reader of the logs gets, in order.
func TestRotationOrder(t *testing.T) {
	o := small(t.TempDir(), BytesBlank)
	w := openLog(t, o)
	watch, err := fsnotify.NewWatcher()
	must(t, err)
	defer watch.Close()
	must(t, watch.Add(o.Dir))
	for range 10 { // up to log 4: logs 1 and 2 become old
		must(t, w.Append([]byte(`{"receipt":1}`)))
		must(t, w.Flush())
	}
	must(t, w.Close())

	var seen []string
	for deadline := time.After(time.Minute); !strings.HasSuffix(strings.Join(seen, " "),
		"WRITE receipt-log4.txt"); {
		select {
		case e := <-watch.Events:
			step := e.Op.String() + " " + filepath.Base(e.Name)
			if len(seen) == 0 || seen[len(seen)-1] != step {
				seen = append(seen, step)
			}
		case <-deadline:
			t.Fatalf("saw only %q", seen)
		}
	}
	want := []string{
		"WRITE receipt-log1.txt", "CREATE receipt-log2.txt", "WRITE active-receipt-log.txt",
		"WRITE receipt-log2.txt", "CREATE receipt-log3.txt", "WRITE active-receipt-log.txt",
		"WRITE receipt-log3.txt",
		"RENAME receipt-log1.txt", "CREATE old-receipt-log1.txt", "RENAME receipt-log2.txt",
		"CREATE old-receipt-log2.txt",
		"CREATE receipt-log4.txt", "WRITE active-receipt-log.txt", "WRITE receipt-log4.txt",
	}
	if strings.Join(seen, "\n") != strings.Join(want, "\n") {
		t.Errorf("saw\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

func TestTornWrites(t *testing.T) {
	o := LogOptions{Dir: t.TempDir(), Stream: Receipt, Generation: Entries, Torn: 1,
		TornPause: time.Minute, Seed: "torn"}
	var told []string
	o.OnWrite = func(line []byte, _ time.Time) { told = append(told, string(line)) }
	w := openLog(t, o)
	path := filepath.Join(o.Dir, "receipt-log1.txt")

	pauses, torn := 0, 0
	w.pause = func(d time.Duration) {
		pauses++
		text, err := os.ReadFile(path)
		must(t, err)
		if d != time.Minute || len(text) == 0 {
			t.Errorf("paused for %v with %d bytes written", d, len(text))
		}
		whole := strings.Count(string(text), "\n")
		if len(told) != whole {
			t.Errorf("%d lines are whole, OnWrite was called for %d", whole, len(told))
		}
		if text[len(text)-1] != '\n' {
			torn++
		}
	}
	var want []string
	for i := range 100 {
		line := fmt.Sprintf(`{"n":%d}`, i)
		want = append(want, line)
		must(t, w.Append([]byte(line)))
		if i%2 == 1 {
			must(t, w.Flush())
		}
	}
	must(t, w.Close())
	if pauses != 50 || torn < 25 {
		t.Errorf("50 writes: %d pauses, %d of them within a line", pauses, torn)
	}
	text, err := os.ReadFile(path)
	must(t, err)
	if all := strings.Join(want, "\n"); string(text) != all+"\n" || strings.Join(told, "\n") != all {
		t.Errorf("wrote %q, OnWrite was called for %q", text, told)
	}
}

func TestOnWrite(t *testing.T) {
	o := small(t.TempDir(), BytesBlank)
	o.BatchLines = 2
	start, writes := time.Now(), map[time.Time]int{}
	var told []string
	o.OnWrite = func(line []byte, at time.Time) {
		told = append(told, string(line))
		if text, _ := os.ReadFile(filepath.Join(o.Dir, "receipt-log1.txt")); !bytes.Contains(text,
			append(line, '\n')) {
			t.Errorf("OnWrite was called for %s before it was written", line)
		}
		if at.Before(start) || at.After(time.Now()) {
			t.Errorf("OnWrite was called with the time %v", at)
		}
		writes[at]++
	}
	w := openLog(t, o)
	must(t, w.Append([]byte("a")))
	must(t, w.AppendNoise([]byte("{damaged")))
	must(t, w.Append([]byte("b")))
	must(t, w.AppendNoise(nil))
	must(t, w.Append([]byte("c")))
	if len(told) != 2 {
		t.Errorf("OnWrite was called for %q before the flush, want full batches: a, b", told)
	}
	must(t, w.Flush())
	if strings.Join(told, "") != "abc" || len(writes) != 3 {
		t.Errorf("OnWrite was called for %q in %d writes, want a, b, c in 3", told, len(writes))
	}
	must(t, w.Close())
	text, err := os.ReadFile(filepath.Join(o.Dir, "receipt-log1.txt"))
	must(t, err)
	if want := "a\n\n{damaged\n\nb\n\n\n\nc\n\n"; string(text) != want {
		t.Errorf("wrote %q, want %q", text, want)
	}
	if s := w.Stats(); s != (LogStats{Lines: 5, Bytes: int64(len(text))}) {
		t.Errorf("counted %+v", s)
	}
}

func TestFreshLogs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"receipt-log1.txt", "receipt-log17.txt", "old-receipt-log3.txt", "active-receipt-log.txt", // ours
		// Not ours
		"receiptOverwrite-log1.txt", "active-cycle-log.txt", "receipt-log1.txt.gz", "xreceipt-log1.txt",
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("receipt-log17.txt"), 0o644))
	}
	o := small(dir, Entries)
	o.Fresh = true
	must(t, openLog(t, o).Close())
	want := "active-cycle-log.txt \"receipt-log17.txt\"\nactive-receipt-log.txt \"receipt-log1.txt\"\nreceipt-log1.txt \"\"\n" +
		"receipt-log1.txt.gz \"receipt-log17.txt\"\nreceiptOverwrite-log1.txt \"receipt-log17.txt\"\nxreceipt-log1.txt \"receipt-log17.txt\"\n"
	if got := listing(t, dir); got != want {
		t.Errorf("left\n%swant\n%s", got, want)
	}
}

func TestUnusableActiveFile(t *testing.T) {
	for _, text := range []string{"", "nonsense", "receipt-log.txt", "receipt-log0.txt",
		"receipt-log-3.txt", "cycle-log3.txt", "receipt-log3x.txt"} {
		o := small(t.TempDir(), Entries)
		must(t, os.WriteFile(filepath.Join(o.Dir, "active-receipt-log.txt"), []byte(text), 0o644))
		if _, err := NewLogWriter(o); err == nil ||
			!strings.Contains(err.Error(), "active-receipt-log.txt names no log") {
			t.Errorf("%q: %v", text, err)
		}
	}
	o := small(t.TempDir(), Entries) // like archivers, it makes a log that is named and does not exist
	must(t, os.WriteFile(filepath.Join(o.Dir, "active-receipt-log.txt"), []byte("receipt-log3.txt"),
		0o644))
	must(t, openLog(t, o).Close())
	if got := listing(t, o.Dir); !strings.Contains(got, "\nreceipt-log3.txt \"\"") {
		t.Errorf("made\n%s", got)
	}
}

func TestImpossibleLogOptions(t *testing.T) {
	for name, change := range map[string]func(*LogOptions){
		"no directory":  func(o *LogOptions) { o.Dir = "" },
		"stream":        func(o *LogOptions) { o.Stream = "receipts" },
		"generation":    func(o *LogOptions) { o.Generation = "newest" },
		"max entries":   func(o *LogOptions) { o.MaxEntries = -1 },
		"max bytes":     func(o *LogOptions) { o.MaxBytes = -1 },
		"odd max files": func(o *LogOptions) { o.MaxFiles = 5 },
		"few max files": func(o *LogOptions) { o.MaxFiles = 2 },
		"batch lines":   func(o *LogOptions) { o.BatchLines = -1 },
		"torn":          func(o *LogOptions) { o.Torn = 1.5 },
		"torn pause":    func(o *LogOptions) { o.TornPause = -1 },
		"long pause":    func(o *LogOptions) { o.TornPause = time.Hour },
	} {
		o := small(t.TempDir(), Entries)
		change(&o)
		if _, err := NewLogWriter(o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkLogWriter(b *testing.B) {
	w, err := NewLogWriter(LogOptions{Dir: b.TempDir(), Stream: Receipt, MaxFiles: 4})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	record := NewWorld("bench", 1).Append(nil, Receipt, someTime)
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := w.Append(record); err != nil {
			b.Fatal(err)
		}
		if i%200 == 199 {
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// A write of one byte, a blank line, cannot be torn.
func TestTornBlankLine(t *testing.T) {
	o := small(t.TempDir(), Bytes)
	o.Torn, o.BatchLines = 1, 1
	w := openLog(t, o)
	for range 3 {
		must(t, w.AppendNoise(nil))
	}
	must(t, w.Close())
	if text := listing(t, o.Dir); !strings.Contains(text, `"\n\n\n"`) {
		t.Errorf("the logs are\n%s", text)
	}
}
