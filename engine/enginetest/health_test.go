package enginetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/simulator"
)

// ill waits until /is-healthy reports a problem with the component, and nothing
// else, with a remedy.
func ill(t *testing.T, d *Distributor, component, words string) {
	t.Helper()
	mustReport(t, d, map[string]string{component: words})
	if status, _ := d.Get("/is-alive"); status != http.StatusOK {
		t.Errorf("/is-alive: %d", status)
	}
}

// healthAnswer is what /is-healthy says, on either listener.
type healthAnswer struct {
	Healthy  bool
	Since    time.Time // the admin listener's alone
	Problems []struct {
		ID, Level, Component, Problem, Remedy string
		Since                                 time.Time
	}
}

// details are what the admin listener says of health.
func (d *Distributor) details() (status int, h healthAnswer, body string) {
	d.t.Helper()
	status, body = ask(d.t, "GET", d.admin()+"/is-healthy", "")
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		d.t.Fatalf("%v: %s", err, body)
	}
	return status, h, body
}

// newHealthy makes a place where all is well: with the archiver's databases,
// which the HTTP API wants.
func newHealthy(t *testing.T, settings Settings) *Distributor {
	t.Helper()
	d := New(t, settings)
	dir := filepath.Join(d.Dir, "databases")
	databases, err := simulator.OpenDatabases(dir, true)
	if err == nil {
		err = databases.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	d.Configure(Settings{"ARCHIVER_DB_DIR": dir})
	if d.settings["ADMIN_ADDR"] == "off" {
		d.Configure(Settings{"ADMIN_ADDR": "127.0.0.1:0"})
	}
	return d
}

func well(t *testing.T, d *Distributor) {
	t.Helper()
	var body string
	Until(t, "/is-healthy is content", func() bool {
		var status int
		status, body = d.Health()
		return status == http.StatusOK && body == "OK"
	}, func() string { return body })
}

// Health that turns red, and green again, is a line of the log and an event with the reason, and there is since when.
func TestHealthTurnsAreTold(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, nil)
	d.Start()
	well(t, d)
	told := func(message string) []string {
		var texts []string
		for _, e := range statusOf(t, d.admin()).Events {
			if strings.HasPrefix(e.Text, message) {
				texts = append(texts, e.Text)
			}
		}
		return texts
	}
	if status, h, body := d.details(); status != http.StatusOK || !h.Healthy || h.Since.IsZero() || len(told("health is")) != 0 {
		t.Errorf("at first: %d %s", status, body)
	}
	aside := d.Logs + "-aside"
	if err := os.Rename(d.Logs, aside); err != nil {
		t.Fatal(err)
	}
	ill(t, d, "data logs", "no such file or directory")
	red := d.WaitLog("red", func(l Line) bool { return l.Msg == "health is red" })
	if red.Level != "WARN" || red.Attrs["component"] != "data logs" || !strings.Contains(fmt.Sprint(red.Attrs["problem"]), d.Logs) || red.Attrs["remedy"] == "" {
		t.Errorf("%+v", red)
	}
	Until(t, "the status tells that it is red", func() bool {
		s, texts := statusOf(t, d.admin()), told("health is red")
		return !s.Healthy && len(s.Problems) == 1 && s.HealthSince.Equal(s.Problems[0].Since) && !s.HealthSince.Before(s.Started.Truncate(time.Second)) &&
			len(texts) == 1 && strings.Contains(texts[0], "component=data logs") && strings.Contains(texts[0], "no such file or directory")
	}, nil)
	since := statusOf(t, d.admin()).HealthSince
	if err := os.Rename(aside, d.Logs); err != nil {
		t.Fatal(err)
	}
	well(t, d)
	Until(t, "the status tells that it is green", func() bool {
		s, texts := statusOf(t, d.admin()), told("health is green again")
		return s.Healthy && s.HealthSince.After(since) && len(texts) == 1 && strings.Contains(texts[0], "component=data logs")
	}, nil)
	if said := d.Log(func(l Line) bool {
		return strings.HasPrefix(l.Msg, "health is") || strings.HasPrefix(l.Msg, "a health problem")
	}); len(said) != 2 {
		t.Errorf("%v", said)
	}
	d.Stop()
}

