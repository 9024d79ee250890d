package datalog

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

func TestInspect(t *testing.T) {
	record := func(n string) string { return `{"n":` + n + "}" }
	r := newRig(t)
	if _, err := Inspect(r.dir, Receipt, Position{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	r.mkdir()
	inspect := func(from Position) Report {
		t.Helper()
		got, err := Inspect(r.dir, Receipt, from)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := inspect(Position{}); got.Logs != 0 || got.Active != "" || got.Problem != nil {
		t.Errorf("empty: %+v", got)
	}
	r.put("receipt-log1.txt", "")
	if got := inspect(Position{}); !errors.Is(got.Problem, fs.ErrNotExist) {
		t.Errorf("no pointer: %+v", got)
	}
	r.put("active-receipt-log.txt", "receipt-lo")
	if got := inspect(Position{}); got.Problem == nil ||
		!strings.Contains(got.Problem.Error(), "names no log") {
		t.Errorf("torn pointer: %+v", got)
	}
	r.point(2)
	if got := inspect(Position{}); got.Active != "receipt-log2.txt" ||
		!errors.Is(got.Problem, fs.ErrNotExist) {
		t.Errorf("no such log: %+v", got)
	}
	r.point(1)
	if got := inspect(Position{}); got.Active != "receipt-log1.txt" || got.Problem != nil ||
		got.Last != nil || got.Writer != "" {
		t.Errorf("empty log: %+v", got)
	}
	r.append("receipt-log1.txt", record("1")+"\n"+record("2")+"\r\n"+`{"n":`)
	if got := inspect(Position{}); string(got.Last) != record("2") || got.Ended || got.Writer != "" ||
		got.Size != 22 || got.Bytes != 22 || got.Changed.IsZero() {
		t.Errorf("two records: %+v", got)
	}
	for writer, lines := range map[string]string{
		"entries":     record("1") + "\nEnd: Number of entries: 1\n",
		"bytes":       record("1") + "\nEnd: Number of bytes: 7\n",
		"bytes-blank": record("1") + "\n\nEnd: Number of bytes: 7\n\n",
	} {
		r.put("receipt-log1.txt", lines)
		if got := inspect(Position{}); got.Writer != writer || !got.Ended ||
			string(got.Last) != record("1") {
			t.Errorf("%s: %+v", writer, got)
		}
		// The generation shows in the previous log; blank lines show in this one.
		r.put("receipt-log2.txt", strings.ReplaceAll(lines[:strings.Index(lines, "End")], "1", "2"))
		r.point(2)
		if got := inspect(Position{}); got.Writer != writer || got.Ended ||
			string(got.Last) != record("2") {
			t.Errorf("%s, rotated: %+v", writer, got)
		}
		os.Remove(r.path("receipt-log2.txt"))
		r.point(1)
	}
	// The same for a large log.
	r.put("receipt-log1.txt", "")
	if err := os.Truncate(r.path("receipt-log1.txt"), 1<<40); err != nil {
		t.Skip(err)
	}
	r.append("receipt-log1.txt", "\n"+record("3")+"\n")
	if got := inspect(Position{}); string(got.Last) != record("3") || got.Size < 1<<40 {
		t.Errorf("big: %+v", got)
	}
}

// TestInspectPosition checks that the bytes behind are those that a follower would still read.
func TestInspectPosition(t *testing.T) {
	r := newRunningRig(t)
	r.append("receipt-log1.txt", "{\"n\":1}\n{\"n\":2}\n")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var b Batch
	if err := r.f.Next(ctx, &b); err != nil {
		t.Fatal(err)
	}
	first, second := b.Records[0].Next, b.Records[1].Next
	r.append("receipt-log1.txt", "End: Number of entries: 2\n")
	r.put("receipt-log2.txt", "{\"n\":3}\n")
	r.put("receipt-log3.txt", "{\"n\":4}")
	r.point(3)
	for _, c := range []struct {
		from   Position
		behind int64
	}{{first, 8 + 26 + 8 + 7}, {second, 26 + 8 + 7}} {
		got, err := Inspect(r.dir, Receipt, c.from)
		if err != nil || !got.Found || got.Behind != c.behind {
			t.Errorf("want %d: %+v, %v", c.behind, got, err)
		}
	}
	// The log is renamed, and then removed.
	if err := os.Rename(r.path("receipt-log1.txt"), r.path("old-receipt-log1.txt")); err != nil {
		t.Fatal(err)
	}
	if got, err := Inspect(r.dir, Receipt, second); err != nil || !got.Found || got.Behind != 26+8+7 {
		t.Errorf("renamed: %+v, %v", got, err)
	}
	r.put("receipt-log1.txt", strings.Repeat("other", 10)+"\n")
	os.Remove(r.path("old-receipt-log1.txt"))
	if got, err := Inspect(r.dir, Receipt, second); err != nil || got.Found {
		t.Errorf("gone: %+v, %v", got, err)
	}
}
