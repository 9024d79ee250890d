package engine

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"distributor/engine/atomicfile"
	"distributor/engine/encoder"
	"distributor/engine/notice"
	"distributor/engine/resume"
	"distributor/mmaplog/crashpoint"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// checkpoint is how far the sources have been read as of a head of the frame
// log. The frame log itself says it more precisely, by the source position of
// the newest frame of each stream; the checkpoint is for what leaves no frame:
// the place of a first start, rejected lines, streams whose frames have all
// been dropped since. It is a small JSON file, replaced atomically.
type checkpoint struct {
	Log     string                      `json:"frameLog"` // id of the frame log's life
	Dir     string                      `json:"dataLogs"` // origin.name: their directory
	Head    uint64                      `json:"head"`
	Streams map[string]datalog.Position `json:"streams"`
	// Begin is where reading began for the first frame of the log: from there on
	// records are made again if the log loses all frames of a stream.
	Begin map[string]datalog.Position `json:"begin"`
	// Left is where each stream's latest logs were left, so that a log which grows while no
	// distributor runs is a gap at the next start.
	Left map[string][]datalog.Position `json:"left,omitempty"`
}

// follows tells whether dir has been followed before: a stream without a
// position had no log there then. In another directory, whatever a mistaken
// setting was mended to, following begins as at a first start.
func (c checkpoint) follows(dir string) bool { return c.Dir == dir && dir != "" }

// leftIn returns where logs of a stream were left in the directory.
func (c checkpoint) leftIn(dir string, s datalog.Stream) []datalog.Position {
	if !c.follows(dir) {
		return nil
	}
	return c.Left[s.String()]
}

const checkpointFile = "checkpoint.json"

func newCheckpoint(
	log framelog.ID, dir string, p encoder.Progress, begin map[string]datalog.Position,
) checkpoint {
	c := checkpoint{
		Log: log.String(), Dir: dir, Head: p.Head,
		Streams: make(map[string]datalog.Position), Begin: begin,
	}
	for _, s := range datalog.Streams {
		c.Streams[s.String()] = p.Position[s]
	}
	return c
}

// loadCheckpoint returns the zero checkpoint when there is none.
func loadCheckpoint(dir string) (checkpoint, error) {
	path := filepath.Join(dir, checkpointFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return checkpoint{}, nil
	}
	if err != nil {
		return checkpoint{}, fmt.Errorf("engine: read checkpoint: %w", err)
	}
	var c checkpoint
	if err := json.Unmarshal(b, &c); err != nil {
		return checkpoint{}, fmt.Errorf("engine: %s is damaged; without it, reading goes on after the newest frames: %w", path, err)
	}
	return c, nil
}

// save replaces the file.
func (c checkpoint) save(dir string) error {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("engine: save checkpoint: %w", err)
	}
	if err := checkpointIn(dir).Write(b); err != nil {
		return fmt.Errorf("engine: save checkpoint: %w", err)
	}
	return nil
}

func checkpointIn(dir string) atomicfile.File {
	return atomicfile.File{
		Path: filepath.Join(dir, checkpointFile), Points: crashpoint.CheckpointCreated,
	}
}

// clearLeftovers removes what a killed process has left of files in STATE_DIR that it was
// replacing.
func clearLeftovers(dir string) error {
	for _, f := range []atomicfile.File{checkpointIn(dir), resume.File(dir), notice.File(dir)} {
		if err := f.Clear(); err != nil {
			return fmt.Errorf("engine: clear STATE_DIR: %w", err)
		}
	}
	return nil
}

// reached is what the frame log had when the checkpoint was saved.
func (c checkpoint) reached() (p framelog.Place) {
	if id, err := hex.DecodeString(c.Log); err == nil && len(id) == len(p.ID) {
		copy(p.ID[:], id)
		p.Head = c.Head
	}
	return p
}

// frameLog is what resume asks the recovered frame log.
type frameLog interface {
	ID() framelog.ID
	Head() uint64
	LastSource(stream uint8) (position [32]byte, offset uint64, ok bool)
}

// resume tells where each stream's reading goes on: after the newest frame in
// the log, unless the checkpoint was taken later than that frame. A checkpoint
// of another life of the log counts only for streams without a frame: the log
// has lost frames then, which have to be made again; all of them, if it gave its
// end up and knows of none of the stream. The zero position means that there was
// no log yet or, without a checkpoint, a first start.
func (c checkpoint) resume(log frameLog) datalog.PerStream[datalog.Position] {
	var from datalog.PerStream[datalog.Position]
	gaveUp := c.Log != log.ID().String() && c.Head > log.Head()
	for _, s := range datalog.Streams {
		saved := c.Streams[s.String()]
		newest, offset, ok := log.LastSource(uint8(s))
		begin, known := c.Begin[s.String()]
		switch {
		case !ok && gaveUp && known:
			from[s] = begin
		case !ok, c.Log == log.ID().String() && c.Head >= offset && !saved.IsZero():
			from[s] = saved
		default:
			from[s] = datalog.DecodePosition(newest)
		}
	}
	return from
}
