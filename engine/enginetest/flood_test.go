package enginetest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"distributor/engine/simulator"
	"distributor/wsproto/shardus"
)

const (
	// floodConnections and floodUpgrades are MAX_HTTP_CONNECTIONS and UPGRADE_RATE_LIMIT of a
	// flooded distributor. They are small, so that a few strangers reach the bounds.
	floodConnections = 64
	floodUpgrades    = 2
	// floodWaiting is how many connections may wait for room then.
	floodWaiting = 20 * floodUpgrades
	// floodIdle is how many unused connections to the query process the primary keeps.
	floodIdle = 64
)

// floodMemory is how much the median of a process's private memory may grow from the second quarter
// of a flood to the last one. The race detector multiplies memory.
var floodMemory = func() int {
	if RaceEnabled {
		return 128 << 20
	}
	return 16 << 20
}()

// flood is one thing that strangers do to the public port, all the time.
type flood struct {
	name      string
	strangers int
	hold      int // connections that a stranger has open at a time
	pause     time.Duration
	listed    bool // only subscribers may connect; the strangers are some
	turn      func(*stranger) error
}

var floods = []flood{
	{"answered API requests", 8, 1, 5 * time.Millisecond, false, (*stranger).asks},
	{"API requests that give up", 16, 1, 5 * time.Millisecond, false, (*stranger).givesUp},
	{"checks that are not read", 16, 1, 5 * time.Millisecond, false, (*stranger).doesNotRead},
	{"nothing or half a request", 8, 4, 5 * time.Millisecond, false, (*stranger).saysHalf},
	{"refused upgrades", 8, 1, 5 * time.Millisecond, true, (*stranger).isRefused},
	{"accepted upgrades", 8, 1, 5 * time.Millisecond, false, (*stranger).breaksOff},
	{"too many connections", 8, 40, 50 * time.Millisecond, false, (*stranger).holdsMany},
}

// descriptors is how many more descriptors the primary may have during the flood: each connection
// and its connection to the query process, the waiting ones, those that are turned away, and those
// that their strangers have closed, while a busy machine has not come to notice that.
func (f flood) descriptors() int {
	turnedAway := max(0, f.strangers*f.hold-floodConnections-floodWaiting)
	const closed = 4 * floodConnections
	return 2*floodConnections + floodWaiting + turnedAway + floodIdle + closed
}

// goroutines is the same for goroutines: an HTTP connection has two, and so has each one to the
// query process.
func (f flood) goroutines() int { return 2*f.descriptors() + 20 }

// affliction is what happens to the query process meanwhile.
type affliction struct {
	name string
	// touch is called with a query process that has not been touched and has lived since the last
	// look.
	touch func(pid int)
	look  time.Duration
}

var afflictions = []affliction{
	{"healthy", func(int) {}, time.Second},
	{"stopped", func(pid int) { _ = syscall.Kill(pid, syscall.SIGSTOP) }, 20 * time.Millisecond},
	{"killed", func(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }, 300 * time.Millisecond},
}

// begin afflicts the query process, and each one that takes its place. end lets the last one go on.
func (a affliction) begin(primary int) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		seen, touched := 0, 0
		for {
			select {
			case <-stop:
				if touched != 0 {
					_ = syscall.Kill(touched, syscall.SIGCONT)
				}
				return
			case <-time.After(a.look):
			}
			found := children(primary, "query")
			if len(found) != 1 {
				continue
			}
			if pid := found[0]; pid == seen && pid != touched {
				a.touch(pid)
				touched = pid
			}
			seen = found[0]
		}
	}()
	return func() { close(stop); <-done }
}

// TestFloods has strangers flood the public port while records flow to a collector, and the query
// process is well, stopped, or killed again and again. Descriptors, goroutines and memory stay
// bounded and flat, the operator's scrapes are answered, the collector loses nothing and keeps its
// connection, strangers raise no error in the log, and afterwards everything is as it was.
// `make floods` has each flood last MINUTES.
func TestFloods(t *testing.T) {
	lasting, long := 2*time.Second, os.Getenv("FLOODS")
	if long == "" {
		t.Parallel()
	} else {
		var err error
		if lasting, err = time.ParseDuration(long); err != nil || lasting <= 0 {
			t.Fatalf("FLOODS=%q is no duration, such as 10m", long)
		}
	}
	var report floodReport
	t.Cleanup(func() { t.Logf("floods of %v\n%s", lasting, &report) })
	for _, a := range afflictions {
		if RaceEnabled && long == "" && a.name != "killed" {
			continue // the others take the same ways, and the race detector is slow
		}
		t.Run(a.name, func(t *testing.T) {
			if long == "" {
				t.Parallel()
			}
			for _, f := range floods {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					report.add(f, a, f.run(t, a, lasting))
				})
			}
		})
	}
}

