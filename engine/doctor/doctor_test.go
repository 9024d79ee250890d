package doctor

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine"
	"distributor/engine/config"
	"distributor/engine/simulator"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto/shardus"
)

// place is everything that a distributor has: data logs and databases as an archiver leaves them, a
// configuration file and a state directory.
type place struct {
	t        *testing.T
	dir      string
	settings map[string]any
}

// archive returns the files that an archiver leaves; they are made once.
var archive = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "doctor-test-")
	if err != nil {
		return "", err
	}
	_, err = simulator.Run(context.Background(), simulator.Options{
		Dir: filepath.Join(dir, "data-logs"), Databases: filepath.Join(dir, "db"), Seed: "doctor",
		Count: 300, Log: simulator.LogOptions{MaxBytes: 200_000},
	})
	return dir, err
})

// writerRole makes the test binary act as an archiver that has a database open.
const writerRole = "DOCTOR_TEST_WRITES_TO"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerRole); path != "" {
		writeDatabase(path)
	}
	status := m.Run()
	if dir, err := archive(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(status)
}

// writeDatabase leaves 50 rows in the WAL and waits for the end of its input.
func writeDatabase(path string) {
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL")
	for i := 0; i < 50 && err == nil; i++ {
		_, err = db.Exec("INSERT INTO cycles (cycleMarker, counter, cycleRecord) VALUES (?, ?, '{}')",
			fmt.Sprint("m", i), 1e6+i)
	}
	var rows int
	if err == nil {
		err = db.QueryRow("SELECT max(rowid) FROM cycles").Scan(&rows)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(rows)
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir()}
	from, err := archive()
	p.must(err)
	p.must(os.CopyFS(p.dir, os.DirFS(from)))
	public, secret, err := shardus.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	p.settings = map[string]any{
		"DATA_LOG_DIR": p.path("data-logs"), "ARCHIVER_DB_DIR": p.path("db"),
		"STATE_DIR": p.path("state"), "LISTEN_ADDR": "127.0.0.1", "DISTRIBUTOR_PORT": 0,
		"ADMIN_ADDR":             "",
		"DISTRIBUTOR_PUBLIC_KEY": public.String(), "DISTRIBUTOR_SECRET_KEY": secret.Reveal(),
		"FRAME_LOG_BYTES": 1 << 20, "FRAME_LOG_SEGMENT_BYTES": 1 << 20,
		"ADD_EXECUTION_SHARD_KEY": true,
	}
	return p
}

func (p *place) path(parts ...string) string {
	return filepath.Join(append([]string{p.dir}, parts...)...)
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) write(name, text string) {
	p.t.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	p.must(os.WriteFile(p.path(name), []byte(text), 0o600))
}

func (p *place) append(name, text string) {
	p.t.Helper()
	f, err := os.OpenFile(p.path(name), os.O_APPEND|os.O_WRONLY, 0)
	p.must(err)
	_, err = f.WriteString(text)
	p.must(errors.Join(err, f.Close()))
}

// examine writes the settings to a file and runs doctor on it.
func (p *place) examine(env ...string) Report {
	p.t.Helper()
	b, err := json.Marshal(p.settings)
	p.must(err)
	if _, err := os.Stat(p.path("config.json")); err != nil {
		p.write("config.json", string(b))
	}
	p.must(os.WriteFile(p.path("config.json"), b, 0))
	start := time.Now()
	r, err := Examine(p.t.Context(), config.Source{Path: p.path("config.json"), Env: env})
	p.must(err)
	if took := time.Since(start); took > 2*time.Second {
		p.t.Errorf("it took %v", took)
	}
	return r
}

// frames makes a frame log with a few frames, and closes it.
func (p *place) frames() {
	p.t.Helper()
	w := p.openFrames()
	p.must(w.Close())
}

