package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"distributor/bench/frames"
	"distributor/bench/subscriber"
	"distributor/engine/config"
	"distributor/wsproto"
	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

const (
	// checkers is how many clients of a warm-up check every message.
	checkers = 2
	// verifyEvery means that they verify every verifyEvery-th signature.
	verifyEvery = 50
)

// receiver is a client that sees each message: a *collector.Collector or a *frameClient.
type receiver interface {
	Next(context.Context) (collector.Message, error)
	Close()
}

// check connects the checkers, if they are wanted. wait fails unless each of them gets n messages.
func check(
	ctx context.Context, wanted bool, n int, dial func() (receiver, error),
) (wait func() error, err error) {
	group, ctx := errgroup.WithContext(ctx)
	for range either(wanted, checkers, 0) {
		c, err := dial()
		if err != nil {
			return group.Wait, err
		}
		group.Go(func() error {
			defer c.Close()
			for i := range n {
				if _, err := c.Next(ctx); err != nil {
					return fmt.Errorf("after %d of %d messages: %w", i, n, err)
				}
			}
			return nil
		})
	}
	return group.Wait, nil
}

// dial connects a collector, which verifies some of the signatures.
func (d *distributor) dial(ctx context.Context, from wsproto.From) (receiver, error) {
	_, key, err := shardus.GenerateKey()
	if err != nil {
		return nil, err
	}
	owner, err := shardus.ParsePublicKey(config.Default().PublicKey)
	if err != nil {
		return nil, err
	}
	return collector.Dial(ctx, collector.Options{
		URL: "http://" + d.address, Keys: key, HashKey: hashKey(), ExpectOwner: owner, From: from,
		VerifyEvery: verifyEvery,
	})
}

// frameClient is a client of the baseline or of a peer. It compares every frame with the expected
// one, byte for byte.
type frameClient struct {
	conn   net.Conn
	readAt time.Time
	in     *bufio.Reader
	frame  []byte
	left   []byte // the frames that are still to come
	stop   func() bool
}

func dialFrames(t subscriber.Target, frames []byte) (receiver, error) {
	conn, err := net.Dial("tcp", t.Address)
	if err != nil {
		return nil, err
	}
	c := &frameClient{conn: conn, left: frames}
	c.in = bufio.NewReaderSize(c, 64<<10) // as much as a collector reads at once
	if t.Bare {
		return c, nil
	}
	request, err := subscriber.UpgradeRequest(t, time.Now())
	if err == nil {
		_, err = conn.Write(request)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err == nil && answer.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("status %d", answer.StatusCode)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("upgrade: %w", err), conn.Close())
	}
	return c, nil
}

// Read stores the time at which bytes came.
func (c *frameClient) Read(p []byte) (int, error) {
	n, err := c.conn.Read(p)
	c.readAt = time.Now()
	return n, err
}

// Next returns the next message. All calls must have the same ctx; its end closes the connection.
func (c *frameClient) Next(ctx context.Context) (m collector.Message, err error) {
	if c.stop == nil {
		c.stop = context.AfterFunc(ctx, c.Close)
	}
	want, message, rest, err := frames.Cut(c.left)
	if err != nil {
		return m, err
	}
	c.frame = slices.Grow(c.frame[:0], len(want))[:len(want)]
	if _, err := io.ReadFull(c.in, c.frame); err != nil {
		return m, err
	}
	if !bytes.Equal(c.frame, want) {
		return m, fmt.Errorf("a frame is not what was broadcast: %.100q", c.frame)
	}
	c.left = rest
	return collector.Message{Text: message, Received: c.readAt}, nil
}

func (c *frameClient) Close() { _ = c.conn.Close() }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
