package simulator

import (
	"context"
	"errors"
	"time"
)

// Summary holds the counts of a run.
type Summary struct {
	Generation Generation       `json:"generation"`
	Seed       string           `json:"seed"`
	Seconds    float64          `json:"seconds"`
	Records    map[string]int64 `json:"records"` // by stream
	Total      int64            `json:"total"`   // records of all streams
	Bytes      int64            `json:"bytes"`   // in the logs, with line ends and trailers
	Rotations  map[string]int64 `json:"rotations"`
	Odd        map[string]int64 `json:"odd,omitempty"`
	PerSecond  float64          `json:"recordsPerSecond"`
}

// pieceBytes bounds what is made before it is written. A piece is one write per stream.
const pieceBytes = 1 << 20

// Run acts as an archiver until ctx ends, the duration is over or the count is reached. None of
// these is an error. Every record in the logs is in the manifest, and, when Run has returned
// without an error, in the databases.
func Run(ctx context.Context, o Options) (Summary, error) {
	if err := o.complete(); err != nil {
		return Summary{}, err
	}
	a, err := openArchiver(o)
	if err != nil {
		return Summary{}, err
	}
	err = a.run(ctx)
	return a.summary(), errors.Join(err, a.close())
}

func (a *archiver) run(ctx context.Context) error {
	tick := time.NewTicker(a.o.Batch)
	defer tick.Stop()
	reported := a.start
	for {
		elapsed := time.Since(a.start)
		over := a.o.Duration > 0 && elapsed >= a.o.Duration
		if a.o.Progress != nil && elapsed-reported.Sub(a.start) >= time.Second {
			reported = time.Now()
			a.o.Progress(a.summary())
		}
		for due := a.due(elapsed); due > 0 && !a.late() && ctx.Err() == nil; {
			n, err := a.piece(due)
			if err != nil {
				return err
			}
			due -= n
		}
		if over || ctx.Err() != nil || a.o.Count > 0 && a.total >= a.o.Count {
			return nil
		}
		if a.o.Unpaced {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// due returns how many records should be written now.
func (a *archiver) due(elapsed time.Duration) int64 {
	due := int64(pieceBytes) // more than fits into a piece
	if !a.o.Unpaced {
		if a.o.Duration > 0 {
			elapsed = min(elapsed, a.o.Duration)
		}
		due = int64(elapsed.Seconds()*a.rate) - a.total
	} else if a.o.Duration > 0 && elapsed >= a.o.Duration {
		return 0
	}
	if a.o.Count > 0 {
		due = min(due, a.o.Count-a.total)
	}
	return due
}

// late tells whether the duration is clearly over. If the rate is more than the machine can do, the
// rest is not written.
func (a *archiver) late() bool {
	return a.o.Duration > 0 && time.Since(a.start) > a.o.Duration+a.o.Batch
}