// Databases that are missing are one line of the log, however many they are, and no news to the
// process that takes over, which knows since when.
func TestHealthOfMissingDatabases(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, nil)
	dir := filepath.Join(d.Dir, "databases")
	if err := os.Rename(dir, dir+"-aside"); err != nil {
		t.Fatal(err)
	}
	linked(t, d)
	d.Start()
	problems := func(address string) map[string]time.Time {
		since := make(map[string]time.Time)
		for _, p := range statusOf(t, address).Problems {
			since[p.Component] = p.Since
		}
		return since
	}
	Until(t, "all five are missing", func() bool { return len(problems(d.admin())) == 5 }, nil)
	before := problems(d.admin())
	d.HandOver()
	d.Alone()
	still := "health is still red after the handover"
	d.WaitLog("it is still red", func(l Line) bool { return l.Msg == still })
	Until(t, "the new process knows since when", func() bool {
		return maps.Equal(problems(lastAdmin(d)), before)
	}, func() string { return fmt.Sprint(problems(lastAdmin(d)), " after ", before) })
	if err := os.Rename(dir+"-aside", dir); err != nil {
		t.Fatal(err)
	}
	d.WaitLog("it is green", func(l Line) bool { return l.Msg == "health is green again" })
	red := d.Log(func(l Line) bool { return l.Msg == "health is red" })
	if len(red) != 1 || strings.Count(fmt.Sprint(red[0].Attrs["component"]), "database ") != 5 {
		t.Errorf("%v", red)
	}
	d.Stop()
}

func TestHealthOfDataLogs(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, Settings{"DATA_LOG_STALE_MS": 0})
	d.Start()
	well(t, d)
	aside := d.Logs + "-aside"
	if err := os.Rename(d.Logs, aside); err != nil {
		t.Fatal(err)
	}
	ill(t, d, "data logs", "no such file or directory")
	if err := os.Rename(aside, d.Logs); err != nil {
		t.Fatal(err)
	}
	well(t, d)

	// It goes on where it was, with the directory that came back.
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Sizes: []int{100}})
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
	if err := archiver.Write(10); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(10)

	// One stream's active file cannot be read: the directory can, and the other streams go on.
	pointer := filepath.Join(d.Logs, "active-receipt-log.txt")
	if err := os.Rename(pointer, pointer+".aside"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(pointer, pointer); err != nil {
		t.Fatal(err)
	}
	ill(t, d, "data logs: receipt", "too many levels of symbolic links")
	if err := os.Rename(pointer+".aside", pointer); err != nil {
		t.Fatal(err)
	}
	well(t, d)
	if err := archiver.Write(10); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(20)
	fleet.CheckSame()

	d.Configure(Settings{"DATA_LOG_STALE_MS": 300})
	d.Reload(syscall.SIGHUP)
	ill(t, d, "data logs", "no stream has grown: for ")
	d.Configure(Settings{"DATA_LOG_STALE_MS": 60_000})
	d.Reload(syscall.SIGHUP)
	well(t, d)
	d.Stop()
}

// When the binary can no longer be executed, no worker can start in the place
// of one that has died. When it can, all is well by itself, and the collectors,
// who have waited, miss nothing.
func TestHealthOfWorkers(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, nil)
	copied(t, d)
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Sizes: []int{100}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 5, Book: book})
	if err := os.Chmod(d.Binary, 0o600); err != nil { // moving it away would not do: a worker is of its primary's binary, wherever that is
		t.Fatal(err)
	}
	worker := d.Workers()[0]
	worker.Kill(t)
	ill(t, d, "workers", "no worker can start")
	if err := archiver.Write(10); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.Binary, 0o755); err != nil {
		t.Fatal(err)
	}
	well(t, d)
	fleet.WaitTotal(10)
	fleet.CheckSame()
	if !worker.Gone(0) {
		t.Error("the killed worker is there")
	}
	d.Stop()
}

