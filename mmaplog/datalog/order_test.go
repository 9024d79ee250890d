package datalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// parseEntries reads "old-1 2 3+ 4": own and old logs; each log is a second younger than the one of
// a lower number in the same list unless the text says otherwise: "+" newest of all, "." empty,
// "@60" that many seconds old. Inodes are 100 + place in the text.
func parseEntries(text string) (entries []entry) {
	base := time.Unix(1e6, 0)
	for i, word := range strings.Fields(text) {
		e := entry{size: 10, id: fileID{1, uint64(100 + i)}, mtime: base}
		word, ago, _ := strings.Cut(word, "@")
		var seconds int
		fmt.Sscan(ago, &seconds)
		e.mtime = e.mtime.Add(-time.Duration(seconds) * time.Second)
		if w, ok := strings.CutSuffix(word, "+"); ok {
			word, e.mtime = w, base.Add(time.Hour)
		}
		if w, ok := strings.CutSuffix(word, "."); ok {
			word, e.size = w, 0
		}
		word, e.old = strings.CutPrefix(word, "old-")
		fmt.Sscan(word, &e.number)
		entries = append(entries, e)
	}
	return entries
}

func showEntries(entries []entry) string {
	var words []string
	for _, e := range entries {
		word := fmt.Sprint(e.number)
		if e.old {
			word = "old-" + word
		}
		words = append(words, fmt.Sprintf("%s:%d", word, e.lap))
	}
	return strings.Join(words, " ")
}

func TestArrange(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries string
		pointer uint32
		want    string
	}{
		{"first lap", "1 2 3", 3, "1:0 2:0 3:0"},
		{"first half of a lap", "old-1 old-2 3 4 1", 1, "old-1:-1 old-2:-1 3:-1 4:-1 1:0"},
		{"at half", "old-3 old-4 1 2", 2, "old-3:-1 old-4:-1 1:0 2:0"},
		{"half renamed, pointer not yet", "old-3 4 1 2.", 1, "old-3:-1 4:-1 1:0 2:1"},
		{"at the last", "old-1 old-2 3 4", 4, "old-1:0 old-2:0 3:0 4:0"},
		{"half of the half renamed", "old-1 2 3", 3, "old-1:0 2:0 3:0"},
		{"next one just created", "1 2 3.", 2, "1:0 2:0 3:1"},
		{"next one has something", "1 2 3+", 2, "1:0 2:0 3:1"},
		{"next number of the lap before", "1 2 3@9", 2, "3:-1 1:0 2:0"},
		{"next number of the lap before, in a copy", "old-1 old-2 1 2 3+", 2,
			"old-1:-1 old-2:-1 3:-1 1:0 2:0"},
		{"next one has something, second lap", "old-3 old-4 1 2+", 1, "old-3:-1 old-4:-1 1:0 2:1"},
		{"next one has something, third lap", "old-1 old-2 3 4 1 2+", 1,
			"old-1:-1 old-2:-1 3:-1 4:-1 1:0 2:1"},
		{"wrap-around just begun", "old-2 3 4 1.", 4, "old-2:0 3:0 4:0 1:1"},
		{"first one changed late", "1+ 2", 2, "1:0 2:0"},
		{"pointer ahead", "1 2", 3, "1:0 2:0"},
		{"both of a number", "old-2 2 3", 3, "old-2:-1 2:0 3:0"},
		{"active one renamed", "1 2 old-3", 3, "1:0 2:0 old-3:0"},
	} {
		for range 10 { // the order of the directory does not matter
			entries := parseEntries(c.entries)
			slices.Reverse(entries)
			arrange(entries, c.pointer)
			if got := showEntries(entries); got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
		}
	}
}

func TestPlaceOfALog(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries string
		pointer uint32
		number  uint32
		inode   uint64
		want    place
		found   bool
	}{
		{"there", "1 2 3", 3, 2, 101, place{0, 2}, true},
		{"renamed", "old-3 1 2", 2, 3, 100, place{-1, 3}, true},
		{"two of a number", "old-2 1 2", 2, 2, 100, place{-1, 2}, true},
		{"gone, this lap", "1 3", 3, 2, 9, place{0, 2}, false},
		{"gone, the lap before", "1 2", 2, 4, 9, place{-1, 4}, false},
		{"its number used again", "1 2", 2, 2, 9, place{-1, 2}, false},
		{"its number used twice again", "old-2 1 2", 2, 2, 9, place{-2, 2}, false},
		{"its number about to be used again", "1 2 3.", 2, 3, 9, place{-1, 3}, false},
		{"passed by a wrap-around", "1 2.", 1, 2, 101, place{-1, 2}, true},
	} {
		entries := parseEntries(c.entries)
		arrange(entries, c.pointer)
		if got, found := placeOf(entries, c.number, fileID{1, c.inode}, c.pointer); got != c.want ||
			found != c.found {
			t.Errorf("%s: %v %v, want %v %v", c.name, got, found, c.want, c.found)
		}
	}
}

