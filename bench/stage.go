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

	"golang.org/x/sys/unix"

	"distributor/bench/raw"
	"distributor/engine/simulator"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// stage is a set of data logs, made before anything is measured. play puts
// them where a distributor looks, whole and at once, by hard links: so writing
// them costs nothing while it works, and every round gets the same bytes.
type stage struct {
	dir        string
	Records    int    `json:"records"`
	LogBytes   uint64 `json:"log_bytes"`   // of the records alone
	FrameBytes uint64 `json:"frame_bytes"` // of the frames that they become
	frames     string // file of these frames, in the order written; "" if it was not asked for
	data       []byte // the same, mapped
}

// part is the first so many records of a stage.
type part struct {
	records          int
	frames, payloads uint64 // bytes
}

// first returns the shortest part whose frames have so many bytes, or all.
func (s stage) first(bytes uint64) (p part, err error) {
	for p.frames < min(bytes, s.FrameBytes) {
		size, err := raw.FrameSize(s.data[p.frames:])
		if err != nil {
			return p, err
		}
		frame := s.data[p.frames : p.frames+size]
		p.records, p.frames, p.payloads = p.records+1, p.frames+size, p.payloads+uint64(len(payloadOf(frame)))
	}
	return p, nil
}

// newStage makes up records in the standard mix until limit says that they are
// enough, which it is asked after each piece of about 1 MB. withFrames also
// keeps the frames, made with a key that nobody has.
func newStage(ctx context.Context, dir string, withFrames bool, enough func(stage) bool) (stage, error) {
	return newStageOf(ctx, dir, simulator.Streams[:], withFrames, enough)
}

// newStageOf has records of these streams only.
func newStageOf(ctx context.Context, dir string, streams []string, withFrames bool, enough func(stage) bool) (stage, error) {
	s := stage{dir: dir}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return s, err
	}
	frames, err := newFrameFile(dir, withFrames)
	if err != nil {
		return s, err
	}
	summary, err := simulator.Run(ctx, simulator.Options{
		Dir: filepath.Join(dir, "logs"), Seed: "bench", Rates: simulator.Spread(1, streams...), Unpaced: true, ShardKeys: true,
		Log: simulator.LogOptions{MaxFiles: 1000}, // numbers never begin anew
		OnWrite: func(stream string, line []byte, _ time.Time) {
			s.Records++
			s.LogBytes += uint64(len(line))
			// Simulated records are canonical: they are sent as they are.
			s.FrameBytes += frameSize(stream, len(line))
			frames.add(stream, line)
			if enough(s) {
				stop()
			}
		},
	})
	if err := errors.Join(err, frames.close()); err != nil {
		return s, fmt.Errorf("stage: %w", err)
	}
	if summary.Total != int64(s.Records) {
		return s, fmt.Errorf("stage: %d records written, %d told of", summary.Total, s.Records)
	}
	s.frames = frames.path
	if s.frames != "" {
		if s.data, err = mapped(s.frames); err != nil {
			return s, fmt.Errorf("stage: %w", err)
		}
	}
	return s, nil
}

// frameSize is the length of the frame that carries a record of n bytes.
func frameSize(stream string, n int) uint64 {
	var header [10]byte
	size := shardus.MessageSize(stream, n)
	return uint64(len(wsproto.AppendTextHeader(header[:0], size)) + size)
}

// mapped maps a file for as long as this process lives: few, and their pages
// are the file's.
func mapped(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
}

// rest makes the logs of an archiver that has not written yet.
func rest(dir string) error {
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

// play rotates from the empty logs that rest has made to those of the stage,
// as an archiver would: trailer, new logs, active file.
func (s stage) play(to string) error {
	from := filepath.Join(s.dir, "logs")
	for _, stream := range simulator.Streams {
		name := func(dir string, number int) string {
			return filepath.Join(dir, fmt.Sprintf("%s-log%d.txt", stream, number))
		}
		if _, err := os.Stat(name(from, 1)); errors.Is(err, fs.ErrNotExist) {
			continue // the stage has no records of it
		}
		if err := os.WriteFile(name(to, 1), []byte("End: Number of bytes: 0\n\n"), 0o644); err != nil {
			return fmt.Errorf("stage: play: %w", err)
		}
		n := 1
		for ; ; n++ { // ours begin at 1, there that is the empty one
			if err := os.Link(name(from, n), name(to, n+1)); errors.Is(err, fs.ErrNotExist) && n > 1 {
				break
			} else if err != nil {
				return fmt.Errorf("stage: play: %w", err)
			}
		}
		if err := os.WriteFile(filepath.Join(to, "active-"+stream+"-log.txt"), []byte(filepath.Base(name(to, n))), 0o644); err != nil {
			return fmt.Errorf("stage: play: %w", err)
		}
	}
	return nil
}

// frameFile collects frames. Without a file it does nothing.
type frameFile struct {
	path   string
	file   *os.File
	out    *bufio.Writer
	signer *shardus.Signer
	frame  []byte
}

func newFrameFile(dir string, wanted bool) (*frameFile, error) {
	if !wanted {
		return &frameFile{}, nil
	}
	_, secret, err := shardus.GenerateKey()
	if err != nil {
		return nil, err
	}
	f := &frameFile{path: filepath.Join(dir, "frames"), signer: shardus.NewSigner(secret, shardus.HashKey{})}
	if f.file, err = os.Create(f.path); err != nil {
		return nil, err
	}
	f.out = bufio.NewWriterSize(f.file, 1<<20)
	return f, nil
}

func (f *frameFile) add(stream string, record []byte) {
	if f.file == nil {
		return
	}
	f.frame = wsproto.AppendTextHeader(f.frame[:0], shardus.MessageSize(stream, len(record)))
	f.frame = f.signer.AppendMessage(f.frame, stream, record)
	_, _ = f.out.Write(f.frame) // close tells
}

func (f *frameFile) close() error {
	if f.file == nil {
		return nil
	}
	return errors.Join(f.out.Flush(), f.file.Close())
}
