package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"distributor/engine/config"
	"distributor/wsproto"
	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

const (
	// checkers are the clients of a warm-up that read and verify.
	checkers = 2
	// verifyEvery is which of the records they verify; they count all.
	verifyEvery = 50
)

// checks are clients that count every record and verify some.
type checks struct {
	running sync.WaitGroup
	mu      sync.Mutex // guards err
	err     error
}

func (c *checks) wait() error {
	c.running.Wait()
	return c.err
}

// check connects them, if they are wanted, before it returns.
func (b *bench) check(ctx context.Context, d *distributor, st stage, from wsproto.From, wanted bool) *checks {
	c := &checks{}
	if !wanted {
		return c
	}
	for range checkers {
		client, err := dial(ctx, d, from, false)
		if err != nil {
			c.err = err
			return c
		}
		c.running.Go(func() {
			defer client.Close()
			if err := verify(ctx, client, st); err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.err = errors.Join(c.err, err)
			}
		})
	}
	return c
}

// dial connects a client that parses, and verifies some of what it gets.
func dial(ctx context.Context, d *distributor, from wsproto.From, compress bool) (*collector.Collector, error) {
	_, key, err := shardus.GenerateKey()
	if err != nil {
		return nil, err
	}
	owner, err := shardus.ParsePublicKey(config.Default().PublicKey)
	if err != nil {
		return nil, err
	}
	c, err := collector.Dial(ctx, collector.Options{
		URL: "http://" + d.Address, Keys: key, HashKey: hashKey(), ExpectOwner: owner, From: from, VerifyEvery: verifyEvery, Compress: compress,
	})
	if err == nil && c.Compressed() != compress {
		c.Close()
		err = errors.New("compression was not negotiated")
	}
	return c, err
}

// verify receives all of a stage, no more and no less.
func verify(ctx context.Context, c *collector.Collector, st stage) error {
	var records int
	var bytes uint64
	for bytes < st.FrameBytes {
		m, err := c.Next(ctx)
		if err != nil {
			return fmt.Errorf("after %d of %d records: %w", records, st.Records, err)
		}
		records++
		bytes += uint64(len(wsproto.AppendTextHeader(nil, len(m.Text))) + len(m.Text))
	}
	if records != st.Records || bytes != st.FrameBytes {
		return fmt.Errorf("a client got %d records in %d bytes, not %d in %d", records, bytes, st.Records, st.FrameBytes)
	}
	return nil
}
