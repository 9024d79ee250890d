package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"distributor/engine/supervisor"
	"distributor/wsproto/shardus"
)

// BenchmarkAuthenticate measures the CPU time of the checks alone.
func BenchmarkAuthenticate(b *testing.B) {
	p := policyOf("subs")
	data := signedData("known", noon, "")
	broken := strings.Replace(data, `FIREHOSE"`, `FIREHOSE","x":1`, 1)
	run := func(name, data string, ok bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, why := p.authenticate(data, noon); (why == nil) != ok {
					b.Fatal(why)
				}
			}
		})
	}
	run("let in", data, true)
	run("changed", broken, false)
	run("too old", signedData("known", noon.Add(-time.Hour), ""), false)
	run("not JSON", "hello", false)
	b.Run("query", func(b *testing.B) {
		query := queryOf(target(data, "&from=live"))
		b.ReportAllocs()
		for b.Loop() {
			if got, n := parameter(query, "data"); n != 1 || len(got) != len(data) {
				b.Fatal(got)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		v := must(shardus.Parse([]byte(data)))
		b.ReportAllocs()
		for b.Loop() {
			if err := shardus.VerifyObject(v, p.hashKey); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkUpgrade measures a whole upgrade over loopback, with a worker that only counts: connect,
// request, authentication, hijack, close. The client is in the same process.
func BenchmarkUpgrade(b *testing.B) {
	for _, config := range []string{"open", "subs"} {
		b.Run(config, func(b *testing.B) {
			var n atomic.Int64
			g := newGateway(b, config, func(o *Options) {
				o.Workers = connectFunc(func(context.Context, supervisor.Client, int) error {
					n.Add(1)
					return nil
				})
			})
			g.now = func() time.Time { return noon }
			addr := serve(b, g)
			const many = maxRemembered // with a list each works once
			requests := make([][]byte, many)
			for i := range requests {
				requests[i] = []byte(upgradeRequest(target(signedData("known", noon,
					fmt.Sprintf(`,"n":%d`, i)), "")))
			}
			buf := make([]byte, 1024)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%many == 0 {
					g.used = replays{}
				}
				conn := must(net.Dial("tcp", addr))
				_, _ = conn.Write(requests[i%many])
				if k, err := conn.Read(buf); !errors.Is(err, io.EOF) {
					b.Fatalf("%s, %v", buf[:k], err)
				}
				conn.Close()
			}
			if int(n.Load()) != b.N {
				b.Errorf("%d handed over of %d", n.Load(), b.N)
			}
		})
	}
}
