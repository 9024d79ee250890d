package collector_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/gobwas/ws"

	"distributor/wsproto"
	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

// serveOne is a distributor for one connection: it sends a signed cycle and closes with 1012.
func serveOne(l net.Listener, signer *shardus.Signer) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	if _, err := ws.Upgrade(c); err != nil {
		return
	}
	message := signer.AppendMessage(nil, "cycle", []byte(`{"counter":7}`))
	restart := ws.NewCloseFrameBody(1012, "restart")
	_, _ = c.Write(append(wsproto.AppendTextFrame(nil, message),
		wsproto.AppendControl(nil, ws.OpClose, restart)...))
	_, _ = ws.ReadFrame(c) // the answer to the close frame
}

// A collector connects, gets verified records, and learns why the connection ends.
func Example() {
	hashKey := shardus.HashKey{1, 2, 3}
	server, serverKey, _ := shardus.GenerateKey()
	_, keys, _ := shardus.GenerateKey()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	go serveOne(l, shardus.NewSigner(serverKey, hashKey))

	ctx := context.Background()
	c, err := collector.Dial(ctx, collector.Options{
		URL: "http://" + l.Addr().String(), Keys: keys, HashKey: hashKey, ExpectOwner: server,
	})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	for {
		m, err := c.Next(ctx)
		var closed *collector.CloseError
		if errors.As(err, &closed) {
			fmt.Println("closed with", closed.Code)
			return
		}
		if err != nil {
			panic(err)
		}
		fmt.Println(m.Stream, string(m.Record), m.Verified)
	}
	// Output:
	// cycle {"counter":7} true
	// closed with 1012
}