func (p *place) openFrames() *framelog.Writer {
	p.t.Helper()
	w, _, err := framelog.OpenWriter(framelog.Options{Dir: p.path("state", "frames"),
		SegmentBytes: 64 << 10, RetainBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	p.must(err)
	for range 100 {
		p.must(w.Append(bytes.Repeat([]byte("frame"), 500), framelog.Meta{Stream: 1}))
	}
	p.must(w.Commit())
	return w
}

// snapshot returns everything about the files of a place that doctor could change.
func (p *place) snapshot() map[string]string {
	p.t.Helper()
	all := make(map[string]string)
	p.must(filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == p.path("config.json") || path == p.dir {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if !d.IsDir() {
			content, err = beginning(path)
		}
		all[path] = fmt.Sprint(fi.Mode(), fi.Size(), fi.ModTime(), string(content))
		return err
	}))
	return all
}

// beginning returns the first MiB of a file: a WAL that has grown is a hole of hundreds of MiB.
func beginning(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

func (p *place) unchanged(before map[string]string) {
	p.t.Helper()
	after := p.snapshot()
	for path, was := range before {
		if after[path] != was {
			p.t.Errorf("%s has changed", path)
		}
	}
	for path := range after {
		if _, was := before[path]; !was {
			p.t.Errorf("%s was made", path)
		}
	}
}

// has reports whether there is a finding of that level that contains words, of a check whose name
// begins with check.
func (r Report) has(check string, level Level, words string) bool {
	for _, f := range r.Findings {
		if strings.HasPrefix(f.Check, check) && f.Level == level && strings.Contains(f.Found, words) {
			return true
		}
	}
	return false
}

func (r Report) String() string {
	var b strings.Builder
	_, _ = r.WriteTo(&b)
	return b.String()
}

// avoidable counts the warnings, except those that depend on the machine alone.
func (r Report) avoidable() (warnings int) {
	for _, f := range r.Findings {
		if f.Level == Warning && f.Check != "clock" && f.Check != "memory" &&
			f.Check != "processors" && f.Check != "kernel" && f.Check != "STATE_DIR" &&
			f.Check != "descriptors" {
			warnings++
		}
	}
	return warnings
}

// The descriptors that the primary may need are those that its clients can make it need, and its
// own.
func TestDescriptorsOfThePrimary(t *testing.T) {
	cfg := config.Default()
	cfg.MaxWorkers = 3
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, more := range []int{0, 1000} {
		cfg.MaxHTTPConnections += more
		want := fmt.Sprint(engine.Descriptors(cfg, limit.Max) + 4*3 + 128)
		found := descriptors(t.Context(), visit{cfg: cfg})
		if len(found) != 1 || !strings.Contains(found[0].Found, want) {
			t.Errorf("%+v, want %s", found, want)
		}
	}
}

// All is well before the first start and after one, and nothing is changed.
func TestHealthy(t *testing.T) {
	p := newPlace(t)
	before := p.snapshot()
	r := p.examine()
	if r.Problems > 0 || r.avoidable() > 0 || r.OK+r.Warnings != len(r.Findings) {
		t.Error(r)
	}
	for _, want := range []struct{ check, words string }{
		{"configuration", "can be used"},
		{"keys", "signs as " + p.settings["DISTRIBUTOR_PUBLIC_KEY"].(string)},
		{"DATA_LOG_DIR", "can be read"},
		{"data logs: receipt", "writer: bytes-blank"}, {"data logs: cycle", "cycle-log1.txt"},
		{"data logs: originalTx", "a first start begins at the end"},
		{"frame log", "none yet"}, {"databases: cycles.sqlite3", "rows"},
		{"databases: receipts.sqlite3", "rows"}, {"DISTRIBUTOR_PORT", "any free port"},
		{"kernel", "Linux"},
	} {
		if !r.has(want.check, OK, want.words) {
			t.Errorf("no %q of %s in\n%s", want.words, want.check, r)
		}
	}
	p.unchanged(before)
	p.frames()
	before = p.snapshot()
	if r := p.examine(); r.Problems > 0 || r.avoidable() > 0 ||
		!r.has("frame log", OK, "100 frames in ") {
		t.Error(r)
	}
	p.unchanged(before)
	if strings.Contains(fmt.Sprint(r), p.settings["DISTRIBUTOR_SECRET_KEY"].(string)[:60]) {
		t.Error("it tells the secret key")
	}
}

// Doctor works beside a distributor and an archiver that are at work, and does not disturb them.
func TestBesideOthers(t *testing.T) {
	p := newPlace(t)
	w := p.openFrames()
	defer w.Close()
	// The writer is another process, because SQLite shares its knowledge within one process.
	self, err := os.Executable()
	p.must(err)
	writer := exec.Command(self)
	writer.Env = append(os.Environ(), writerRole+"="+p.path("db", "cycles.sqlite3"))
	in, err := writer.StdinPipe()
	p.must(err)
	out, err := writer.StdoutPipe()
	p.must(err)
	p.must(writer.Start())
	var rows int
	_, err = fmt.Fscan(out, &rows)
	p.must(err)
	// The writer still syncs the earlier segments, and records that.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		report, err := framelog.Inspect(p.path("state", "frames"))
		p.must(err)
		if report.Synced == report.Segments[len(report.Segments)-1].Base {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("synced up to %d of %+v", report.Synced, report.Segments)
		}
	}
	before := p.snapshot()
	r := p.examine()
	if r.Problems > 0 || r.avoidable() > 0 ||
		!r.has("frame log", OK, fmt.Sprintf("in use by process %d", os.Getpid())) ||
		!r.has("frame log", OK, "100 frames") || !r.has("databases: cycles", OK, "WAL ") {
		t.Error(r)
	}
	if words := "of the running distributor"; !r.has("descriptors", OK, words) &&
		!r.has("descriptors", Warning, words) {
		t.Error(r)
	}
	if !r.has("databases: cycles", OK, fmt.Sprintf("about %d rows", rows)) {
		t.Errorf("%d rows\n%s", rows, r)
	}
	p.unchanged(before)
	p.must(w.Append([]byte("frame"), framelog.Meta{}))
	p.must(w.Commit())
	p.must(in.Close())
	p.must(writer.Wait())
}

// Each fault is found and has a remedy.
func TestFaults(t *testing.T) {
	hour := time.Now().Add(-time.Hour)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("OK"))
	})}
	distributor, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = other.Serve(distributor) }()
	defer other.Close()
	set := func(pairs ...any) func(*place) {
		return func(p *place) {
			for i := 0; i < len(pairs); i += 2 {
				p.settings[pairs[i].(string)] = pairs[i+1]
			}
		}
	}
	remove := func(name string) func(*place) {
		return func(p *place) { p.must(os.RemoveAll(p.path(name))) }
	}
	write := func(name, text string) func(*place) { return func(p *place) { p.write(name, text) } }
	alter := func(db, statement string) func(*place) {
		return func(p *place) {
			d, err := sql.Open("sqlite3", p.path("db", db))
			p.must(err)
			_, err = d.Exec(statement)
			p.must(errors.Join(err, d.Close()))
		}
	}
	for name, c := range map[string]struct {
		do    func(*place)
		check string
		level Level
		words string
	}{
		"unknown key":      {set("DATA_LOG_DRI", "x"), "configuration", Warning, "DATA_LOG_DRI"},
		"impossible value": {set("RATE_LIMIT", -1), "configuration", Problem, "RATE_LIMIT"},
		"another secret key": {set("DISTRIBUTOR_PUBLIC_KEY", strings.Repeat("ab", 32)),
			"configuration", Problem, "DISTRIBUTOR_PUBLIC_KEY"},
		"halves do not fit": {func(p *place) {
			p.settings["DISTRIBUTOR_SECRET_KEY"] = strings.Repeat("ab",
				32) + p.settings["DISTRIBUTOR_PUBLIC_KEY"].(string)
		}, "", Problem, "SECRET_KEY"},
		"sample keys": {func(p *place) {
			delete(p.settings, "DISTRIBUTOR_PUBLIC_KEY")
			delete(p.settings, "DISTRIBUTOR_SECRET_KEY")
			p.settings["LISTEN_ADDR"] = ""
		}, "keys", Warning, "sample keys"},
		"file for everybody": {func(p *place) {
			p.write("config.json", "")
			p.must(os.Chmod(p.path("config.json"), 0o644))
		}, "keys", Warning,
			"read by every user"},
		"no subscribers": {set("limitToSubscribersOnly", true), "subscribers", Warning,
			"none may connect"},
		"expired subscriber": {set("limitToSubscribersOnly", true, "subscribers",
			[]any{map[string]any{"publicKey": strings.Repeat("ab", 32), "expirationTimestamp": 1,
				"subscriptionType": "FIREHOSE"}, map[string]any{"publicKey": strings.Repeat("ac", 32),
				"expirationTimestamp": 0, "subscriptionType": "FIREHOSE"}}), "subscribers", Warning,
			"1 may connect, the subscription of 1 has expired"},
		"no data logs":    {remove("data-logs"), "DATA_LOG_DIR", Problem, "does not exist"},
		"a file for them": {set("DATA_LOG_DIR", "/dev/null"), "DATA_LOG_DIR", Problem, "no directory"},
		"state under a file": {func(p *place) {
			p.write("file", "")
			p.settings["STATE_DIR"] = p.path("file", "state")
		}, "STATE_DIR",
			Problem, "no"},
		"logs under a file": {func(p *place) {
			p.write("file", "")
			p.settings["LOG_TO"], p.settings["DISTRIBUTOR_LOGS"] = "files", p.path("file")
		}, "DISTRIBUTOR_LOGS", Warning, "no directory"},
		"disk too small": {set("FRAME_LOG_BYTES", 1<<44), "STATE_DIR", Problem, "will need"},
		"state in memory": {set("STATE_DIR", "/dev/shm/no-such-directory"), "STATE_DIR", Warning,
			"in memory"},
		"no stream": {func(p *place) {
			logs, _ := filepath.Glob(p.path("data-logs", "*cycle*"))
			for _, l := range logs {
				p.must(os.Remove(l))
			}
		}, "data logs: cycle", Warning, "no logs yet"},
		"no pointer": {remove("data-logs/active-receipt-log.txt"), "data logs: receipt", Warning,
			"names none"},
		"torn pointer": {write("data-logs/active-receipt-log.txt", "receipt-l"), "data logs: receipt",
			Warning, "names none"},
		"pointer ahead": {write("data-logs/active-receipt-log.txt", "receipt-log99.txt"),
			"data logs: receipt", Warning, "receipt-log99.txt, which does not exist"},
		"silence": {func(p *place) {
			logs, _ := filepath.Glob(p.path("data-logs", "*"))
			for _, l := range logs {
				p.must(os.Chtimes(l, hour, hour))
			}
		}, "data logs", Warning, "no stream has grown for 1h"},
		"log gone": {write("state/checkpoint.json",
			`{"streams":{"receipt":{"Number":77,"Time":1,"Inode":2,"Offset":3,"Check":4}}}`),
			"data logs: receipt", Warning, "log 77, which was read up to byte 3, is gone"},
		"torn checkpoint": {write("state/checkpoint.json", `{"stre`), "data logs", Warning,
			"checkpoint.json is damaged"},
		"slow clock": {func(p *place) {
			p.append("data-logs/"+active(p, "receipt"),
				fmt.Sprintf("{\"timestamp\":%d}\n\n", time.Now().Add(time.Hour).UnixMilli()))
		}, "clock", Problem, "is slow"},
		"damaged frame": {func(p *place) {
			p.frames()
			p.flip("state/frames/0000000000000000.frames", 5000)
		}, "frame log", Problem,
			"damaged, not sent"},
		"damaged newest frame": {func(p *place) { p.frames(); p.cutNewest() }, "frame log", Problem,
			"made again"},
		"no head": {func(p *place) { p.frames(); p.must(os.Remove(p.path("state/frames/head"))) },
			"frame log", Warning, "new id"},
		"another version": {func(p *place) { p.frames(); p.laterVersion("state/frames/head") },
			"frame log", Problem, "version"},
		"no databases": {remove("db"), "databases", Problem, "does not exist"},
		"a database missing": {remove("db/receipts.sqlite3"), "databases: receipts.sqlite3", Problem,
			"does not exist"},
		"an empty one": {write("db/receipts.sqlite3", ""), "databases: receipts.sqlite3",
			Problem, "empty"},
		"no database": {write("db/receipts.sqlite3", strings.Repeat("x", 5000)),
			"databases: receipts.sqlite3", Problem, "no SQLite database"},
		"damaged database": {func(p *place) {
			p.overwrite("db/receipts.sqlite3", 24, bytes.Repeat([]byte{0xff}, 4000))
		},
			"databases: receipts.sqlite3", Problem, ""},
		"no table": {alter("receipts.sqlite3", "DROP TABLE receipts"),
			"databases: receipts.sqlite3", Problem, "no table receipts"},
		"no column": {alter("accounts.sqlite3",
			"ALTER TABLE accounts RENAME COLUMN cycleNumber TO n"), "databases: accounts.sqlite3",
			Problem, "no column cycleNumber or cycle"},
		"one database": {func(p *place) {
			p.settings["ARCHIVER_DB_PATH"] = p.path("db", "cycles.sqlite3")
		},
			"databases: cycles.sqlite3", Problem, "no table accounts"},
		"a WAL left behind": {write("db/cycles.sqlite3-wal", strings.Repeat("x", 5000)),
			"databases: cycles.sqlite3", Warning, "a WAL that nobody has open"},
		"a WAL that grows": {func(p *place) {
			p.write("db/cycles.sqlite3-wal", "")
			p.must(os.Truncate(p.path("db/cycles.sqlite3-wal"), 300<<20))
		}, "databases: cycles.sqlite3", Warning, "has grown to 300 MiB"},
		"port taken": {set("DISTRIBUTOR_PORT", port0(taken)), "DISTRIBUTOR_PORT", Problem,
			"taken by another program"},
		"another distributor": {set("DISTRIBUTOR_PORT", port0(distributor)), "DISTRIBUTOR_PORT",
			Problem, "not with this STATE_DIR"},
		"not our address": {set("LISTEN_ADDR", "192.0.2.1", "DISTRIBUTOR_PORT", 17999),
			"DISTRIBUTOR_PORT", Problem, "no address of this machine"},
		"admin port taken": {set("ADMIN_ADDR", taken.Addr().String()), "ADMIN_ADDR", Problem, "taken"},
		"admin for everybody": {set("ADMIN_ADDR", "0.0.0.0:0"), "ADMIN_ADDR", Warning,
			"beyond this machine"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			c.do(p)
			before := p.snapshot()
			r := p.examine()
			if !r.has(c.check, c.level, c.words) {
				t.Errorf("no %s of %s: %q in\n%s", c.level, c.check, c.words, r)
			}
			for _, f := range r.Findings {
				if (f.Remedy == "") != (f.Level == OK) {
					t.Errorf("remedy %q for %+v", f.Remedy, f)
				}
			}
			if !r.has("kernel", OK, "Linux") {
				t.Errorf("the machine was not looked at:\n%s", r)
			}
			p.unchanged(before)
		})
	}
}

