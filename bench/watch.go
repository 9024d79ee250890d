package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"distributor/wsproto"
)

// watch knows when each record was appended, by stream. Within a stream
// records arrive in the order they were appended, so a record is known by its
// number. It is filled by the archiver, and read when that has stopped.
type watch map[string][]time.Time

func (w watch) appended(stream string, at time.Time) { w[stream] = append(w[stream], at) }

func (w watch) total() (n int) {
	for _, times := range w {
		n += len(times)
	}
	return n
}

// between counts the records appended from a moment until another.
func (w watch) between(from, to time.Time) (n int) {
	for _, times := range w {
		for _, at := range times {
			if within(at, from, to) {
				n++
			}
		}
	}
	return n
}

// latencies are those of the records appended between two moments.
func (w watch) latencies(a *arrivals, from, to time.Time) (took []time.Duration) {
	for stream, received := range a.at {
		for i, r := range received {
			if at := w[stream][i]; within(at, from, to) {
				took = append(took, r.Sub(at))
			}
		}
	}
	return took
}

func within(at, from, to time.Time) bool { return !at.Before(from) && at.Before(to) }

// arrivals are when one client received each record, by stream.
type arrivals struct {
	at    map[string][]time.Time // of receive's goroutine, until that has ended
	reads int                    // the same; that brought one record or more
	plain uint64                 // the same; bytes of the frames, as they are uncompressed
	count atomic.Int64
	err   atomic.Pointer[error]
}

// receive takes what comes until ctx ends.
func (a *arrivals) receive(ctx context.Context, c receiver) {
	a.at = make(map[string][]time.Time)
	for last := (time.Time{}); ; {
		m, err := c.Next(ctx)
		if err != nil {
			a.err.Store(&err)
			return
		}
		a.at[m.Stream] = append(a.at[m.Stream], m.Received)
		if m.Received != last {
			a.reads, last = a.reads+1, m.Received
		}
		if m.Text != nil {
			a.plain += uint64(len(wsproto.AppendTextHeader(nil, len(m.Text))) + len(m.Text))
		}
		a.count.Add(1)
	}
}

// together is how many records came at once, on average.
func (a *arrivals) together() float64 { return float64(a.count.Load()) / float64(a.reads) }

// await waits until n records are there.
func (a *arrivals) await(ctx context.Context, n int) error {
	for end := time.Now().Add(patience); ; {
		count := int(a.count.Load())
		err := a.err.Load()
		switch {
		case count == n:
			return nil
		case err != nil:
			return *err
		case count > n || time.Now().After(end):
			return fmt.Errorf("%d records came, %d were appended", count, n)
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}
