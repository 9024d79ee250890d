package encoder

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"distributor/engine/notice"
	"distributor/mmaplog/bell"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// script is a Source that delivers its lines, one record each, and then fails.
type script struct {
	lines []string
	then  error
	at    datalog.Position
}

func (s *script) Next(_ context.Context, b *datalog.Batch) error {
	b.Gaps, b.Records = nil, nil
	if len(s.lines) == 0 {
		return s.then
	}
	s.at.Offset++
	b.Records = append(b.Records, datalog.Record{Line: []byte(s.lines[0]), Next: s.at})
	s.lines = s.lines[1:]
	return nil
}

func (s *script) Position() datalog.Position { return s.at }
func (s *script) Stats() datalog.Stats       { return datalog.Stats{} }

// Records of any Source become frames. Its failure ends Run after the records are in the frame log.
func TestSource(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	frames, _, err := framelog.OpenWriter(framelog.Options{
		Dir: dir, SegmentBytes: 1 << 20, RetainBytes: 1 << 20, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer frames.Close()
	notices, err := notice.Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	e := New(Options{
		Signer: signer(t), Frames: frames, Notices: notices, Readers: bell.NewSet(), Log: log,
		StopAtCycle: func() int64 { return -1 },
	}, Progress{})
	broken := errors.New("broken")
	err = e.Run(t.Context(), func(s datalog.Stream) Source {
		if s != datalog.Receipt {
			return waiting{script: &script{}}
		}
		return &script{lines: []string{`{"n":1}`, "damaged", `{"n":2}`}, then: broken}
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "receipt") {
		t.Errorf("Run returned %v", err)
	}
	s, at := e.Stats(datalog.Receipt), e.Progress().Position[datalog.Receipt]
	if s.Frames != 2 || s.Rejected[notJSON] != 1 || at.Offset != 3 {
		t.Errorf("%+v, read up to %+v", s, at)
	}
}

// waiting is a Source that never delivers anything.
type waiting struct{ *script }

func (waiting) Next(ctx context.Context, _ *datalog.Batch) error {
	<-ctx.Done()
	return ctx.Err()
}
