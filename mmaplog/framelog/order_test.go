package framelog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// diary records the operations on the files, and before each operation the changes of the head
// file.
type diary struct {
	dir string

	mu    sync.Mutex // guards what follows
	lines []string
	id    ID
	words [5]uint64
}

var wordNames = [5]string{"head", "floor", "synced", "lost", "state"}

func (d *diary) fault(o op, path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
	name := filepath.Base(path)
	switch {
	case o == opCreate || o == opAllocate || o == opMap || o == opWrite:
		return nil // these come before the name or before the head
	case path == d.dir:
		name = "directory"
	case path == filepath.Dir(d.dir):
		name = "parent"
	case o == opSync || o == opTrim:
		if ext := filepath.Ext(name); ext == framesExt || ext == indexExt {
			name = ext[1:]
		}
	}
	d.lines = append(d.lines, string(o)+" "+name)
	return nil
}

// look records which words of the head have changed.
func (d *diary) look() {
	page, err := os.ReadFile(filepath.Join(d.dir, headName))
	if err != nil || len(page) != pageSize {
		return
	}
	h := asHead(page)
	if h.ID != d.id {
		d.lines = append(d.lines, "head is another")
		d.id = h.ID
	}
	for i, v := range [5]uint64{h.Head.Load(), h.Floor.Load(), h.Synced.Load(), h.Lost.Load(),
		h.State.Load()} {
		if v != d.words[i] {
			d.lines = append(d.lines, fmt.Sprintf("%s is %d", wordNames[i], int64(v)))
			d.words[i] = v
		}
	}
}

// said returns the lines since the last call.
func (d *diary) said() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
	lines := d.lines
	d.lines = nil
	return lines
}