// The frame log's file system is full: collectors get what was committed, /is-healthy is red. A
// restart changes nothing, even if not one byte is left. With room, everything goes on by itself and
// nothing is lost.
func TestFrameLogFull(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 1 << 20, "FRAME_LOG_BYTES": 1 << 30})
	state := smallState(t, d, "size=8m,nr_inodes=200")
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed, Sizes: []int{200, 4000, 20_000},
		Log: simulator.LogOptions{MaxBytes: 2 << 20, MaxFiles: 1000}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 3, Book: book})
	for range 50 { // about 20 MB of frames
		if err := archiver.Write(50); err != nil {
			t.Fatal(err)
		}
	}
	ill(t, d, "frame log", "")
	floor, head := Bounds(t, d.URL)
	if floor.Offset != 0 || head.Offset < 4<<20 || head.Offset > 8<<20 {
		t.Errorf("the log holds %d to %d on 8 MiB", floor.Offset, head.Offset)
	}
	before := settledSum(t, fleet)
	if before == 0 || before >= int64(3*book.Total()) {
		t.Errorf("%d messages were received of %d for each of 3: %v", before, book.Total(), fleet)
	}
	if fleet.Cut() != 0 {
		t.Errorf("a full disk costs collectors their connection: %v", fleet)
	}

	d.Stop()
	fill(state)
	d.Start()
	mustReport(t, d, map[string]string{"frame log": "", "progress": ""})
	if err := unix.Mount("", state, "tmpfs", unix.MS_REMOUNT, "size=200m,nr_inodes=10k"); err != nil {
		t.Fatal(err)
	}
	well(t, d)
	fleet.WaitTotal(book.Total())
	fleet.CheckSame()
	t.Logf("of %d records %d fitted into 8 MiB; all came with more room", book.Total(), before/3)
	d.Stop()
}

// settledSum waits until a fleet gets nothing more and all have the same.
func settledSum(t *testing.T, f *Fleet) int64 {
	t.Helper()
	last, at := f.Sum(), time.Now()
	Until(t, "the fleet gets nothing more", func() bool {
		if now := f.Sum(); now != last {
			last, at = now, time.Now()
		}
		return time.Since(at) > quiet
	}, func() string { return fmt.Sprint(f) })
	return last
}

// mustReport waits until /is-healthy reports exactly these problems, by
// component, each in these words, with a remedy and since when: all of it to the
// operator, and the same components to strangers, who are not told where.
func mustReport(t *testing.T, d *Distributor, problems map[string]string) {
	t.Helper()
	var body string
	Until(t, fmt.Sprint("/is-healthy reports ", problems), func() bool {
		var status int
		var details, public healthAnswer
		if status, details, body = d.details(); status != http.StatusServiceUnavailable || details.Healthy || len(details.Problems) != len(problems) {
			return false
		}
		for _, p := range details.Problems {
			if words, due := problems[p.Component]; !due || !strings.Contains(p.Problem, words) || p.Remedy == "" || p.ID == "" || p.Level == "" || p.Since.Before(details.Since) {
				return false
			}
		}
		if status, body = d.Health(); status != http.StatusServiceUnavailable {
			return false
		}
		if err := json.Unmarshal([]byte(body), &public); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if public.Healthy || len(public.Problems) != len(problems) {
			return false
		}
		for _, p := range public.Problems {
			if _, due := problems[p.Component]; !due || p.Problem == "" || p.Remedy == "" || p.ID == "" || p.Level == "" || p.Since.IsZero() {
				return false
			}
		}
		if strings.Contains(body, d.Dir) || strings.Contains(body, " /") || strings.Contains(body, "(/") {
			t.Fatalf("strangers are told a path: %s", body)
		}
		return true
	}, func() string { return body })
}