func port0(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func active(p *place, stream string) string {
	b, err := os.ReadFile(p.path("data-logs", "active-"+stream+"-log.txt"))
	p.must(err)
	return string(b)
}

// overwrite replaces bytes of a file.
func (p *place) overwrite(name string, at int64, b []byte) {
	p.t.Helper()
	f, err := os.OpenFile(p.path(name), os.O_RDWR, 0)
	p.must(err)
	_, err = f.WriteAt(b, at)
	p.must(errors.Join(err, f.Close()))
}

// laterVersion turns a head page into one of the next format version: the version is at byte 8, and
// at byte 32 is the check of the bytes before.
func (p *place) laterVersion(name string) {
	p.t.Helper()
	page, err := os.ReadFile(p.path(name))
	p.must(err)
	page[8]++
	check := crc32.Checksum(page[:32], crc32.MakeTable(crc32.Castagnoli))
	binary.NativeEndian.PutUint64(page[32:], uint64(check))
	p.must(os.WriteFile(p.path(name), page, 0o600))
}

func (p *place) flip(name string, at int64) {
	p.t.Helper()
	b, err := os.ReadFile(p.path(name))
	p.must(err)
	p.overwrite(name, at, []byte{b[at] ^ 1})
}

// cutNewest destroys the last byte of the newest frame.
func (p *place) cutNewest() {
	p.t.Helper()
	r, err := framelog.OpenReader(p.path("state/frames"))
	p.must(err)
	head := r.Head()
	p.must(r.Close())
	segments, err := filepath.Glob(p.path("state/frames/0*.frames"))
	p.must(err)
	newest := segments[len(segments)-1]
	var base uint64
	_, err = fmt.Sscanf(filepath.Base(newest), "%x.frames", &base)
	p.must(err)
	p.flip("state/frames/"+filepath.Base(newest), int64(head-base)-1)
}

// Doctor reports what a stopped distributor will read, and how far a running one is behind.
func TestBehind(t *testing.T) {
	p := newPlace(t)
	follower, err := datalog.NewFollower(datalog.Options{Dir: p.path("data-logs"),
		Stream: datalog.Receipt, Interval: time.Second, MaxLine: 1 << 20})
	p.must(err)
	position := follower.Position()
	p.must(follower.Close())
	b, err := json.Marshal(map[string]any{"streams": map[string]any{"receipt": position}})
	p.must(err)
	p.write("state/checkpoint.json", string(b))
	if r := p.examine(); !r.has("data logs: receipt", OK, "all of it read") {
		t.Error(r)
	}
	p.append("data-logs/"+active(p, "receipt"), strings.Repeat("\n", 2048))
	if r := p.examine(); !r.has("data logs: receipt", OK, "2 KiB to be read at the next start") {
		t.Error(r)
	}
	w := p.openFrames()
	defer w.Close()
	if r := p.examine(); !r.has("data logs: receipt", OK, "read, but for 2 KiB") {
		t.Error(r)
	}
	// Far behind, in a log too big to be read.
	p.must(os.Truncate(p.path("data-logs", active(p, "receipt")), 1<<36))
	if r := p.examine(); !r.has("data logs: receipt", Warning,
		"the running distributor is 64 GiB behind") {
		t.Error(r)
	}
}

// A receipt without the member that the newest archiver leaves out is found, together with the
// setting that adds the member.
func TestReceiptsWithoutShardKey(t *testing.T) {
	const words = "receipts are logged without executionShardKey"
	p := newPlace(t)
	for _, c := range []struct {
		line  string
		add   bool
		level Level // empty: nothing is said
	}{
		{`{"cycle":1,"executionShardKey":"ab","receiptId":"x"}`, false, ""},
		{`{"cycle":1,"receiptId":"x","signedReceipt":{"executionShardKey":"ab"}}`, false, Warning},
		{`{"cycle":1,"receiptId":"x","signedReceipt":{"executionShardKey":"ab"}}`, true, OK},
		{`{"cycle":1,"executionShardKey`, true, ""}, // no record
		{`"executionShardKey"`, false, ""},
	} {
		p.settings["ADD_EXECUTION_SHARD_KEY"] = c.add
		p.append("data-logs/"+active(p, "receipt"), c.line+"\n")
		r := p.examine()
		for _, level := range []Level{OK, Warning, Problem} {
			if r.has("data logs: receipt", level, words) != (level == c.level) {
				t.Errorf("%s, with %v: %s\n%s", c.line, c.add, level, r)
			}
		}
	}
}

// A check that hangs is abandoned, and the other checks report.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		start := time.Now()
		found := runAll(t.Context(), visit{}, []check{
			{"stuck", func(context.Context, visit) []Finding { <-hang; return nil }},
			{"slow", func(ctx context.Context, _ visit) []Finding {
				<-ctx.Done()
				return []Finding{fine("slow", "enough")}
			}},
			{"quick", func(context.Context, visit) []Finding { return []Finding{fine("quick", "here")} }},
		})
		r := summarize(found)
		if took := time.Since(start); took > 2*time.Second || !r.has("stuck", Problem, "no answer") ||
			!r.has("slow", OK, "enough") || !r.has("quick", OK, "here") {
			t.Errorf("%v: %s", took, r)
		}
	})
}

