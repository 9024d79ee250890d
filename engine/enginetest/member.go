package enginetest

import (
	"context"
	"errors"
	"math"
	"net/http"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/collector"
)

// run connects, reads and reconnects until ctx ends or a fault is found.
func (m *member) run(ctx context.Context) {
	for ctx.Err() == nil {
		c, err := m.dial(ctx)
		if err == nil {
			m.connections.Add(1)
			err = m.follow(ctx, c)
			m.from, _ = c.Position() // always known, because from was a position
			c.Close()
			if ctx.Err() != nil {
				return
			}
			m.cut(err)
		}
		if !comesBack(err) && ctx.Err() == nil {
			m.fault.Store(&err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(redial):
		}
	}
}

func (m *member) dial(ctx context.Context) (*collector.Collector, error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	verify := math.MaxInt
	if m.verifyAll {
		verify = 1
	}
	from := wsproto.From{Start: wsproto.At, Position: m.from}
	if m.options.Forgetful {
		from = wsproto.From{Start: wsproto.Resume}
		m.reading.Again()
	}
	return collector.Dial(ctx, collector.Options{
		URL: m.options.URL, Keys: m.key, HashKey: hashKey, ExpectOwner: owner, From: from,
		VerifyEvery: verify, DialTimeout: patience, Compress: m.compress,
	})
}

// follow checks messages until the connection ends or a message is wrong.
func (m *member) follow(ctx context.Context, c *collector.Collector) error {
	for {
		message, err := c.Next(ctx)
		if err != nil {
			return err
		}
		if err := m.reading.Take(message.Stream, message.Text); err != nil {
			return err
		}
		m.got.Store(int64(m.reading.Total()))
	}
}

func (m *member) cut(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ends = append(m.ends, err.Error())
	m.cuts.Add(1)
}

// comesBack reports whether a collector reconnects after err: a lost connection, a shutdown, or a
// refusal with status 503. Every other error is a fault.
func comesBack(err error) bool {
	var refused *collector.RefusedError
	var closed *collector.CloseError
	switch {
	case errors.As(err, &refused):
		return refused.Status == http.StatusServiceUnavailable
	case errors.As(err, &closed):
		return closed.Code == wsproto.ServerShutdown.Code
	}
	return errors.Is(err, collector.ErrLost)
}
