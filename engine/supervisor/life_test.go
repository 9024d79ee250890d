package supervisor

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"distributor/wsproto"
)

// Connects, closes and kills of workers at random. After every step only the newest connection of a
// key may be open, and at the end the counters must add up.
func TestRandomLife(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			f := start(t, "", 1, 4, 3)
			random := rand.New(rand.NewPCG(seed, 1))
			newest := make(map[string]*collector)
			var all []*collector
			connects := 0
			for range 120 {
				key := fmt.Sprint(random.IntN(9))
				switch n := random.IntN(60); {
				case n < 40:
					c := f.mustHand(key) // four workers always have slots for nine keys
					connects++
					newest[key], all = c, append(all, c)
				case n < 48 && newest[key] != nil:
					newest[key].conn.Close()
				case n < 58:
					f.Disconnect(key, wsproto.PingTimeout)
				default:
					if ws := f.Snapshot().Workers; len(ws) > 0 {
						if w := ws[random.IntN(len(ws))]; w.PID != 0 && w.State == ready {
							_ = unix.Kill(w.PID, unix.SIGKILL)
						}
					}
				}
				f.Wake()
			}
			open := func() (n int) {
				for _, c := range all {
					if c.open() {
						n++
					}
				}
				return n
			}
			eventually(t, "what is open is what is known", func() bool {
				snap := f.Snapshot()
				for _, w := range snap.Workers {
					if w.Closing > 0 || w.State == gone {
						return false
					}
				}
				return snap.Clients == open()
			})
			for key, c := range newest {
				was := c.open()
				if known := f.Disconnect(key, wsproto.PingTimeout); known != was {
					t.Errorf("key %s: newest open %v, known %v", key, was, known)
				}
			}
			eventually(t, "all were newest", func() bool { return open() == 0 && f.Snapshot().Clients == 0 })
			snap := f.Snapshot()
			ended := uint64(0)
			for _, n := range snap.Disconnects {
				ended += n
			}
			if snap.Handoffs != uint64(connects) || ended != snap.Handoffs || snap.Waiting != 0 ||
				uint64(len(f.closes())) != ended {
				t.Errorf("%d connects, told of %d ends, %+v", connects, len(f.closes()), snap)
			}
		})
	}
}
