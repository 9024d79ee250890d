package enginetest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"distributor/wsproto/shardus"
)

// numbered appends receipts {"n":from} … {"n":to-1}.
func numbered(t *testing.T, d *Distributor, from, to int) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(d.Logs, "receipt-log1.txt"),
		os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintf(&lines, "{\"n\":%d}\n", n)
	}
	if _, err := f.WriteString(lines.String()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// numbers returns the numbers of the records that a peer got.
func numbers(t *testing.T, p *Peer) (out []int) {
	t.Helper()
	for _, text := range p.Texts() {
		var m struct{ Receipt struct{ N int } }
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		out = append(out, m.Receipt.N)
	}
	return out
}

// remembered returns the position of a collector that collectors.json has.
func remembered(d *Distributor, key shardus.PublicKey) uint64 {
	b, err := os.ReadFile(filepath.Join(d.Dir, "state", "collectors.json"))
	var f struct {
		Collectors map[string]struct {
			O uint64 `json:"o"`
		} `json:"collectors"`
	}
	if err != nil || json.Unmarshal(b, &f) != nil {
		return 0
	}
	return f.Collectors[key.String()].O
}

// TestUnmodifiedCollectorResumes checks that a collector without a position misses nothing when it
// reconnects, however its connection ended, and gets no confirmed message again.
func TestUnmodifiedCollectorResumes(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *Distributor, *Peer){
		"it cuts the connection": func(_ *testing.T, _ *Distributor, p *Peer) { p.Terminate() },
		"it closes": func(t *testing.T, _ *Distributor, p *Peer) {
			p.Close(1000)
			p.WaitClosed(t, 1000)
		},
		"its worker is killed": func(t *testing.T, d *Distributor, p *Peer) {
			if err := syscall.Kill(d.Workers()[0].Pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
		"the distributor stops":     func(_ *testing.T, d *Distributor, _ *Peer) { d.Stop() },
		"the distributor is killed": func(_ *testing.T, d *Distributor, _ *Peer) { d.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := New(t, nil)
			numbered(t, d, 0, 0)
			if err := os.WriteFile(filepath.Join(d.Logs, "active-receipt-log.txt"),
				[]byte("receipt-log1.txt"), 0o644); err != nil {
				t.Fatal(err)
			}
			d.Start()
			key := newKey(t)
			p := MustConnect(t, d.URL, PeerOptions{Key: key})
			const rounds, here, away = 3, 30, 20
			n := 0
			for round := range rounds {
				numbered(t, d, n, n+here)
				want := make([]int, 0, here+away)
				if round > 0 {
					for i := n - away; i < n; i++ {
						want = append(want, i)
					}
				}
				for i := n; i < n+here; i++ {
					want = append(want, i)
				}
				n += here
				Until(t, "all records have come", func() bool {
					return len(p.Texts()) >= len(want)
				}, func() string { return fmt.Sprint(len(p.Texts())) })
				_, head := Bounds(t, d.URL)
				Until(t, "its position is known and saved", func() bool {
					return remembered(d, key.Public()) == head.Offset
				},
					func() string { return fmt.Sprint(remembered(d, key.Public()), " of ", head.Offset) })
				if got := numbers(t, p); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("round %d: got %v, want %v", round, got, want)
				}
				end(t, d, p)
				<-p.done
				numbered(t, d, n, n+away)
				n += away
				if !d.Running() {
					d.Start()
				}
				Until(t, "it is let in again", func() bool {
					var err error
					p, err = Connect(t, d.URL, PeerOptions{Key: key})
					return err == nil
				}, func() string { return "" })
			}
			d.Stop()
		})
	}
}