// TestOrder checks the order of syncs, renames, removals and changes of the head, on which
// surviving a power loss depends. Each line has its reason. If a sync is missing, this test fails;
// TestPowerLoss fails too if the file system does not sync more than requested.
func TestOrder(t *testing.T) {
	d := &diary{dir: filepath.Join(t.TempDir(), "log")}
	o := Options{Dir: d.dir, SegmentBytes: minSegmentBytes, RetainBytes: 2 * minSegmentBytes,
		Log: quiet, fault: d.fault, boot: bootID{1}}
	var w *Writer
	open := func() {
		t.Helper()
		w, _ = mustOpen(t, o)
		eventually(t, func() bool { return len(w.spare) == 1 })
		drain(w)
	}
	put := func(n int) { // frames, each of which needs a segment
		t.Helper()
		for range n {
			if err := w.Append(make([]byte, minSegmentBytes), Meta{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return len(w.spare) == 1 })
		}
	}
	commit := func() {
		t.Helper()
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		drain(w)
	}
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"a first start", open, `
			unlink head.new                  | what a start that was cut off has left
			unlink spare.frames
			unlink spare.index
			unlink copy.frames
			unlink copy.index
			rename 0000000000000000.index    | the first segment, before a head speaks of it
			rename 0000000000000000.frames
			sync head.new                    | a head is whole before it has its name
			rename head
			head is another
			state is 1
			sync directory                   | and has its name before anything is appended
			sync parent                      | as the directory has`},
		{"frames in the first segment", func() { put(1); commit() }, `
			head is 65536                    | not synced: the kernel writes it when it likes`},
		{"a second segment", func() { put(1) }, `
			rename 0000000000010000.index    | index first: frames without one say nothing
			rename 0000000000010000.frames`},
		{"its commit", commit, `
			head is 131072
			trim frames
			sync frames                      | what is said to be on disk
			sync index
			sync directory                   | under its name
			sync head                        | in a head that goes as far
			synced is 65536                  | now it is said`},
		{"the commit that retires the first", func() { put(1); commit() }, `
			rename 0000000000020000.index
			rename 0000000000020000.frames
			head is 196608
			floor is 65536                   | before files go, for readers
			trim frames
			sync frames
			sync index
			sync directory
			sync head                        | with the floor: after a power loss no file above it is missing
			synced is 131072
			unlink 0000000000000000.frames
			unlink 0000000000000000.index    | index last: without frames it says nothing`},
		{"one that retires what was not synced", func() { put(4); commit() }, `
			rename 0000000000030000.index
			rename 0000000000030000.frames
			rename 0000000000040000.index
			rename 0000000000040000.frames
			rename 0000000000050000.index
			rename 0000000000050000.frames
			rename 0000000000060000.index
			rename 0000000000060000.frames
			head is 458752
			floor is 327680
			sync head                        | with the floor
			unlink 0000000000010000.frames   | what is below Synced is on disk or gone, the oldest first
			unlink 0000000000010000.index
			unlink 0000000000020000.frames
			unlink 0000000000020000.index
			unlink 0000000000030000.frames
			unlink 0000000000030000.index
			unlink 0000000000040000.frames
			unlink 0000000000040000.index
			trim frames
			sync frames
			sync index
			sync directory
			sync head
			synced is 393216
			unlink 0000000000010000.frames   | their turn
			unlink 0000000000010000.index
			unlink 0000000000020000.frames
			unlink 0000000000020000.index
			unlink 0000000000030000.frames
			unlink 0000000000030000.index
			unlink 0000000000040000.frames
			unlink 0000000000040000.index`},
		{"a close", func() { must(t, w.Close()) }, `
			unlink spare.frames
			unlink spare.index
			sync frames                      | all of it
			sync index
			sync directory
			sync head
			synced is 458752
			state is 2                       | not before everything is on disk
			sync head                        | or the next start of the machine finds an open log`},
		{"an opening in the same boot", open, `
			state is 1
			sync head                        | or a power loss finds a closed log, with frames appended
			unlink head.new
			unlink spare.frames
			unlink spare.index
			unlink copy.frames
			unlink copy.index`},
		{"a handover to another process", func() { must(t, w.Leave()); open() }, `
			unlink spare.frames              | the disk knows that the log is open: nothing has to be synced
			unlink spare.index
			state is 4
			state is 1
			unlink head.new
			unlink spare.frames
			unlink spare.index
			unlink copy.frames
			unlink copy.index`},
		{"frames that are not committed, and the end of the process", func() { put(2); abandon(w) }, `
			rename 0000000000070000.index
			rename 0000000000070000.frames
			rename 0000000000080000.index
			rename 0000000000080000.frames`},
		{"the next process", open, `
			sync head
			unlink 0000000000070000.frames
			unlink 0000000000070000.index
			unlink 0000000000080000.frames
			unlink 0000000000080000.index
			unlink head.new
			unlink spare.frames
			unlink spare.index
			unlink copy.frames
			unlink copy.index
			rename 0000000000070000.index    | the frames before end where their segment was sealed
			rename 0000000000070000.frames
			sync directory                   | or what was removed comes back for what takes its place`},
		{"a small frame that is not committed, and the end of the process", func() {
			must(t, w.Append([]byte("small"), Meta{}))
			commit()
			must(t, w.Append([]byte("lost"), Meta{}))
			abandon(w)
		}, `
			head is 458757`},
		{"another start of the machine", func() { o.boot = bootID{2}; open() }, `
			floor is -1
			state is 3                       | an ID that is given up has its head until there is another
			sync head                        | with the floor as it was, before files go
			unlink head.new
			unlink spare.frames
			unlink spare.index
			unlink copy.frames
			unlink copy.index
			sync index                       | an entry that was given up does not come back for another
			sync head.new
			rename head
			head is another
			floor is 327680
			state is 1
			sync directory                   | before anything is appended: removals and the new ID`},
		{"its close", func() { must(t, w.Close()) }, `
			unlink spare.frames
			unlink spare.index
			sync frames
			sync index
			sync directory
			sync head
			synced is 458757
			state is 2
			sync head`},
		{"the process's end, and a failed sync in this boot", func() {
			open()
			abandon(w)
			change(t, filepath.Join(d.dir, headName), func(b []byte) []byte {
				asHead(b).Lost.Store(1)
				return b
			})
		}, `
			state is 1
			sync head
			unlink head.new
			unlink spare.frames
			unlink spare.index
			unlink copy.frames
			unlink copy.index
			lost is 1`},
		{"the next process, which closes", func() {
			change(t, filepath.Join(d.dir, headName), func(b []byte) []byte {
				asHead(b).Lost.Store(458757)
				return b
			})
			open()
			must(t, w.Close())
		}, `
			lost is 458757
			sync head
			unlink head.new
			unlink spare.frames
			unlink spare.index
			unlink copy.frames
			unlink copy.index
			rename 0000000000070005.index    | written again, because its frames may not be on disk
			rename 0000000000070005.frames
			sync directory
			sync index                       | a copy is on disk before it takes the place
			rename 0000000000050000.index
			sync frames
			rename 0000000000050000.frames
			trim frames
			sync frames
			sync index
			sync directory
			sync head                        | and yet it is not said to be on disk
			sync index
			rename 0000000000060000.index
			sync frames
			rename 0000000000060000.frames
			trim frames
			sync frames
			sync index
			sync directory
			sync head
			sync index
			rename 0000000000070000.index
			sync frames
			rename 0000000000070000.frames
			trim frames
			sync frames
			sync index
			sync directory
			sync head
			unlink spare.frames
			unlink spare.index
			sync frames
			sync index
			sync directory
			sync head                        | nor is the log closed`},
	} {
		step.do()
		got, want := d.said(), reasoned(step.want)
		if g := strings.Join(got, "\n"); g != want {
			t.Errorf("%s:\n%s\n\nwant\n%s", step.name, g, want)
		}
	}
}

// reasoned returns the text without the reasons.
func reasoned(text string) string {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(text)) {
		what, _, _ := strings.Cut(line, "|")
		lines = append(lines, strings.TrimSpace(what))
	}
	return strings.Join(lines, "\n")
}

// drain waits for the background work.
func drain(w *Writer) {
	done := make(chan struct{})
	w.behind.do(func() { close(done) })
	<-done
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
