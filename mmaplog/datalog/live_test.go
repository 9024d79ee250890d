package datalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// The tests of this file run a Follower in real time, with Next in a goroutine of its own.

func startLive(t *testing.T, opt Options) *Follower {
	t.Helper()
	f, err := NewFollower(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// nextLine waits for one record.
func nextLine(t *testing.T, f *Follower) string {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	var b Batch
	if err := f.Next(ctx, &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Records) != 1 {
		t.Fatalf("%d records", len(b.Records))
	}
	return string(b.Records[0].Line)
}

// TestInotifyWakes uses an Interval of an hour, so that only inotify can wake Next.
func TestInotifyWakes(t *testing.T) {
	r := newRig(t)
	r.mkdir()
	r.put(log1, "")
	r.point(1)
	f := startLive(t, Options{Dir: r.dir + "/", Stream: Receipt, Interval: time.Hour})
	if !f.Stats().Watching {
		w, err := fsnotify.NewWatcher()
		if err != nil {
			t.Skip("this user's inotify instances are used up: ", err)
		}
		w.Close()
		t.Fatal("no inotify")
	}
	var waits []time.Duration
	for i := range 40 {
		line := fmt.Sprint(i)
		done := make(chan time.Time, 1)
		go func() {
			time.Sleep(time.Millisecond) // so that Next usually waits
			at := time.Now()
			if i == 20 {
				r.append(log1, trailer)
				r.append(log2, line+"\n")
				r.point(2)
			} else {
				r.append(fmt.Sprintf(logN, 1+i/20), line+"\n")
			}
			done <- at
		}()
		if got := nextLine(t, f); got != line {
			t.Fatalf("got %q, want %q", got, line)
		}
		waits = append(waits, time.Since(<-done))
	}
	slices.Sort(waits)
	t.Logf("append to Next: median %v, worst %v", waits[len(waits)/2], waits[len(waits)-1])
}

// TestInotifyOnANewDirectory creates, removes and replaces the directory. Each time the follower
// must watch it again.
func TestInotifyOnANewDirectory(t *testing.T) {
	r := newRig(t)
	f := startLive(t, Options{Dir: r.dir, Stream: Receipt, Interval: time.Millisecond})
	if f.Stats().Watching {
		t.Fatal("watching nothing")
	}
	for i := range 3 {
		r.mkdir()
		r.put(log1, fmt.Sprintf("%d\n", i)+trailer)
		r.put(log2, "")
		r.point(2)
		if got := nextLine(t, f); got != fmt.Sprint(i) {
			t.Fatalf("got %q", got)
		}
		ctx, stop := context.WithCancel(context.Background())
		go func() {
			defer stop()
			for deadline := time.Now().Add(time.Minute); !f.Stats().Watching &&
				time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
		}()
		var b Batch
		if err := f.Next(ctx, &b); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if !f.Stats().Watching {
			t.Fatal("not watching")
		}
		f.opt.linger = time.Millisecond
		r.must(os.RemoveAll(r.dir))
	}
}

func TestPollingOnly(t *testing.T) {
	r := newRig(t)
	r.mkdir()
	r.put(log1, "")
	r.point(1)
	f := startLive(t, Options{Dir: r.dir, Stream: Receipt, Interval: 2 * time.Millisecond,
		noWatch: true})
	if f.Stats().Watching {
		t.Error("watching")
	}
	for i := range 10 {
		go r.append(log1, fmt.Sprintf("%d\n", i))
		if got := nextLine(t, f); got != fmt.Sprint(i) {
			t.Fatalf("got %q", got)
		}
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	f := startLive(t, Options{Dir: r.dir, Stream: Receipt})
	ctx, stop := context.WithCancel(context.Background())
	go stop()
	var b Batch
	if err := f.Next(ctx, &b); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	f.Close()
	if err := f.Next(context.Background(), &b); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestPositionAfterClose checks that Position works after Close, because it is saved last.
func TestPositionAfterClose(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\n")
	r.want("a")
	p := r.f.Position()
	r.f.Close()
	r.f.Close()
	if p.IsZero() || r.f.Position() != p || r.f.Stats().Offset != 2 {
		t.Errorf("%+v, was %+v", r.f.Position(), p)
	}
}

// TestNoBusyLoop checks that Next looks once per Interval in every state of the pointer.
func TestNoBusyLoop(t *testing.T) {
	for name, spoil := range map[string]func(r *rig){
		"idle":             func(r *rig) {},
		"empty pointer":    func(r *rig) { r.put(activeLog, "") },
		"garbage pointer":  func(r *rig) { r.put(activeLog, "x") },
		"no pointer":       func(r *rig) { r.remove(activeLog) },
		"pointer ahead":    func(r *rig) { r.point(2) },
		"ended":            func(r *rig) { r.append(log1, trailer) },
		"ended, and ahead": func(r *rig) { r.append(log1, trailer); r.point(3) },
		"no trailer":       func(r *rig) { r.put(log2, ""); r.point(2) },
		"a gap":            func(r *rig) { r.append(log1, trailer); r.put(log3, "x"); r.point(3) },
		"half a line":      func(r *rig) { r.append(log1, "half") },
		"next is no file": func(r *rig) {
			r.append(log1, trailer)
			mkfifo(r.t, r.path(log2))
			r.point(2)
		},
		"log deleted":       func(r *rig) { r.remove(log1) },
		"log replaced":      func(r *rig) { r.remove(log1); r.put(log1, "") },
		"directory deleted": func(r *rig) { r.must(os.RemoveAll(r.dir)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunningRig(t)
			spoil(r)
			var b Batch
			r.f.look(&b) // does all pending work
			r.f.look(&b)
			looks := 0
			for range 100 {
				select {
				case <-r.f.watch.wake:
					looks++
					r.f.look(&b)
				default:
				}
			}
			if looks > 1 {
				t.Errorf("%d looks without a cause", looks)
			}
		})
	}
}

// TestErrorsAreLoggedOnce checks that an error is logged once until it changes, and counted each
// time.
func TestErrorsAreLoggedOnce(t *testing.T) {
	r := newRig(t)
	r.mkdir()
	r.put(log1, "")
	r.point(1)
	var out bytes.Buffer
	r.opt.Log = slog.New(slog.NewTextHandler(&out, nil))
	r.start(Position{})
	for range 2 {
		r.put(activeLog, "x")
		for range 50 {
			r.got()
		}
		r.point(1)
		r.got()
	}
	if n := strings.Count(out.String(), "read active file failed"); n != 2 {
		t.Errorf("%d warnings, want 2:\n%s", n, out.String())
	}
	if n := strings.Count(out.String(), "read active file works again"); n != 2 {
		t.Errorf("%d all-clears, want 2", n)
	}
	if s := r.f.Stats(); s.Errors < 100 {
		t.Errorf("%d errors counted", s.Errors)
	}
}

func TestCloseReleasesEverything(t *testing.T) {
	descriptors := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	mappings := func(dir string) int {
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), dir)
	}
	r := newRig(t)
	r.mkdir()
	r.put(log1, "")
	r.point(1)
	goroutines, fds := runtime.NumGoroutine(), descriptors()
	for range 5 {
		f := startLive(t, Options{Dir: r.dir, Stream: Receipt})
		r.append(log1, "a\n")
		nextLine(t, f)
		if mappings(r.dir) != 1 || descriptors() <= fds {
			t.Fatalf("%d mappings, %d descriptors while open", mappings(r.dir), descriptors())
		}
		f.Close()
	}
	r.start(Position{})
	for n := 1; n < 20; n++ {
		r.append(fmt.Sprintf(logN, n), "a\n"+trailer)
		r.put(fmt.Sprintf(logN, n+1), "")
		r.point(n + 1)
		r.want("a")
		if n%5 == 0 {
			r.restart()
		}
	}
	if got := mappings(r.dir); got > 1 {
		t.Errorf("%d logs mapped", got)
	}
	r.f.Close()
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines &&
		time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if g, d, m := runtime.NumGoroutine(), descriptors(), mappings(r.dir); g > goroutines || d != fds ||
		m != 0 {
		t.Errorf("%d goroutines, were %d; %d descriptors, were %d; %d mappings", g, goroutines, d, fds, m)
	}
}

// TestConcurrently runs a writer, a follower and a reader of Stats, each in its own goroutine, over
// many small logs.
func TestConcurrently(t *testing.T) {
	dir := t.TempDir()
	const n = 4000
	r := &rig{t: t, dir: dir}
	r.put(log1, "")
	r.point(1)
	f := startLive(t, Options{Dir: dir, Stream: Receipt, Interval: time.Millisecond})
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	var wg sync.WaitGroup
	read := make(chan int, 1)
	wg.Go(func() { // rotates after 50 records, at most 20 logs, never a round ahead
		log, rotations := 1, 0
		for i := range n {
			if i > 0 && i%50 == 0 {
				r.append(fmt.Sprintf(logN, log), "End: Number of bytes: 1\n\n")
				if rotations++; rotations%8 == 0 {
					select {
					case <-read:
					case <-ctx.Done():
						return
					}
				}
				log++
				if log > 20 {
					log = 1
				}
				if log == 10 || log == 20 {
					half := 1 + log%20
					for k := 1; k <= 20; k++ {
						os.Remove(r.path("old-" + fmt.Sprintf(logN, k)))
					}
					for k := half; k < half+10; k++ {
						os.Rename(r.path(fmt.Sprintf(logN, k)), r.path("old-"+fmt.Sprintf(logN, k)))
					}
				}
				r.put(fmt.Sprintf(logN, log), "")
				r.point(log)
			}
			r.append(fmt.Sprintf(logN, log), fmt.Sprintf("%d\n\n", i))
		}
	})
	wg.Go(func() {
		for f.Stats().Records < n && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	})
	var b Batch
	for i := 0; i < n; {
		if err := f.Next(ctx, &b); err != nil {
			t.Fatalf("after %d records: %v; %+v", i, err, f.Stats())
		}
		for _, rec := range b.Records {
			if string(rec.Line) != fmt.Sprint(i) {
				t.Fatalf("got %q, want %d", rec.Line, i)
			}
			if i++; i%400 == 0 {
				read <- i
			}
		}
	}
	wg.Wait()
	if s := f.Stats(); s.Gaps != 0 || s.Rotations != n/50-1 {
		t.Errorf("%+v", s)
	}
}

// BenchmarkNext reads a large log. MB/s counts bytes of the file.
func BenchmarkNext(b *testing.B) {
	for _, size := range []int{100, 1200, 6000} {
		b.Run(fmt.Sprintf("lines of %d", size), func(b *testing.B) {
			dir := b.TempDir()
			line := []byte(strings.Repeat("x", size-1) + "\n")
			const total = 128 << 20
			n := total / len(line)
			path := filepath.Join(dir, log1)
			if err := os.WriteFile(path, bytes.Repeat(line, n), 0o644); err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, activeLog), []byte(log1), 0o644); err != nil {
				b.Fatal(err)
			}
			fi, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			f, err := NewFollower(Options{Dir: dir, Stream: Receipt,
				From: Position{Number: 1, Inode: idOf(fi).ino, Check: slowCheck(nil)}})
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			var batch Batch
			records := 0
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for records < b.N {
				if f.Position().Offset == uint64(n*size) {
					f.cur.trail.dropAfter(0)
					if err := f.cur.seek(0); err != nil {
						b.Fatal(err)
					}
				}
				if err := f.Next(context.Background(), &batch); err != nil {
					b.Fatal(err)
				}
				records += len(batch.Records)
			}
		})
	}
}

// BenchmarkAppend measures the time from an append to the return of Next, with inotify.
func BenchmarkAppend(b *testing.B) {
	dir := b.TempDir()
	r := &rig{dir: dir}
	for name, text := range map[string]string{log1: "", activeLog: log1} {
		if err := os.WriteFile(r.path(name), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	f, err := NewFollower(Options{Dir: dir, Stream: Receipt})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w, err := os.OpenFile(r.path(log1), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	line := []byte(strings.Repeat("x", 5999) + "\n")
	var batch Batch
	b.ReportAllocs()
	for b.Loop() {
		got := make(chan error, 1)
		go func() { got <- f.Next(context.Background(), &batch) }()
		runtime.Gosched()
		if _, err := w.Write(line); err != nil {
			b.Fatal(err)
		}
		if err := <-got; err != nil {
			b.Fatal(err)
		}
	}
}