// awayFor changes collectors.json as if all collectors had been away for a time.
func awayFor(t *testing.T, d *Distributor, away time.Duration) {
	t.Helper()
	path := filepath.Join(d.Dir, "state", "collectors.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f map[string]any
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	for _, known := range f["collectors"].(map[string]any) {
		known.(map[string]any)["t"] = time.Now().Add(-away).UnixMilli()
	}
	if text, err = json.Marshal(f); err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestWholeResumeWindow checks that RESUME_WINDOW_MS has its full length, at a start and after a
// reload.
func TestWholeResumeWindow(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	d := New(t, Settings{"RESUME_WINDOW_MS": day.Milliseconds()})
	begin(t, d)
	d.Start()
	keys := []shardus.SecretKey{newKey(t), newKey(t), newKey(t)}
	for _, key := range keys {
		MustConnect(t, d.URL, PeerOptions{Key: key})
	}
	d.Stop()
	numbered(t, d, 0, 5)
	awayFor(t, d, day*3/4)
	d.Start()
	watcher := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: "earliest"})
	Until(t, "all is in the frame log", func() bool { return len(watcher.Texts()) == 5 }, nil)
	back := func(key shardus.SecretKey) int { // returns how many of the five records it gets
		next := len(watcher.Texts())
		p := MustConnect(t, d.URL, PeerOptions{Key: key})
		numbered(t, d, next, next+1)
		got := []int(nil)
		Until(t, "a record more", func() bool {
			got = numbers(t, p)
			return len(got) > 0 && got[len(got)-1] == next && len(watcher.Texts()) == next+1
		}, nil)
		return min(5, len(got)-1)
	}
	for i, hours := range []int{24, 20, 16} {
		if i > 0 {
			d.Configure(Settings{"RESUME_WINDOW_MS": hours * 3_600_000})
			d.Reload(syscall.SIGHUP)
		}
		want := 5
		if hours < 18 {
			want = 0
		}
		if got := back(keys[i]); got != want {
			t.Errorf("away for 18 of %d hours: got %d records, want %d", hours, got, want)
		}
	}
	d.Stop()
}

// TestNewCollectorIsKnownSoon checks that the position of a new collector is saved at once, not
// only at the next regular save, so that a kill -9 does not lose it.
func TestNewCollectorIsKnownSoon(t *testing.T) {
	t.Parallel()
	d := New(t, nil)
	numbered(t, d, 0, 0)
	if err := os.WriteFile(filepath.Join(d.Logs, "active-receipt-log.txt"), []byte("receipt-log1.txt"),
		0o644); err != nil {
		t.Fatal(err)
	}
	d.Start()
	// a regular save comes every two seconds
	const collectors, within = 8, 12 * time.Second
	begun := time.Now()
	var key shardus.SecretKey
	for range collectors {
		key = newKey(t)
		MustConnect(t, d.URL, PeerOptions{Key: key})
		Until(t, "it is on disk", func() bool {
			b, _ := os.ReadFile(filepath.Join(d.Dir, "state", "collectors.json"))
			return strings.Contains(string(b), key.Public().String())
		}, nil)
	}
	if took := time.Since(begun); took > within {
		t.Errorf("saving %d new collectors took %v, want at most %v", collectors, took, within)
	}
	d.Kill()
	numbered(t, d, 0, 20)
	d.Start()
	p := MustConnect(t, d.URL, PeerOptions{Key: key})
	Until(t, "the records that it missed come", func() bool {
		return len(p.Texts()) == 20
	}, func() string { return fmt.Sprint(len(p.Texts())) })
	d.Stop()
}

// TestResumeOff checks that with RESUME_WINDOW_MS 0 a collector begins live, as with the replaced
// service.
func TestResumeOff(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"RESUME_WINDOW_MS": 0})
	numbered(t, d, 0, 0)
	if err := os.WriteFile(filepath.Join(d.Logs, "active-receipt-log.txt"), []byte("receipt-log1.txt"),
		0o644); err != nil {
		t.Fatal(err)
	}
	d.Start()
	key := newKey(t)
	p := MustConnect(t, d.URL, PeerOptions{Key: key})
	numbered(t, d, 0, 5)
	Until(t, "five records", func() bool { return len(p.Texts()) == 5 }, func() string { return "" })
	p.Terminate()
	_, before := Bounds(t, d.URL)
	numbered(t, d, 5, 10)
	Until(t, "five more are in the frame log", func() bool { _, head := Bounds(t, d.URL); return head.Offset > before.Offset }, func() string { return "" })
	watcher := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: before.String()})
	Until(t, "all five", func() bool { return len(watcher.Texts()) == 5 }, func() string { return "" })
	p = MustConnect(t, d.URL, PeerOptions{Key: key})
	numbered(t, d, 10, 12)
	Until(t, "two records", func() bool {
		return len(p.Texts()) == 2
	}, func() string { return fmt.Sprint(p.Texts()) })
	if got := fmt.Sprint(numbers(t, p)); got != "[10 11]" {
		t.Errorf("got %s, want [10 11]", got)
	}
	d.Stop()
}
