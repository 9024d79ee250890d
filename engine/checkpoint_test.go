package engine

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"distributor/engine/encoder"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// newest is what a recovered frame log knows.
type newest struct {
	id      framelog.ID
	head    uint64
	source  datalog.PerStream[datalog.Position] // zero: no frame of that stream
	offsets datalog.PerStream[uint64]
}

func (n newest) ID() framelog.ID { return n.id }

func (n newest) Head() uint64 { return n.head }

func (n newest) LastSource(stream uint8) ([32]byte, uint64, bool) {
	if n.source[stream].IsZero() {
		return [32]byte{}, 0, false
	}
	return n.source[stream].Encode(), n.offsets[stream], true
}

func at(offset uint64) datalog.Position {
	return datalog.Position{Number: 3, Inode: 77, Offset: offset, Check: offset * 31}
}

// places are positions by stream; 0 stands for the zero Position.
func places(offsets ...uint64) (all datalog.PerStream[datalog.Position]) {
	for i, s := range datalog.Streams {
		if offsets[i] != 0 {
			all[s] = at(offsets[i])
		}
	}
	return all
}

func TestResume(t *testing.T) {
	same, other := framelog.ID{1}, framelog.ID{2}
	saved := newCheckpoint(same, "logs", encoder.Progress{Head: 1000, Position: places(10, 20, 30)},
		map[string]datalog.Position{"cycle": at(1), "originalTx": at(2)})
	type ends = datalog.PerStream[uint64]
	for name, c := range map[string]struct {
		checkpoint checkpoint
		log        newest
		want       datalog.PerStream[datalog.Position]
	}{
		"first start":  {checkpoint{}, newest{id: same}, places(0, 0, 0)},
		"no frame yet": {saved, newest{id: same}, places(10, 20, 30)},
		"frames after the checkpoint": {
			saved, newest{same, 1000, places(0, 25, 28), ends{0, 0, 1001, 1000}}, places(10, 25, 30),
		},
		"frames older than it": {
			saved, newest{same, 1000, places(1, 2, 3), ends{0, 100, 200, 1000}}, places(10, 20, 30),
		},
		"the log has lost its end": {
			saved, newest{other, 300, places(1, 0, 3), ends{0, 100, 0, 300}}, places(1, 2, 3),
		},
		"the log has lost all frames": {
			saved, newest{other, 300, places(0, 0, 3), ends{0, 0, 0, 300}}, places(1, 2, 3),
		},
		"another, and nothing lost": {saved, newest{id: other, head: 1000}, places(10, 20, 30)},
		"frames, checkpoint lost": {
			checkpoint{}, newest{same, 1000, places(1, 0, 3), ends{0, 100, 0, 300}}, places(1, 0, 3),
		},
		"a stream new to the checkpoint": {
			checkpoint{Log: same.String(), Head: 1000},
			newest{same, 1000, places(1, 0, 0), ends{0, 100, 0, 0}}, places(1, 0, 0),
		},
	} {
		if got := c.checkpoint.resume(c.log); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestFollowsTheSameDirectory(t *testing.T) {
	c := newCheckpoint(framelog.ID{1}, "logs", encoder.Progress{}, nil)
	if !c.follows("logs") || c.follows("elsewhere") || (checkpoint{}).follows("logs") || (checkpoint{}).follows("") {
		t.Error("wrong")
	}
	c.Left = map[string][]datalog.Position{"cycle": {at(7)}}
	if here, elsewhere := c.leftIn("logs", datalog.Cycle), c.leftIn("elsewhere", datalog.Cycle); len(here) != 1 || elsewhere != nil {
		t.Errorf("left: %v, elsewhere %v", here, elsewhere)
	}
}

func TestCheckpointFile(t *testing.T) {
	dir := t.TempDir()
	if c, err := loadCheckpoint(dir); err != nil || !reflect.DeepEqual(c, checkpoint{}) {
		t.Fatalf("none yet: %+v %v", c, err)
	}
	for head := range uint64(3) {
		want := newCheckpoint(framelog.ID{9}, "logs",
			encoder.Progress{Head: head, Position: places(head, 1<<63, 0)},
			map[string]datalog.Position{"cycle": at(4)})
		if err := want.save(dir); err != nil {
			t.Fatal(err)
		}
		if got, err := loadCheckpoint(dir); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v %v, want %+v", got, err, want)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Fatalf("%v %v: only the checkpoint should be there", files, err)
	}
	if err := os.WriteFile(filepath.Join(dir, checkpointFile), []byte(`{"head":1`), 0o644); err != nil {
		t.Fatal(err)
	}
	if c, err := loadCheckpoint(dir); err == nil {
		t.Fatalf("a torn file gave %+v", c)
	}
	if err := (checkpoint{}).save(filepath.Join(dir, "not there")); err == nil {
		t.Fatal("saved into a directory that is not there")
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte(`{"frameLog":"00","head":1,"streams":{"cycle":{"Number":1,"Inode":2,"Offset":3,"Check":4}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, checkpointFile), b, 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := loadCheckpoint(dir)
		if err != nil {
			if !reflect.DeepEqual(c, checkpoint{}) {
				t.Fatalf("%q: half of it is taken: %+v", b, c)
			}
			return
		}
		// Without a frame the checkpoint alone decides, and saving it changes nothing.
		from := c.resume(newest{})
		if err := c.save(dir); err != nil {
			t.Fatal(err)
		}
		again, err := loadCheckpoint(dir)
		if err != nil || again.resume(newest{}) != from || again.Head != c.Head || again.Log != c.Log || again.Dir != c.Dir {
			t.Fatalf("%q: %+v, then %+v, %v", b, c, again, err)
		}
		for _, s := range datalog.Streams {
			if from[s] != c.Streams[s.String()] {
				t.Fatalf("%q: %v begins at %+v", b, s, from[s])
			}
		}
	})
}