// run is one flood of one distributor.
func (f flood) run(t *testing.T, a affliction, lasting time.Duration) *floodTrace {
	d := newHealthy(t, Settings{
		"ADMIN_ADDR": "127.0.0.1:0", "API_TIMEOUT_MS": 1000,
		"MAX_HTTP_CONNECTIONS": floodConnections, "UPGRADE_RATE_LIMIT": floodUpgrades,
		"FRAME_LOG_SEGMENT_BYTES": 64 << 10, "FRAME_LOG_BYTES": 256 << 10,
		"RESUME_WINDOW_MS": 10_000, "HANDSHAKE_WINDOW_MS": 10_000,
	})
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{
		Dir: d.Logs, Book: book, Seed: *seed, Sizes: []int{150, 400},
		Log: simulator.LogOptions{MaxBytes: 1 << 20, MaxFiles: 1000},
	})
	d.Start()
	admin := d.admin()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
	var strangers []*stranger
	keys := []shardus.SecretKey{fleet.members[0].key}
	for i := range f.strangers {
		s := newStranger(t, d, f, uint64(i))
		strangers, keys = append(strangers, s), append(keys, s.key)
	}
	if f.listed {
		d.Configure(Settings{"limitToSubscribersOnly": true, "subscribers": subscribers(keys...)})
		d.Reload(syscall.SIGHUP)
	}

	// What comes with first use is no leak: segments, connections of databases, the heap.
	for book.Total() < 1000 {
		if err := archiver.Write(100); err != nil {
			t.Fatal(err)
		}
		fleet.WaitTotal(book.Total())
	}
	endFlood := beginFlood(strangers)
	const turns = 10 // of each stranger, or a fault
	UntilAt(t, "every stranger has had ten turns", int64(turns*len(strangers)), func() (all int64) {
		for _, s := range strangers {
			if s.fault.Load() != nil {
				all += turns
				continue
			}
			all += min(s.turns.Load(), turns)
		}
		return all
	}, nil)
	endFlood()
	totals(t, d, newKey(t))
	start := settled(t, d, admin)

	trace := &floodTrace{start: start}
	endRecords := steady(t, archiver, fleet, trace)
	endAffliction := a.begin(d.Pid())
	endFlood = beginFlood(strangers)
	const samples = 40 // at least
	interval, end := min(time.Second, lasting/samples), time.Now().Add(lasting)
	for ; len(trace.samples) < samples || time.Now().Before(end); time.Sleep(interval) {
		trace.samples = append(trace.samples, sampleOf(t, d, admin, fleet))
	}
	endFlood()
	endAffliction()
	endRecords()
	for _, s := range strangers {
		trace.turns += int(s.turns.Load())
		if err := s.fault.Load(); err != nil {
			t.Errorf("a stranger, after %d turns: %v", s.turns.Load(), *err)
		}
	}
	well(t, d)
	var now usage
	Until(t, fmt.Sprintf("all is as it was, %+v", start), func() bool {
		now = census(t, d, admin)
		return now.within(start)
	}, func() string { return fmt.Sprintf("%+v", now) })
	fleet.WaitTotal(book.Total())
	if fleet.Cut() != 0 {
		t.Errorf("the collector was cut: %v", fleet)
	}
	fleet.CheckSame()
	errors := d.Log(func(l Line) bool { return l.Level == "ERROR" })
	if a.name == "healthy" && len(errors) > 0 { // what a stranger did is none
		t.Errorf("%d errors in the log, the first: %s", len(errors), errors[0].Text)
	}
	trace.check(t, f, lasting)
	d.Stop()
	return trace
}

// steady writes records until end is called, a few whenever the collector has all before, and fails
// the test if they do not come within patience.
func steady(t *testing.T, archiver *Archiver, fleet *Fleet, trace *floodTrace) (end func()) {
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			case <-time.After(50 * time.Millisecond):
			}
			if err := archiver.Write(5); err != nil {
				done <- err
				return
			}
			written := time.Now()
			due := archiver.o.Book.Total()
			if !reached(func() bool { return fleet.Least() >= due || fleet.fault() != nil }) {
				done <- fmt.Errorf("record %d did not come within %v", due, patience)
				return
			}
			trace.longestWait = max(trace.longestWait, time.Since(written))
		}
	}()
	return func() {
		t.Helper()
		close(stop)
		if err := <-done; err != nil {
			t.Errorf("the records: %v", err)
		}
	}
}

// floodSample is what the processes hold at one moment, and what the collector has.
type floodSample struct {
	primary, workers, query    int // descriptors
	goroutines                 int // of the primary
	primaryMemory, otherMemory int // private, in bytes; other is all other processes
	records                    int
}

