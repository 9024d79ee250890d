package enginetest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// drains connects n collectors that read and discard all bytes.
func drains(b *testing.B, d *Distributor, n int, compressed bool) {
	b.Helper()
	extension := ""
	if compressed {
		extension = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
	}
	host := strings.TrimPrefix(d.URL, "http://")
	for range n {
		target, err := upgradeTarget(PeerOptions{Key: newKey(b)}, time.Now())
		if err != nil {
			b.Fatal(err)
		}
		conn, err := net.Dial("tcp", host)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", target, host, extension); err != nil {
			b.Fatal(err)
		}
		in := bufio.NewReader(conn)
		answer, err := http.ReadResponse(in, nil)
		if err != nil || answer.StatusCode != http.StatusSwitchingProtocols ||
			(answer.Header.Get("Sec-WebSocket-Extensions") != "") != compressed {
			b.Fatalf("%v %v", answer, err)
		}
		go func() { _, _ = io.Copy(io.Discard, in) }()
	}
}

// cost is the cost of a run in all processes of the distributor: seconds of CPU time, bytes that
// were given to the kernel, and the part of them that was compressed.
type cost struct{ cpu, sent, small float64 }

// distribute sends the simulator's records, at a rate, to n collectors.
func distribute(b *testing.B, n, level, rate int, seconds float64) cost {
	b.Helper()
	d := New(b, Settings{"COMPRESSION_LEVEL": level, "ADMIN_ADDR": "127.0.0.1:0"})
	// Make the logs, so that the distributor follows them before the first record.
	NewArchiver(b, ArchiverOptions{Dir: d.Logs, Book: NewBook()})
	d.Start()
	drains(b, d, n, level > 0)
	of := func() (c cost, frames uint64) {
		s := statusOf(b, d.admin())
		for _, p := range s.Processes {
			c.cpu += p.CPUSeconds
		}
		for _, one := range s.Streams {
			frames += one.Frames
		}
		c.sent, c.small = float64(s.Clients.SentBytes), float64(s.Compression.SentBytes)
		return c, frames
	}
	before, _ := of()
	cmd := exec.Command(d.Binary, "simulate", "--quiet", "--seed", "same", "--dir", d.Logs, "--rate",
		fmt.Sprint(rate), "--seconds", fmt.Sprint(seconds))
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	var last cost
	Until(b, "all is sent", func() bool {
		now, frames := of()
		// An idle distributor uses a little CPU time too.
		done := now.sent == last.sent && frames > 0
		last = now
		time.Sleep(1500 * time.Millisecond) // figures are a second old
		return done
	}, func() string { return fmt.Sprint(last) })
	d.Stop()
	return cost{last.cpu - before.cpu, last.sent, last.small}
}

// BenchmarkCompression distributes the same records without and with compression, alternately. It
// reports the median of the ratios of each pair.
func BenchmarkCompression(b *testing.B) {
	const rate, seconds, pairs = 400, 6, 3
	for _, n := range []int{1, 10, 100} {
		for _, level := range []int{1, 6} {
			b.Run(fmt.Sprintf("%d collectors/level %d", n, level), func(b *testing.B) {
				for range b.N {
					var cpu, sent []float64
					for range pairs {
						plain, small := distribute(b, n, 0, rate, seconds), distribute(b, n, level, rate, seconds)
						cpu, sent = append(cpu, small.cpu/plain.cpu), append(sent, small.sent/plain.sent)
						b.Logf("plain %.2f s CPU, %.1f MB; compressed %.2f s, %.1f MB, %.1f %% of that compressed",
							plain.cpu, plain.sent/1e6, small.cpu, small.sent/1e6, 100*small.small/small.sent)
					}
					slices.Sort(cpu)
					slices.Sort(sent)
					b.ReportMetric(cpu[pairs/2], "cpu-of-plain")
					b.ReportMetric(sent[pairs/2], "bytes-of-plain")
				}
			})
		}
	}
}