func TestWords(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB",
		300 << 20: "300 MiB", 1 << 44: "16 TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	for d, want := range map[time.Duration]string{-time.Hour: "just now", time.Second: "just now",
		90 * time.Second: "1m30s ago", 50 * time.Hour: "2 days ago"} {
		if got := age(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
	for record, want := range map[string]int64{`{"timestamp":1700000000123}`: 1700000000123,
		`{"cycleRecord":{"start":1700000000,"duration":60}}`: 1700000000000, `{"timestamp":"x"}`: 0,
		`{"timestamp":1e300}`: 0, `{`: 0, ``: 0, `[]`: 0} {
		got := recordTime([]byte(record))
		if want == 0 && !got.IsZero() || want != 0 && got.UnixMilli() != want {
			t.Errorf("%s: %v", record, got)
		}
	}
}

// Doctor finds the state where the engine stores it.
func TestStateIsWhereTheEngineHasIt(t *testing.T) {
	cfg := config.Default()
	cfg.StateDir = t.TempDir()
	if got := engine.FrameLogDir(cfg); got != filepath.Join(cfg.StateDir, "frames") {
		t.Error(got)
	}
	none := datalog.PerStream[datalog.Position]{}
	if positions, err := engine.SavedPositions(cfg); err != nil || positions != none {
		t.Error(positions, err)
	}
}