func sampleOf(t *testing.T, d *Distributor, admin string, fleet *Fleet) floodSample {
	t.Helper()
	u := census(t, d, admin)
	s := floodSample{
		primary: u.primary, primaryMemory: privateMemory(t, d.Pid()),
		goroutines: u.goroutines, records: fleet.Least(),
	}
	for _, pid := range children(d.Pid(), "worker") {
		s.workers += len(descriptors(pid))
		s.otherMemory += privateMemory(t, pid)
	}
	for _, pid := range children(d.Pid(), "query") {
		s.query += len(descriptors(pid))
	}
	operator := &Distributor{t: t, URL: admin}
	if status, _ := operator.Get("/metrics"); status != http.StatusOK {
		t.Errorf("the operator's scrape was answered with status %d", status)
	}
	return s
}

// floodTrace is how a flood went.
type floodTrace struct {
	start       usage
	samples     []floodSample
	turns       int           // of all strangers
	longestWait time.Duration // of a record, from the data log to the collector
}

// quarter returns the samples of quarter n, from 0 on.
func (f *floodTrace) quarter(n int) []floodSample {
	return f.samples[n*len(f.samples)/4 : (n+1)*len(f.samples)/4]
}

func median(samples []floodSample, of func(floodSample) int) int {
	var values []int
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func most(samples []floodSample, of func(floodSample) int) (n int) {
	for _, s := range samples {
		n = max(n, of(s))
	}
	return n
}

var (
	ofPrimary    = func(s floodSample) int { return s.primary }
	ofWorkers    = func(s floodSample) int { return s.workers }
	ofQuery      = func(s floodSample) int { return s.query }
	ofGoroutines = func(s floodSample) int { return s.goroutines }
	ofMemory     = func(s floodSample) int { return s.primaryMemory }
	ofOther      = func(s floodSample) int { return s.otherMemory }
)

// check judges the samples.
func (f *floodTrace) check(t *testing.T, by flood, lasting time.Duration) {
	t.Helper()
	more := by.descriptors()
	for what, limit := range map[string]struct {
		of   func(floodSample) int
		most int
	}{
		"descriptors of the primary":       {ofPrimary, f.start.primary + more},
		"descriptors of the workers":       {ofWorkers, f.start.workersDescriptors + more},
		"descriptors of the query process": {ofQuery, f.start.workersDescriptors + more},
		"goroutines of the primary":        {ofGoroutines, f.start.goroutines + by.goroutines()},
	} {
		if n := most(f.samples, limit.of); n > limit.most {
			t.Errorf("%d %s, %d are the most", n, what, limit.most)
		}
	}
	growth := floodMemory
	if lasting < time.Minute {
		growth *= 4 // the heap only reaches its usual size, and on a busy machine late
	}
	memory := map[string]func(floodSample) int{"primary": ofMemory, "workers": ofOther}
	for what, of := range memory {
		before, after := median(f.quarter(1), of), median(f.quarter(3), of)
		if after > before+growth {
			t.Errorf("private memory of the %s grows: %d MiB in the second quarter, %d in the last",
				what, before>>20, after>>20)
		}
	}
	if last := f.quarter(3); last[len(last)-1].records == f.samples[0].records {
		t.Error("no record came during the flood")
	}
}

// floodReport is the table of all floods.
type floodReport struct {
	mu   sync.Mutex
	rows []string
}

func (r *floodReport) add(f flood, a affliction, trace *floodTrace) {
	row := fmt.Sprintf("%s\t%s\t%d\t%d", f.name, a.name, trace.turns, trace.start.primary)
	for _, of := range []func(floodSample) int{
		ofPrimary, ofWorkers, ofQuery, ofGoroutines, ofMemory, ofOther,
	} {
		for _, n := range []int{
			median(trace.quarter(1), of), median(trace.quarter(3), of), most(trace.samples, of),
		} {
			if n >= 1<<20 { // memory
				n >>= 20
			}
			row += fmt.Sprintf("\t%d", n)
		}
	}
	first, last := trace.samples[0].records, trace.samples[len(trace.samples)-1].records
	row += fmt.Sprintf("\t%d\t%v", last-first, trace.longestWait.Round(time.Millisecond))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, row)
}

// String is the table. The three figures of a column are the medians of the second and of the last
// quarter, and the most.
func (r *floodReport) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "flood\tquery\tturns\tstart\tprimary\t\t\tworkers\t\t\tquery\t\t\t"+
		"goroutines\t\t\tprimary MiB\t\t\tworkers MiB\t\t\trecords\tlongest wait")
	slices.Sort(r.rows)
	for _, row := range r.rows {
		fmt.Fprintln(w, row)
	}
	_ = w.Flush()
	return b.String()
}
