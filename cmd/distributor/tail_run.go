package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/collector"
)

// Pauses between attempts to reconnect. Each pause is twice the last one, and shortened at random
// by up to half, so that the clients of a returning server do not all reconnect at once.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second
	steadyTime = 5 * time.Second // a connection that lasts this long resets the pauses
)

// Reasons for which a tail ends without a fault of the server.
var (
	errCount  = errors.New("--count reached")
	errTime   = errors.New("--seconds are over")
	errIdle   = errors.New("nothing received for --stop-at-idle")
	errOutput = errors.New("cannot write")
)

// A tail is one run of the command.
type tail struct {
	tailOptions
	out     *bufio.Writer
	stdout  io.Writer
	stderr  io.Writer
	seen    tally
	printed uint64
	idling  *time.Timer // nil without --stop-at-idle
}

func newTail(o tailOptions, stdout, stderr io.Writer) *tail {
	return &tail{tailOptions: o, out: bufio.NewWriterSize(stdout, 64<<10), stdout: stdout,
		stderr: stderr}
}

func (t *tail) say(format string, args ...any) {
	fmt.Fprintf(t.stderr, "distributor tail: "+format+"\n", args...)
}

// run connects, follows, reconnects, and returns the exit status.
func (t *tail) run(ctx context.Context) int {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if t.time > 0 {
		defer time.AfterFunc(t.time, func() { stop(errTime) }).Stop()
	}
	if t.idle > 0 {
		t.idling = time.AfterFunc(t.idle, func() { stop(errIdle) })
		defer t.idling.Stop()
	}
	defer t.report()()

	connected := false // at least once
	var lost time.Time // since when no connection has delivered anything or lasted
	retry := firstRetry
	for {
		began := time.Now()
		before := t.seen.total()
		err := t.connection(ctx, &connected)
		if t.seen.total() > before || time.Since(began) > steadyTime {
			lost, retry = time.Time{}, firstRetry
		}
		if lost.IsZero() {
			lost = time.Now()
		}
		status, again := t.judge(ctx, err, connected)
		if again && time.Since(lost) >= t.giveUp {
			status, again = exitLost, false
			err = fmt.Errorf("given up after %v: %w", t.giveUp, err)
		}
		if !again {
			if flushErr := t.out.Flush(); flushErr != nil && status == exitOK {
				status, err = exitShort, fmt.Errorf("%w: %w", errOutput, flushErr)
			}
			t.end(ctx, status, err)
			if now, _ := t.seen.snapshot(); status == exitOK && now.gaps > 0 {
				return exitGaps
			}
			return status
		}
		wait := retry/2 + rand.N(retry/2)
		retry = min(2*retry, lastRetry)
		t.say("%v; connecting again in %v%s", err, wait.Round(time.Millisecond), t.whereFrom())
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// whereFrom describes where the next connection starts.
func (t *tail) whereFrom() string {
	if t.dial.From.Start == wsproto.At {
		return ", from " + t.dial.From.String()
	}
	return "; this server sends no positions, so records may be missing or come twice"
}

// connection makes one connection and follows it to its end. It always returns an error.
func (t *tail) connection(ctx context.Context, connected *bool) error {
	c, err := collector.Dial(ctx, t.dial)
	if err != nil {
		return err
	}
	*connected = true
	received := t.seen.total()
	err = t.follow(ctx, c)
	// The next connection continues exactly here and expects the same server.
	if p, ok := c.Position(); ok {
		t.dial.From = wsproto.From{Start: wsproto.At, Position: p}
	} else if t.seen.total() > received {
		t.dial.From = wsproto.From{}
	}
	if owner, ok := c.Owner(); ok {
		t.dial.ExpectOwner = owner
	}
	c.Close()
	return err
}

// follow prints messages until an error ends it.
func (t *tail) follow(ctx context.Context, c *collector.Collector) error {
	for {
		// While more messages are buffered, flushing the output can wait.
		if !c.Pending() {
			if err := t.out.Flush(); err != nil {
				return fmt.Errorf("%w: %w", errOutput, err)
			}
		}
		m, err := c.Next(ctx)
		if err != nil {
			return err
		}
		if t.idling != nil {
			t.idling.Reset(t.idle)
		}
		if m.Notice != nil {
			t.seen.gap()
			t.say("here the server may have missed records: %s", m.Notice)
			continue
		}
		position, known := c.Position()
		t.seen.add(m, position, known)
		if !slices.Contains(t.streams, m.Stream) {
			continue
		}
		if err := t.print(m); err != nil {
			return fmt.Errorf("%w: %w", errOutput, err)
		}
		if t.printed++; t.printed == t.count {
			return errCount
		}
	}
}

func (t *tail) print(m collector.Message) error {
	line := m.Record
	switch t.format {
	case formatMessages:
		line = m.Text
	case formatSummary, formatNone:
		return nil
	}
	if _, err := t.out.Write(line); err != nil {
		return err
	}
	return t.out.WriteByte('\n')
}

// judge maps the error that ended a connection to the exit status. again says that another attempt
// is worthwhile.
func (t *tail) judge(ctx context.Context, err error, connected bool) (status int, again bool) {
	var refused *collector.RefusedError
	var closed *collector.CloseError
	var gap *collector.GapError
	again = t.reconnect && connected
	switch {
	case errors.Is(err, errCount):
		return exitOK, false
	case errors.Is(err, collector.ErrForged), errors.As(err, &gap):
		return exitFailed, false
	case errors.Is(err, errOutput):
		return exitShort, false
	case ctx.Err() != nil:
		if cause := context.Cause(ctx); t.count > 0 &&
			(errors.Is(cause, errTime) || errors.Is(cause, errIdle)) {
			return exitShort, false
		}
		return exitOK, false
	case errors.Is(err, collector.ErrOptions):
		return exitConfig, false
	case errors.As(err, &refused):
		busy := refused.Status == http.StatusServiceUnavailable ||
			refused.Status == http.StatusTooManyRequests
		return exitRefused, again && busy
	case errors.As(err, &closed):
		switch {
		case closed.Reason == wsproto.SubscriptionExpired.Reason:
			return exitRefused, false
		case closed.Code == wsproto.DuplicateConnection.Code:
			// Reconnecting would disconnect the other connection, which would reconnect in turn.
			return exitLost, false
		}
	}
	return exitLost, again
}

// end prints why the tail ended, and the totals.
func (t *tail) end(ctx context.Context, status int, err error) {
	var closed *collector.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code == wsproto.DuplicateConnection.Code &&
		status == exitLost:
		err = fmt.Errorf("%w: another connection with the same key pair has taken over, or the server ended this one", err)
	case ctx.Err() != nil && (status == exitOK || status == exitShort):
		if err = context.Cause(ctx); errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		}
	}
	t.say("ended: %v\n%s", err, t.seen.whole())
}
