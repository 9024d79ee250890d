package logging

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWhereItGoes(t *testing.T) {
	for _, c := range []struct {
		to           string
		stderr, file bool
	}{{ToStderr, true, false}, {ToFiles, false, true}, {ToBoth, true, true}} {
		dir := filepath.Join(t.TempDir(), "not", "there")
		var stderr bytes.Buffer
		level := new(slog.LevelVar)
		h, end := Open(Options{Level: level, Format: "json", To: c.to, Dir: dir, Stderr: &stderr})
		log := slog.New(h)
		log.Info("one")
		log.Debug("two")
		level.Set(slog.LevelDebug) // a reload
		log.With("worker", 3).Debug("three")
		end()
		check := func(where, text string, want bool) {
			if !want {
				if text != "" {
					t.Errorf("%s: %s has %q", c.to, where, text)
				}
				return
			}
			var got []string
			for l := range strings.Lines(text) {
				var r struct {
					Msg    string
					Worker int
				}
				if err := json.Unmarshal([]byte(l), &r); err != nil {
					t.Errorf("%s: %q: %v", c.to, l, err)
				}
				got = append(got, r.Msg)
			}
			if strings.Join(got, " ") != "one three" {
				t.Errorf("%s: %s has %q", c.to, where, text)
			}
		}
		check("standard error", stderr.String(), c.stderr)
		if _, err := os.Stat(dir); !c.file {
			if err == nil {
				t.Errorf("%s: makes %s", c.to, dir)
			}
			continue
		}
		check("file", read(t, filepath.Join(dir, fileName)), true)
	}
}

// The directory is bounded: a full file is renamed, and the oldest file is removed.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	f := newFile(dir, &bytes.Buffer{}, slog.New(slog.DiscardHandler))
	f.out.MaxSize, f.out.MaxBackups = 1, 2
	// Files put aside at the same time, which is in milliseconds otherwise, count as one.
	f.out.BackupTimeFormat = "2006-01-02T15-04-05.000000000"
	line := []byte(strings.Repeat("x", 99<<10) + "\n")
	for range 50 {
		f.Write(line)
	}
	f.close()
	names, err := os.ReadDir(dir) // close has waited until the files too many were removed
	if err != nil {
		t.Fatal(err)
	}
	if len(names) > 1+f.out.MaxBackups {
		t.Errorf("not removed: %v", names)
	}
	if len(names) < 2 {
		t.Errorf("nothing was put aside: %v", names)
	}
	for _, n := range names {
		if info, err := n.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", n.Name(), info.Mode(), err)
		}
		size := len(read(t, filepath.Join(dir, n.Name())))
		if size > 1<<20 || size%len(line) != 0 {
			t.Errorf("%s: %d bytes", n.Name(), size)
		}
	}
}

// A full disk is reported once, and the log continues on standard error.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{ToFiles, ToBoth} {
		var stderr bytes.Buffer
		h, end := Open(Options{Level: slog.LevelInfo, To: to, Dir: dir, Stderr: &stderr})
		log := slog.New(h)
		for _, m := range []string{"one", "two", "three"} {
			log.Info(m)
		}
		end()
		got := stderr.String()
		if strings.Count(got, "\n") != 4 || strings.Count(got, "no space left on device") != 1 ||
			!strings.Contains(got, "msg=one\n") || !strings.Contains(got, "msg=three\n") {
			t.Errorf("%s: %s", to, got)
		}
	}
}

// The directory cannot be created at first, and can be later.
func TestDirectoryComesBack(t *testing.T) {
	at := filepath.Join(t.TempDir(), "logs")
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	h, end := Open(Options{Level: slog.LevelInfo, To: ToFiles, Dir: at, Stderr: &stderr})
	log := slog.New(h)
	log.Info("one")
	log.Info("two")
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	log.Info("three")
	log.Info("four")
	end()
	got := stderr.String()
	if strings.Count(got, "cannot be written") != 1 ||
		strings.Count(got, "can be written again") != 1 || strings.Count(got, "\n") != 4 {
		t.Error(got)
	}
	if file := read(t, filepath.Join(at, fileName)); !strings.Contains(file, "msg=three") ||
		!strings.Contains(file, "msg=four") || strings.Contains(file, "msg=two") {
		t.Error(file)
	}
}
