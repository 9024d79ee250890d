package encoder

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/notice"
	"distributor/mmaplog/bell"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// The sample keys of the replaced service; both are public.
const (
	hashKeyHex   = "69fa4195670576c0160d660c3be36556ff8d504725be8a59b5a96509e0c994bc"
	secretKeyHex = "3be00019f23847529bd63e41124864983175063bb524bd54ea3c155f2fa12969758b1c119412298802cd28dbfa394cdfeecc4074492d60844cc192d632d84de3"
)

func signer(t testing.TB) *shardus.Signer {
	t.Helper()
	hashKey, err := shardus.ParseHashKey(hashKeyHex)
	if err != nil {
		t.Fatal(err)
	}
	key, err := shardus.ParseSecretKey(secretKeyHex)
	if err != nil {
		t.Fatal(err)
	}
	return shardus.NewSigner(key, hashKey)
}

// recording is a recorded record: a line, and the message that the replaced service sent for it.
type recording struct {
	ID, Stream, Line, Message string
	LineB64                   string `json:"line_b64"`
}

func (r recording) line(t testing.TB) string {
	if r.LineB64 == "" {
		return r.Line
	}
	b, err := base64.StdEncoding.DecodeString(r.LineB64)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func recordings(t testing.TB) []recording {
	t.Helper()
	f, err := os.Open("../../testdata/firehose.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Records []recording }
	if err := json.NewDecoder(z).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all.Records
}

// rig is an Encoder between real data logs and a real frame log.
type rig struct {
	t         testing.TB
	logs      string
	frames    *framelog.Writer
	followers datalog.PerStream[*datalog.Follower]
	encoder   *Encoder
	stop      atomic.Int64
	wake      *os.File // what a worker has to be woken by
	rings     uint64   // taken from it
	cancel    context.CancelFunc
	ended     chan error
}

func newRig(
	t testing.TB, dir string, from datalog.PerStream[datalog.Position], change ...func(*Encoder),
) *rig {
	t.Helper()
	r := &rig{t: t, logs: filepath.Join(dir, "logs"), ended: make(chan error, 1)}
	r.stop.Store(-1)
	if err := os.MkdirAll(r.logs, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, s := range datalog.Streams {
		r.append(s.String(), "")
		if err := os.WriteFile(filepath.Join(r.logs, fmt.Sprintf("active-%s-log.txt", s)),
			[]byte(s.String()+"-log1.txt"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	log := slog.New(slog.DiscardHandler)
	if r.frames, _, err = framelog.OpenWriter(framelog.Options{
		Dir: filepath.Join(dir, "frames"), SegmentBytes: 4 << 20, RetainBytes: 1 << 30, Log: log,
	}); err != nil {
		t.Fatal(err)
	}
	progress := Progress{Head: r.frames.Head()}
	for _, s := range datalog.Streams {
		if r.followers[s], err = datalog.NewFollower(datalog.Options{
			Dir: r.logs, Stream: s, From: from[s], Interval: 20 * time.Millisecond, Log: log,
		}); err != nil {
			t.Fatal(err)
		}
		progress.Position[s] = r.followers[s].Position()
	}
	notices, err := notice.Open(dir, r.frames.Head())
	if err != nil {
		t.Fatal(err)
	}
	reader, wake, err := bell.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		reader.Close()
		_ = wake.Close()
	})
	r.wake = wake
	readers := bell.NewSet()
	readers.Fill([]*bell.Bell{reader})
	r.encoder = New(Options{
		Signer: signer(t), Frames: r.frames, Notices: notices, StopAtCycle: r.stop.Load,
		Readers: readers, Log: log,
	}, progress)
	for _, f := range change {
		f(r.encoder)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.ended <- r.encoder.Run(ctx, r.source) }()
	return r
}

// woken returns how often the readers of the frame log have been woken.
func (r *rig) woken() uint64 {
	r.t.Helper()
	raw, err := r.wake.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool {
			var count [8]byte
			if _, err := unix.Read(int(fd), count[:]); err == nil {
				r.rings += binary.NativeEndian.Uint64(count[:])
			}
			return true
		})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return r.rings
}

func (r *rig) source(s datalog.Stream) Source { return r.followers[s] }

// close stops the pipeline in the same way as the engine.
func (r *rig) close() {
	r.t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
	for _, s := range datalog.Streams {
		if err := r.followers[s].Close(); err != nil {
			r.t.Error(err)
		}
	}
	if err := r.frames.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) append(stream, text string) {
	r.t.Helper()
	f, err := os.OpenFile(filepath.Join(r.logs, stream+"-log1.txt"),
		os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		r.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) wait(what string, done func() bool) {
	r.t.Helper()
	const patience = 5 * time.Minute // a million values take long under the race detector
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (r *rig) waitFor(stream datalog.Stream, records int) {
	r.t.Helper()
	r.wait(fmt.Sprintf("%d records of %v", records, stream), func() bool {
		s := r.encoder.Stats(stream)
		var rejected uint64
		for _, n := range s.Rejected {
			rejected += n
		}
		return int(s.Frames+s.BeyondStop+rejected) == records
	})
}

// messages returns the frame log's messages from its floor, by stream.
func (r *rig) messages() map[string][]string {
	r.t.Helper()
	reader, err := framelog.OpenReader(filepath.Join(filepath.Dir(r.logs), "frames"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	out := make(map[string][]string)
	for at := reader.Floor(); at < reader.Head(); {
		end, err := reader.FrameEnd(at + 1)
		if err != nil {
			r.t.Fatal(err)
		}
		frame, err := reader.Frames(at, int(end-at))
		if err != nil || len(frame) != int(end-at) {
			r.t.Fatalf("frame at %d: %d bytes, %v", at, len(frame), err)
		}
		payload := string(frame[headerSize(frame):])
		if want := wsproto.AppendTextFrame(nil, []byte(payload)); string(want) != string(frame) {
			r.t.Fatalf("frame at %d has a bad header % x", at, frame[:10])
		}
		stream, _, _ := strings.Cut(strings.TrimPrefix(payload, `{"`), `"`)
		out[stream] = append(out[stream], payload)
		at = end
	}
	return out
}

func headerSize(frame []byte) int {
	switch frame[1] {
	case 126:
		return 4
	case 127:
		return 10
	}
	return 2
}

// Every recorded line becomes the recorded message, in order within its stream, whatever lies
// between the lines.
func TestRecordedMessages(t *testing.T) {
	r := newRig(t, t.TempDir(), datalog.PerStream[datalog.Position]{})
	defer r.close()
	want := make(map[string][]string)
	damaged := make(map[string]int)
	for i, rec := range recordings(t) {
		line := rec.line(t)
		if rec.Message == "" || strings.ContainsAny(line, "\n") {
			continue
		}
		r.append(rec.Stream, line+"\n")
		want[rec.Stream] = append(want[rec.Stream], rec.Message)
		if i%7 == 0 {
			r.append(rec.Stream, "\n{\"damaged\":\n"+strings.Repeat("[", 5000)+
				"\n{\"x\":{\"dataType\":\"bi\",\"value\":\"zz\"}}\n")
			damaged[rec.Stream]++
		}
	}
	for _, s := range datalog.Streams {
		name := s.String()
		r.waitFor(s, len(want[name])+3*damaged[name])
		got := r.encoder.Stats(s).Rejected
		for _, reason := range []string{"not_json", "too_deep", "not_canonicalisable"} {
			if int(got[reason]) != damaged[name] {
				t.Errorf("%s: %d rejected as %s, want %d (%v)", name, got[reason], reason, damaged[name], got)
			}
		}
	}
	got := r.messages()
	for stream, messages := range want {
		if !slices.Equal(got[stream], messages) {
			t.Errorf("%s: got %d messages, want %d, or others", stream, len(got[stream]), len(messages))
		}
	}
	if r.woken() == 0 || r.encoder.Blocked() != nil {
		t.Errorf("woken %d times, blocked: %v", r.woken(), r.encoder.Blocked())
	}
}

func TestStopAtCycle(t *testing.T) {
	r := newRig(t, t.TempDir(), datalog.PerStream[datalog.Position]{})
	defer r.close()
	r.stop.Store(7)
	r.append("receipt", `{"cycle":6,"n":1}`+"\n"+`{"cycle":8,"n":2}`+"\n"+`{"cycle":7,"n":3}`+"\n"+
		`{"n":4}`+"\n"+`{"cycle":"8","n":5}`+"\n")
	r.append("cycle", `{"counter":8,"cycle":1}`+"\n"+`{"counter":7,"cycle":9}`+"\n")
	r.waitFor(datalog.Cycle, 2)
	r.waitFor(datalog.Receipt, 5)
	got := r.messages()
	if len(got["cycle"]) != 1 || !strings.Contains(got["cycle"][0], `"counter":7`) {
		t.Errorf("cycles %q", got["cycle"])
	}
	var numbers []string
	for _, m := range got["receipt"] {
		_, n, _ := strings.Cut(m, `"n":`)
		numbers = append(numbers, n[:1])
	}
	if fmt.Sprint(numbers) != "[1 3 4 5]" {
		t.Errorf("receipts %v", numbers)
	}
	if s := r.encoder.Stats(datalog.Receipt); s.BeyondStop != 1 || s.Records != 5 {
		t.Errorf("%+v", s)
	}
}

// The next run starts at Progress: nothing comes twice and nothing is missed, even after a rejected
// last line.
func TestProgress(t *testing.T) {
	dir := t.TempDir()
	var from datalog.PerStream[datalog.Position]
	const runs, records = 5, 100
	for run := range runs {
		r := newRig(t, dir, from)
		for i := range records {
			r.append("originalTx", fmt.Sprintf(`{"n":%d}`+"\n", run*records+i))
		}
		r.append("originalTx", "damaged\n")
		r.waitFor(datalog.OriginalTx, records+1)
		r.wait("progress", func() bool { return r.encoder.Progress().Head == r.frames.Head() })
		r.close()
		from = r.encoder.Progress().Position
		saved, read := from[datalog.OriginalTx], r.followers[datalog.OriginalTx].Position()
		if saved != read {
			t.Fatalf("progress %+v, the follower stands at %+v", saved, read)
		}
		source, offset, ok := r.frames.LastSource(uint8(datalog.OriginalTx))
		if p := datalog.DecodePosition(source); !ok || offset != r.encoder.Progress().Head ||
			p.Offset >= saved.Offset {
			t.Fatalf("newest frame ends at %d, from %+v", offset, p)
		}
	}
	r := newRig(t, dir, from)
	defer r.close()
	got := r.messages()["originalTx"]
	if len(got) != runs*records {
		t.Fatalf("%d messages, want %d", len(got), runs*records)
	}
	for i, m := range got {
		if !strings.HasPrefix(m, fmt.Sprintf(`{"originalTx":{"n":%d}`, i)) {
			t.Fatalf("message %d is %.60s", i, m)
		}
	}
}

// A full file system stops the stream and Blocked reports it. Nothing is lost: when there is room,
// the stream continues by itself.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	frames := filepath.Join(dir, "frames")
	if err := os.Mkdir(frames, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("encoder-test", frames, "tmpfs", 0, "size=9m"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	defer func() {
		if err := unix.Unmount(frames, 0); err != nil {
			t.Error(err)
		}
	}()
	r := newRig(t, dir, datalog.PerStream[datalog.Position]{})
	defer r.close()
	const records = 20
	for i := range records { // 16 MB
		r.append("receipt", fmt.Sprintf(`{"n":%d,"pad":"%s"}`+"\n", i, strings.Repeat("x", 800_000)))
	}
	r.wait("it is blocked", func() bool { return errors.Is(r.encoder.Blocked(), framelog.ErrNoSpace) })
	if n := len(r.messages()["receipt"]); n == 0 || n >= records {
		t.Errorf("%d of %d messages are in the log", n, records)
	}
	woken := r.woken()
	if woken == 0 {
		t.Error("nobody was woken for what fitted in")
	}
	if err := unix.Mount("", frames, "tmpfs", unix.MS_REMOUNT, "size=100m"); err != nil {
		t.Fatal(err)
	}
	// Blocked is called all the time, so that the race detector sees it beside the appends.
	r.wait("all records are in the log", func() bool {
		return r.encoder.Blocked() == nil && r.encoder.Stats(datalog.Receipt).Frames == records
	})
	for i, m := range r.messages()["receipt"] {
		if !strings.HasPrefix(m, fmt.Sprintf(`{"receipt":{"n":%d,`, i)) {
			t.Fatalf("message %d is %.40s", i, m)
		}
	}
	if r.woken() == woken {
		t.Error("nobody was woken for the rest")
	}
}

// BenchmarkEncode measures the work for a recorded receipt on one core: canonical check, hash,
// signature and frame. It measures the receipt unchanged, and with executionShardKey looked up and
// added.
func BenchmarkEncode(b *testing.B) {
	var line []byte
	for _, rec := range recordings(b) {
		if rec.Stream == "receipt" && shardus.IsCanonical([]byte(rec.Line)) && len(rec.Line) > 4000 {
			line = []byte(rec.Line)
			break
		}
	}
	if line == nil {
		b.Fatal("no such recording")
	}
	lacking := regexp.MustCompile(
		`"executionShardKey":"[0-9a-f]*","globalModification"`).ReplaceAll(line,
		[]byte(`"globalModification"`))
	if len(lacking) == len(line) {
		b.Fatal("it has no executionShardKey")
	}
	for _, c := range []struct {
		name string
		add  bool
		line []byte
	}{{"logged", false, line}, {"has the key", true, line}, {"key added", true, lacking}} {
		b.Run(c.name, func(b *testing.B) { benchmarkEncode(b, c.add, c.line) })
	}
}

func benchmarkEncode(b *testing.B, add bool, line []byte) {
	e := New(Options{Signer: signer(b), StopAtCycle: func() int64 { return -1 }, AddShardKey: add,
		Log: slog.New(slog.DiscardHandler)}, Progress{})
	c := &chunk{stream: datalog.Receipt, records: make([]datalog.Record, chunkRecords)}
	for i := range c.records {
		c.records[i].Line = line
	}
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for i := 0; i < b.N; i += chunkRecords {
		e.encode(c)
	}
}