func TestNextLog(t *testing.T) {
	since := time.Unix(1e6, 0)
	for _, c := range []struct {
		name    string
		entries string
		pointer uint32
		from    place
		found   bool
		highest uint32
		done    string
		want    string // empty: none
		gap     bool
	}{
		{"the next", "1 2 3", 3, place{0, 1}, true, 3, "", "2:0", false},
		{"none", "1 2 3", 3, place{0, 3}, true, 3, "", "", false},
		{"missing", "1 3", 3, place{0, 1}, true, 3, "", "3:0", true},
		{"wrap-around", "old-2 3 4 1", 1, place{-1, 4}, true, 4, "", "1:0", false},
		{"wrap-around from too low", "old-2 3 1", 1, place{-1, 3}, true, 4, "", "1:0", true},
		{"wrap-around to too high", "3 4 2", 2, place{-1, 4}, true, 4, "", "2:0", true},
		{"one that is done", "1 2 3", 3, place{0, 1}, true, 3, "2", "3:0", false},
		{"a missing one before one that is done", "1 3 4", 4, place{0, 1}, true, 4, "3", "4:0", false},
		{"all done: the active one", "1 2", 2, place{0, 1}, true, 2, "1 2", "2:0", false},
		{"just created", "1 2.", 1, place{0, 1}, true, 1, "", "", false},
		{"ours gone, older ones there", "1@9 2@9 3", 3, place{-1, 3}, false, 3, "", "3:0", true},
		{"ours gone, the active one older", "1@9", 1, place{-1, 1}, false, 1, "", "1:0", false},
		{"leftovers", "1+ 3@61 4@61", 1, place{-1, 2}, true, 2, "", "1:0", true},
		{"leftovers that are done", "1+ 3@61 4@61", 1, place{-1, 4}, true, 4, "3 4", "1:0", false},
		{"times that contradict the order", "1@2 3@61 4@61", 1, place{-1, 2}, true, 2, "", "3:-1", false},
		{"no leftovers", "1 3@59", 1, place{-1, 2}, true, 2, "", "3:-1", false},
		{"a lap missed", "old-3 1 2", 2, place{-2, 2}, false, 3, "", "old-3:-1", true},
		{"a lap missed, to the next number", "3 1", 1, place{-2, 2}, false, 3, "", "3:-1", true},
	} {
		entries := parseEntries(c.entries)
		arrange(entries, c.pointer)
		e, gap, ok := next(entries, c.pointer, c.from, c.found, since, c.highest, func(e entry) bool {
			return slices.Contains(strings.Fields(c.done), fmt.Sprint(e.number))
		})
		got := ""
		if ok {
			got = showEntries([]entry{e})
		}
		if got != c.want || gap != c.gap {
			t.Errorf("%s: %q gap %v, want %q gap %v", c.name, got, gap, c.want, c.gap)
		}
	}
}

// TestListLogsAmongForeignFiles checks that other files in the directory cost almost nothing.
func TestListLogsAmongForeignFiles(t *testing.T) {
	dir := t.TempDir()
	foreign := 5000
	if testing.Short() {
		foreign = 1000
	}
	for i := range foreign {
		name := filepath.Join(dir, fmt.Sprintf("receipt-log%d.txt.gz", i))
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{log1, "old-receipt-log12.txt", "receipt-log007.txt",
		"cycle-log1.txt", "receipt-logs.txt", "old-old-receipt-log1.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var entries []entry
	allocs := testing.AllocsPerRun(1, func() {
		var err error
		if entries, err = listLogs(dir, Receipt); err != nil {
			t.Fatal(err)
		}
	})
	if len(entries) != 2 || entries[0].number != 12 || !entries[0].old || entries[1].number != 1 ||
		entries[1].old {
		t.Errorf("listed %+v", entries)
	}
	if allocs > float64(foreign/10) {
		t.Errorf("%.0f allocations for %d files of others", allocs, foreign)
	}
	if _, err := listLogs(dir+"/none", Receipt); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}
