package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"distributor/bench/frames"
	"distributor/engine/simulator"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// stage is a set of data logs with their frames, made before anything is measured. play links the
// whole logs into the directory that a distributor reads, all at once. So writing the logs costs
// nothing during a measurement, and every round has the same bytes.
type stage struct {
	dir        string
	Scenario   string  `json:"scenario"`
	Records    int     `json:"records"`
	LogBytes   float64 `json:"log_bytes"` // of the records alone
	FrameBytes uint64  `json:"frame_bytes"`
	frames     string  // file of the frames, in the order written, signed by a key that nobody has
	data       []byte  // the same, mapped
}

// part is a number of records from the beginning of a stage.
type part struct {
	records int
	bytes   uint64 // of their frames
}

// first returns the shortest part whose frames have the given number of bytes, or the whole
// stage.
func (s stage) first(bytes uint64) (p part, err error) {
	for p.bytes < min(bytes, s.FrameBytes) {
		frame, _, _, err := frames.Cut(s.data[p.bytes:])
		if err != nil {
			return p, err
		}
		p.records, p.bytes = p.records+1, p.bytes+uint64(len(frame))
	}
	return p, nil
}

// stage makes records in the standard mix until it has enough records and bytes of frames.
func (b *bench) stage(
	ctx context.Context, scenario string, records int, bytes uint64,
) (s stage, err error) {
	s = stage{dir: b.newDir(scenario), Scenario: scenario}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return s, err
	}
	_, secret, err := shardus.GenerateKey()
	if err != nil {
		return s, err
	}
	signer := shardus.NewSigner(secret, shardus.HashKey{})
	s.frames = filepath.Join(s.dir, "frames")
	file, err := os.Create(s.frames)
	if err != nil {
		return s, err
	}
	defer file.Close()
	out := bufio.NewWriterSize(file, 1<<20)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var frame []byte
	_, err = simulator.Run(ctx, simulator.Options{
		Dir: filepath.Join(s.dir, "logs"), Seed: "bench", Unpaced: true, ShardKeys: true,
		Rates: simulator.Spread(1, simulator.Streams[:]...),
		Log:   simulator.LogOptions{MaxFiles: 1000}, // numbers do not wrap around
		OnWrite: func(stream string, line []byte, _ time.Time) {
			// Simulated records are canonical, and are sent as they are.
			frame = wsproto.AppendTextHeader(frame[:0], shardus.MessageSize(stream, len(line)))
			frame = signer.AppendMessage(frame, stream, line)
			_, _ = out.Write(frame) // Flush returns the error
			s.Records++
			s.LogBytes += float64(len(line))
			s.FrameBytes += uint64(len(frame))
			if s.Records >= records && s.FrameBytes >= bytes {
				stop()
			}
		},
	})
	if err := errors.Join(err, out.Flush()); err != nil {
		return s, fmt.Errorf("stage: %w", err)
	}
	if s.data, err = frames.Map(s.frames); err != nil {
		return s, fmt.Errorf("stage: %w", err)
	}
	b.report.line("stage", s)
	b.report.say("  %d records, %.0f bytes each on average, %.1f MB of frames",
		s.Records, s.LogBytes/float64(s.Records), float64(s.FrameBytes)/1e6)
	return s, nil
}

// emptyLogs makes the logs of an archiver that has not written yet.
func emptyLogs(dir string) error {
	for _, stream := range simulator.Streams {
		w, err := simulator.NewLogWriter(simulator.LogOptions{Dir: dir, Stream: stream})
		if err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}

// play rotates from empty logs to those of the stage, as an archiver would: trailer, new logs,
// active file.
func (s stage) play(to string) error {
	from := filepath.Join(s.dir, "logs")
	for _, stream := range simulator.Streams {
		name := func(dir string, number int) string {
			return filepath.Join(dir, fmt.Sprintf("%s-log%d.txt", stream, number))
		}
		trailer := []byte("End: Number of bytes: 0\n\n")
		if err := os.WriteFile(name(to, 1), trailer, 0o644); err != nil {
			return fmt.Errorf("stage: play: %w", err)
		}
		n := 1
		for ; ; n++ { // number 1 of to is the empty log
			err := os.Link(name(from, n), name(to, n+1))
			if errors.Is(err, fs.ErrNotExist) && n > 1 {
				break
			} else if err != nil {
				return fmt.Errorf("stage: play: %w", err)
			}
		}
		active := filepath.Join(to, "active-"+stream+"-log.txt")
		if err := os.WriteFile(active, []byte(filepath.Base(name(to, n))), 0o644); err != nil {
			return fmt.Errorf("stage: play: %w", err)
		}
	}
	return nil
}
