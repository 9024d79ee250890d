package enginetest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// cutCollector is an unmodified collector that is cut repeatedly. It counts which messages are new
// to it.
type cutCollector struct {
	url  string
	key  shardus.SecretKey
	seen map[[sha256.Size]byte]bool
	told uint64 // offset of the last ping, which it has answered
}

func newCutCollector(t *testing.T, d *Distributor) *cutCollector {
	return &cutCollector{url: d.URL, key: newKey(t), seen: make(map[[sha256.Size]byte]bool)}
}

// visit connects, reads messages while more returns true for their number, and resets the
// connection. It returns how many messages came, and how many of them were new.
func (p *cutCollector) visit(more func(n int) bool) (came, fresh int, err error) {
	conn, in, _, err := handshake(p.url, PeerOptions{Key: p.key}, 0, nil)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, 0, err
	}
	for more(came) {
		h, err := ws.ReadHeader(in)
		if err != nil {
			return came, fresh, err
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(in, payload); err != nil {
			return came, fresh, err
		}
		switch h.OpCode {
		case ws.OpPing:
			pong := ws.MustCompileFrame(ws.MaskFrame(ws.NewPongFrame(payload)))
			if _, err := conn.Write(pong); err != nil {
				return came, fresh, err
			}
			at, err := wsproto.ParsePosition(payload)
			if err != nil {
				return came, fresh, err
			}
			p.told = at.Offset
		case ws.OpText:
			came++
			if id := sha256.Sum256(payload); !p.seen[id] {
				p.seen[id] = true
				fresh++
			}
		default:
			return came, fresh, fmt.Errorf("a frame with operation %d", h.OpCode)
		}
	}
	return came, fresh, conn.(*net.TCPConn).SetLinger(0)
}

// TestCutAgainAndAgain checks the progress of a collector that is cut repeatedly before it has
// caught up: nine tenths of the messages of a connection must not come again on the next one.
func TestCutAgainAndAgain(t *testing.T) {
	t.Parallel()
	d := New(t, nil)
	archiver := NewArchiver(t, ArchiverOptions{
		Dir: d.Logs, Book: NewBook(), Seed: *seed, Sizes: []int{400, 4500, 9000},
	})
	d.Start()
	p := newCutCollector(t, d)
	if _, _, err := p.visit(func(int) bool { return false }); err != nil { // begin at the present head
		t.Fatal(err)
	}
	for range 300 {
		if err := archiver.Write(10); err != nil {
			t.Fatal(err)
		}
	}
	// Ten seconds of 10, 20, 50 and 100 messages a second:
	for _, n := range []int{100, 200, 500, 1000} {
		came, fresh, err := p.visit(func(came int) bool { return came < n })
		if err != nil {
			t.Fatal(err)
		}
		if fresh*10 < came*9 {
			t.Errorf("of %d messages %d are new, want at least 90 %%", came, fresh)
		}
		known := func() uint64 { return remembered(d, p.key.Public()) }
		Until(t, "what it has confirmed is known", func() bool { return known() >= p.told },
			func() string { return fmt.Sprint(known(), " of ", p.told) })
	}
	d.Stop()
}

// TestProgress is run by make progress. Collectors with a limited rate of messages follow a stream
// with four times that rate, and are cut every ten seconds. New messages must be at least 90 % of
// what each collector could receive.
func TestProgress(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("PROGRESS"))
	if err != nil {
		t.Skip("only when asked for: make progress")
	}
	const cutAfter = 10 * time.Second
	var running sync.WaitGroup
	defer running.Wait()
	for _, rate := range []int{20, 50, 100, 150} {
		d := New(t, nil)
		simulate := command(d.Binary, d.Dir, "simulate", "--dir", d.Logs, "--quiet",
			"--rate", fmt.Sprint(4*rate))
		if err := simulate.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = simulate.Process.Kill(); _ = simulate.Wait() })
		d.Start()
		running.Go(func() {
			p := newCutCollector(t, d)
			for round := range rounds {
				began := time.Now()
				// The pause stands for the collector's work with the last message.
				came, fresh, err := p.visit(func(n int) bool {
					time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(rate))))
					return time.Since(began) < cutAfter
				})
				if err != nil {
					t.Errorf("%d a second, connection %d: %v", rate, round+1, err)
					return
				}
				could := rate * int(cutAfter/time.Second)
				fmt.Printf("%3d messages a second, connection %2d: %4d came, %4d new, %3d %% of %d\n",
					rate, round+1, came, fresh, 100*fresh/could, could)
				if fresh*10 < could*9 {
					t.Errorf("%d a second, connection %d: %d new of %d", rate, round+1, fresh, could)
				}
			}
		})
	}
}
