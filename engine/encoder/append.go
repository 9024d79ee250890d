package encoder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"distributor/mmaplog/framelog"
)

// append writes chunks to the frame log in order, publishes them and wakes the workers, until order
// is closed. After a failure, which append reports, it only drains order so that the readers can
// end.
func (e *Encoder) append(ctx context.Context, failed chan<- error) {
	var failure error
	for c := range e.order {
		<-c.done
		if failure == nil {
			if failure = e.appendChunk(ctx, c); failure != nil && ctx.Err() == nil {
				failed <- failure
			}
		}
		c.release()
	}
}

func (e *Encoder) appendChunk(ctx context.Context, c *chunk) error {
	for _, g := range c.gaps {
		if err := e.tell(ctx, c.stream, g); err != nil {
			return err
		}
	}
	now, start := time.Now().UnixNano(), 0
	for _, m := range c.made {
		frame := c.frames[start:m.end]
		if err := e.write(ctx, func() error {
			return e.o.Frames.Append(frame, c.meta(m, now))
		}); err != nil {
			return err
		}
		start = m.end
	}
	if err := e.write(ctx, e.o.Frames.Commit); err != nil {
		return err
	}
	s := &e.stats[c.stream]
	s.frames.Add(uint64(len(c.made)))
	s.frameBytes.Add(uint64(start))
	e.mu.Lock()
	e.progress.Head = e.o.Frames.Head()
	e.progress.Position[c.stream] = c.after
	e.mu.Unlock()
	if len(c.made) > 0 || len(c.gaps) > 0 {
		e.o.Readers.Ring()
	}
	return nil
}

// write repeats one step of the frame log until the file system accepts it. While the step fails,
// write commits the frames appended before, if possible, so that clients get everything that is
// there.
func (e *Encoder) write(ctx context.Context, step func() error) error {
	err := step()
	if err == nil {
		return nil
	}
	for waited := false; errors.Is(err, framelog.ErrBlocked); waited = true {
		why := err // a separate variable, because Blocked reads it
		e.full.Store(&why)
		if !waited {
			e.o.Log.Error("the frame log takes no more frames; distribution continues by itself when its file system works again", "error", err)
			if e.o.Frames.Commit() == nil {
				e.o.Readers.Ring()
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryFull):
		}
		err = step()
	}
	if err != nil {
		return fmt.Errorf("encoder: frame log: %w", err)
	}
	e.full.Store(nil)
	e.o.Log.Info("the frame log takes frames again")
	return nil
}
