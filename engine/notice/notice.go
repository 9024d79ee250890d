package notice

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"distributor/engine/atomicfile"
	"distributor/mmaplog/crashpoint"
)

const (
	fileName = "notices.json"
	// maxKept is how many notices the file keeps, at about 600 bytes each.
	maxKept = 256
)

// Notice is a signed text and its place.
type Notice struct {
	Offset uint64 `json:"offset"` // offset in the frame log, at a frame boundary
	Text   string `json:"text"`
}

// List holds the stored notices in the order of their offsets.
type List struct {
	First   uint64   `json:"first"` // number of the first notice; numbers are never reused
	Notices []Notice `json:"notices"`
}

// Load reads the list in dir (STATE_DIR). The list is empty if there is no file.
func Load(dir string) (List, error) {
	var list List
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return list, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return List{}, fmt.Errorf("notice: read %s: %w", filepath.Join(dir, fileName), err)
	}
	return list, nil
}

// Book is the primary's list. It belongs to one goroutine.
type Book struct {
	dir  string
	list List
}

// Open returns a Book with the list in dir. A notice behind head is moved to head: the frame log no
// longer has those frames, they are made again, and the notice may be made again too. The Book
// works even after an error, which says what is lost.
func Open(dir string, head uint64) (*Book, error) {
	list, err := Load(dir)
	for i := range list.Notices {
		list.Notices[i].Offset = min(list.Notices[i].Offset, head)
	}
	return &Book{dir: dir, list: list}, err
}

// Add appends a notice and returns when the file is on disk. It removes notices below floor,
// because no client can reach them anymore. On an error nothing has changed.
func (b *Book) Add(n Notice, floor uint64) error {
	list := List{b.list.First, append(slices.Clone(b.list.Notices), n)}
	for len(list.Notices) > 1 && (list.Notices[0].Offset < floor || len(list.Notices) > maxKept) {
		list.First, list.Notices = list.First+1, list.Notices[1:]
	}
	if err := list.save(b.dir); err != nil {
		return fmt.Errorf("notice: save: %w", err)
	}
	b.list = list
	return nil
}

// File returns the file of the list in dir.
func File(dir string) atomicfile.File {
	return atomicfile.File{Path: filepath.Join(dir, fileName), Points: crashpoint.NoticesCreated}
}

// save replaces the file.
func (l List) save(dir string) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return File(dir).Write(text)
}
