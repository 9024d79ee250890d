package deflate

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"distributor/mmaplog/bell"
	"distributor/mmaplog/compressedlog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// rig is a Compressor that runs beside a frame log.
type rig struct {
	*Compressor
	t       *testing.T
	log     *framelog.Writer
	all     [][]byte     // frames appended
	dir     atomic.Value // directory of the compressed log, as announced
	blocked atomic.Bool
	stop    func() // ends Run
	grown   *bell.Set
	reader  *bell.Bell
}

func start(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	base := t.TempDir()
	r := &rig{t: t, grown: bell.NewSet()}
	r.dir.Store("")
	reader, theirs, err := bell.New()
	if err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	t.Cleanup(reader.Close)
	r.reader = reader
	if r.log, _, err = framelog.OpenWriter(framelog.Options{Dir: filepath.Join(base, "frames"),
		Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Dir: filepath.Join(base, "compressed"), Frames: filepath.Join(base, "frames"), Level: 1,
		SegmentBytes: 256 << 10, RetainBytes: 16 << 20, Backlog: 8 << 20,
		Announce: func(dir string) { r.dir.Store(dir) }, Grown: r.grown.Listen(), Readers: bell.NewSet(),
		Blocked: func() error {
			if r.blocked.Load() {
				return errors.New("full")
			}
			return nil
		},
		Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	if r.Compressor, err = New(o); err != nil {
		t.Fatal(err)
	}
	r.linger, r.pause = 0, time.Millisecond
	r.run()
	t.Cleanup(func() {
		r.stop()
		if r.dir.Load() != "" {
			t.Error("a compressed log is announced after the end")
		}
		if _, err := os.Stat(o.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("something is left of the compressed log: %v", err)
		}
		if err := r.log.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	r.stop = func() {
		cancel()
		running.Wait()
	}
}

// SetClients makes n workers have clients that can receive compressed frames.
func (r *rig) SetClients(n int) { r.o.Readers.Fill(slices.Repeat([]*bell.Bell{r.reader}, n)) }

// Wake signals that the frame log has grown.
func (r *rig) Wake() { r.grown.Ring() }

func (r *rig) append(texts ...[]byte) {
	r.t.Helper()
	for _, text := range texts {
		frame := wsproto.AppendTextFrame(nil, text)
		if err := r.log.Append(frame, framelog.Meta{Cycle: -1}); err != nil {
			r.t.Fatal(err)
		}
		r.all = append(r.all, frame)
	}
	if err := r.log.Commit(); err != nil {
		r.t.Fatal(err)
	}
	r.Wake()
}

func (r *rig) until(what string, ok func(Stats) bool) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(r.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%s: it does not come to that: %+v", what, r.Stats())
		}
	}
}

// read opens the compressed log and checks it. It returns the span of the compressed log, and the
// texts of its frames in the order of the frame log.
func (r *rig) read() (from, to uint64, texts [][]byte, compressed int) {
	r.t.Helper()
	reader, err := compressedlog.Open(r.dir.Load().(string))
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	// Stats count what is not committed yet.
	r.until("the compressed log has all frames", func(Stats) bool {
		if _, err := reader.Refresh(); err != nil {
			r.t.Fatal(err)
		}
		return reader.End() == r.log.Head()
	})
	at, ok, err := reader.At(reader.Start())
	if err != nil || !ok {
		r.t.Fatalf("%v, %v", ok, err)
	}
	next := reader.Start()
	for next < reader.End() {
		p, err := reader.Place(at + 1)
		if err != nil || p.Start != next {
			r.t.Fatalf("the frame at %d stands for %+v, not for what follows %d (%v)", at, p, next, err)
		}
		borrowed, err := reader.Frames(at, int(p.At-at))
		frame := bytes.Clone(borrowed)
		if err != nil || uint64(len(frame)) != p.At-at {
			r.t.Fatalf("%d bytes, %v", len(frame), err)
		}
		h, err := ws.ReadHeader(bytes.NewReader(frame))
		payload := frame[ws.HeaderSize(h):]
		if err != nil || !h.Fin || h.OpCode != ws.OpText || int64(len(payload)) != h.Length ||
			(h.Rsv == 4) != (p.Kind == compressedlog.Other) {
			r.t.Fatalf("%+v, %+v, %v", h, p, err)
		}
		if h.Rsv == 4 {
			compressed++
			payload, err = io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(payload),
				strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
			if err != nil {
				r.t.Fatal(err)
			}
		}
		texts = append(texts, payload)
		at, next = p.At, p.End
	}
	return reader.Start(), reader.End(), texts, compressed
}

func record(n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, `{"accountId":"%016x","data":{"nonce":%d}},`, rand.Uint64(), i)
	}
	return b
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// A compressed log begins at the head at the time of the first client and has every frame from
// there on, each once and compressed separately. It is removed after the last client.
func TestLife(t *testing.T) {
	r := start(t, nil)
	r.append(record(5000))
	if s := r.Stats(); s.Alive || r.dir.Load() != "" {
		t.Fatalf("a compressed log that nobody wants: %+v", s)
	}
	for life := range 2 {
		r.SetClients(1)
		r.until("there is a compressed log", func(s Stats) bool { return s.Alive && r.dir.Load() != "" })
		first, before, begin := len(r.all), r.Stats().Frames, r.log.Head()
		r.append(record(700), record(6000))
		r.append(noise(300))
		r.append(record(200_000), noise(100_000), record(3000)) // longer than a slice
		r.append(noise(1<<20+9), append(noise(1<<20+9), record(500_000)...))
		r.SetLevel(6 - 3*life)
		r.append(record(4000))
		r.until("all is compressed", func(s Stats) bool { return s.Frames == before+9 && s.Lag == 0 })
		from, to, texts, compressed := r.read()
		if from != begin || to != r.log.Head() || len(texts) != 9 || compressed != 5 {
			t.Fatalf("%d frames, %d compressed, from %d to %d; want 9, 5, %d, %d", len(texts), compressed,
				from, to, begin, r.log.Head())
		}
		for i, text := range texts {
			if !bytes.HasSuffix(r.all[first+i], text) {
				t.Errorf("frame %d is another", i)
			}
		}
		if s := r.Stats(); s.Same != uint64(4*(life+1)) || s.InBytes <= s.OutBytes {
			t.Errorf("%+v", s)
		}
		r.SetClients(0)
		r.until("the compressed log has gone", func(s Stats) bool {
			return !s.Alive && r.dir.Load() == ""
		})
		r.append(record(100))
	}
	if s := r.Stats(); s.Ends[EndBehind]+s.Ends[EndFull]+s.Ends[EndFailed] != 0 ||
		len(s.Ends) != len(Ends) {
		t.Errorf("%v", s.Ends)
	}
}

// Level 0 ends the compressed log, even while clients want it.
func TestLevelZero(t *testing.T) {
	r := start(t, func(o *Options) { o.Level = 0 })
	r.SetClients(3)
	r.append(record(100))
	r.SetLevel(9)
	r.until("there is a compressed log", func(s Stats) bool { return s.Alive })
	r.SetLevel(0)
	r.until("the compressed log has gone", func(s Stats) bool { return !s.Alive })
}

// A frame log that gets too far ahead ends the compressed log; the next one begins at the head.
func TestTooFarBehind(t *testing.T) {
	r := start(t, func(o *Options) { o.Backlog = 64 << 10 })
	r.SetClients(1)
	r.until("there is a compressed log", func(s Stats) bool { return s.Alive })
	r.append(record(1<<20), record(2000))
	r.until("it has ended", func(s Stats) bool { return s.Ends[EndBehind] == 1 && s.Frames == 0 })
	r.until("there is a new one", func(s Stats) bool { return s.Alive })
	head := r.log.Head()
	r.append(record(3000))
	r.until("it is at work", func(s Stats) bool { return s.Frames == 1 })
	if from, to, texts, _ := r.read(); from != head || to != r.log.Head() || len(texts) != 1 {
		t.Errorf("%d frames, from %d to %d", len(texts), from, to)
	}
}

// While the disk is full there is no compressed log.
func TestDiskFull(t *testing.T) {
	r := start(t, nil)
	r.SetClients(1)
	r.until("there is a compressed log", func(s Stats) bool { return s.Alive })
	r.blocked.Store(true)
	r.until("it makes room", func(s Stats) bool { return !s.Alive && s.Ends[EndFull] > 0 })
	r.blocked.Store(false)
	r.until("there is one again", func(s Stats) bool { return s.Alive })
}

// Bytes in the frame log that are not a text frame are not compressed, and do not end the process.
func TestFailure(t *testing.T) {
	r := start(t, nil)
	r.SetClients(1)
	r.until("there is a compressed log", func(s Stats) bool { return s.Alive })
	if err := errors.Join(r.log.Append([]byte("no frame"), framelog.Meta{Cycle: -1}),
		r.log.Commit()); err != nil {
		t.Fatal(err)
	}
	r.Wake()
	r.until("it has ended", func(s Stats) bool { return s.Ends[EndFailed] == 1 })
	r.until("there is a new one", func(s Stats) bool { return s.Alive })
}

// The files that a killed process has left are removed.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "compressed", "7"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Dir: filepath.Join(dir, "compressed")}); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// After a failed handover the old process makes a new compressed log, whatever the new process has
// left.
func TestGoesOn(t *testing.T) {
	r := start(t, nil)
	r.SetClients(1)
	r.until("there is a compressed log", func(s Stats) bool { return s.Alive })
	r.append(record(900))
	r.until("it is at work", func(s Stats) bool { return s.Frames == 1 })
	r.stop()
	if r.Stats().Alive || r.dir.Load() != "" {
		t.Error("it is still said to be there")
	}
	for life := range 4 {
		left, _, err := framelog.OpenWriter(framelog.Options{Dir: filepath.Join(r.o.Dir,
			fmt.Sprint(life)), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(compressedlog.Append(left, r.all[0], compressedlog.Same,
			compressedlog.Span{Start: 0, End: 7}),
			left.Commit(), left.Close()); err != nil {
			t.Fatal(err)
		}
	}
	r.append(record(800))
	r.run()
	r.until("there is another", func(s Stats) bool { return s.Alive })
	begin := r.log.Head()
	r.append(record(700), record(600))
	r.until("it is at work", func(s Stats) bool { return s.Frames == 3 })
	if from, to, texts, _ := r.read(); from != begin || to != r.log.Head() || len(texts) != 2 {
		t.Errorf("%d frames, from %d to %d", len(texts), from, to)
	}
}

// A compressed log ends in one step: where a reader fails beside that end, the directory is gone.
// So a worker can distinguish an end from damage.
func TestEndIsOneStep(t *testing.T) {
	r := start(t, func(o *Options) { o.SegmentBytes = 64 << 10 })
	rng := rand.New(rand.NewPCG(1, 1))
	for round := range 10 {
		r.SetLevel(1)
		r.SetClients(1)
		r.until("a compressed log", func(s Stats) bool { return s.Alive })
		frames := r.Stats().Frames
		for range 100 {
			text := make([]byte, 20_000)
			for i := range text {
				text[i] = byte('a' + rng.IntN(26))
			}
			r.append(text)
		}
		r.until("a long compressed log", func(s Stats) bool { return s.Frames >= frames+90 })
		dir := r.dir.Load().(string)
		failed := make(chan error, 1)
		go func() {
			for {
				if err := visit(dir); err != nil {
					failed <- err
					return
				}
			}
		}()
		r.SetLevel(0)
		err := <-failed
		if _, gone := os.Stat(dir); !errors.Is(gone, os.ErrNotExist) {
			t.Fatalf("round %d: %v, though the directory is there (%v)", round, err, gone)
		}
		r.until("the end", func(s Stats) bool { return !s.Alive })
	}
}

// visit reads a compressed log from its beginning to its end.
func visit(dir string) error {
	reader, err := compressedlog.Open(dir)
	if err != nil {
		return err
	}
	defer reader.Close()
	if _, err := reader.Refresh(); err != nil {
		return err
	}
	at, ok, err := reader.At(reader.Start())
	for ok && err == nil {
		var b []byte
		if b, err = reader.Frames(at, 64<<10); len(b) == 0 {
			break
		}
		at += uint64(len(b))
	}
	return err
}
