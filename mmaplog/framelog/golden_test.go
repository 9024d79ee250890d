package framelog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGoldenBytes checks the bytes on disk, which other versions of the program must be able to
// read. A change of them needs another formatVersion.
func TestGoldenBytes(t *testing.T) {
	dir := t.TempDir()
	o := testOptions(dir)
	o.boot = bootID{0xb0, 0x07}
	w, _ := mustOpen(t, o)
	for i, text := range []string{"first frame", "second", "third frame of them all"} {
		m := Meta{Stream: uint8(1 + i), Cycle: int64(i) - 1, Time: 1_700_000_000_000_000_000 + int64(i)}
		copy(m.Source[:], "source of "+text)
		if err := w.Append([]byte(text), m); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if err := errors.Join(w.flush(), w.roll()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	id := w.ID()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, name := range []string{"head", "0000000000000000.index", "0000000000000000.frames",
		"0000000000000011.index", "0000000000000011.frames"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if name == headName { // the ID is random, and the check depends on it
			if !bytes.Equal(content[16:32], id[:]) || asHead(content).Check != asHead(content).check() {
				t.Errorf("the ID is not where it belongs: % x", content[16:40])
			}
			clear(content[16:40])
		}
		fmt.Fprintf(&got, "%s: %d bytes\n", name, len(content))
		for at := 0; at < len(content); at += 16 {
			if line := content[at:min(at+16, len(content))]; strings.Trim(string(line), "\x00") != "" {
				fmt.Fprintf(&got, "  %04x  %s\n", at, hex.EncodeToString(line))
			}
		}
	}
	golden := filepath.Join("testdata", "layout.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got.String() != string(want) {
		t.Errorf("%v, got:\n%s", err, &got)
	}
}

func TestSizesOfTheFormat(t *testing.T) {
	if n := unsafe.Sizeof(entry{}); n != entrySize {
		t.Errorf("an entry has %d bytes", n)
	}
	if n := unsafe.Sizeof(indexHeader{}); n > pageSize {
		t.Errorf("an index header has %d bytes", n)
	}
	var h headPage
	if unsafe.Offsetof(h.Head) != 64 || unsafe.Offsetof(h.Floor) != 128 {
		t.Errorf("head and floor are not on cache lines of their own: %d, %d", unsafe.Offsetof(h.Head),
			unsafe.Offsetof(h.Floor))
	}
}
