package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestMain is also the process that TestKilled kills: the test binary runs itself.
func TestMain(m *testing.M) {
	if path := os.Getenv("ATOMICFILE_KILLED"); path != "" {
		left, err := strconv.Atoi(os.Getenv("ATOMICFILE_STEPS"))
		f := File{Path: path, fault: func(string, string) error {
			if left--; left < 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return nil
		}}
		if err = errors.Join(err, f.Write(fresh)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var (
	old   = []byte("what was there")
	fresh = bytes.Repeat([]byte("what comes "), 10_000)
)

func place(t *testing.T) File {
	t.Helper()
	f := File{Path: filepath.Join(t.TempDir(), "file.json")}
	if err := os.WriteFile(f.Path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func mustHold(t *testing.T, f File, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(f.Path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("it holds %.20q… of %d bytes (%v), want %.20q… of %d", got, len(got), err, want,
			len(want))
	}
}

func mustBeAlone(t *testing.T, f File) {
	t.Helper()
	if entries, err := os.ReadDir(filepath.Dir(f.Path)); err != nil || len(entries) != 1 {
		t.Errorf("%v (%v) are there", entries, err)
	}
}

// The order of the steps makes a Write survive a crash of the machine: see the package
// documentation.
func TestOrder(t *testing.T) {
	f := File{Path: filepath.Join(t.TempDir(), "file.json")}
	var steps []string
	f.fault = func(step, path string) error {
		rel, err := filepath.Rel(filepath.Dir(f.Path), path)
		if step == "sync" && rel == "file.json.new" { // what is synced has to be there
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, fresh) {
				t.Errorf("synced when it held %d bytes of %d (%v)", len(got), len(fresh), err)
			}
		}
		if step == "sync" && rel == "." {
			mustHold(t, f, fresh)
		}
		steps = append(steps, step+" "+rel)
		return err
	}
	if err := f.Write(fresh); err != nil {
		t.Fatal(err)
	}
	want := []string{"create file.json.new", "write file.json.new", "sync file.json.new",
		"rename file.json", "sync ."}
	if !slices.Equal(steps, want) {
		t.Errorf("got %q, want %q", steps, want)
	}
	mustHold(t, f, fresh)
	mustBeAlone(t, f)
}

// Every step may fail. Then the error names the step, no temporary file remains, the file is whole,
// and the next Write works.
func TestFaults(t *testing.T) {
	for _, step := range []string{"create", "chmod", "write", "sync", "rename", "sync directory"} {
		for _, why := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EIO, syscall.EDQUOT} {
			t.Run(fmt.Sprintf("%s/%v", step, why), func(t *testing.T) {
				f := place(t)
				if err := os.Chmod(f.Path, 0o640); err != nil {
					t.Fatal(err)
				}
				f.fault = func(at, path string) error {
					if path == filepath.Dir(f.Path) {
						at += " directory"
					}
					if at == step {
						return why
					}
					return nil
				}
				if err := f.Write(fresh); !errors.Is(err, why) {
					t.Errorf("it said %v", err)
				}
				mustBeAlone(t, f)
				if step == "sync directory" {
					mustHold(t, f, fresh)
				} else {
					mustHold(t, f, old)
				}
				f.fault = nil
				if err := f.Write(fresh); err != nil {
					t.Error(err)
				}
				mustHold(t, f, fresh)
				mustBeAlone(t, f)
			})
		}
	}
}

// A process that is killed before any step leaves the old content or the new one. It leaves at most
// one more file, which the next start clears, even if processes are killed again and again.
func TestKilled(t *testing.T) {
	f := place(t)
	kills := 0
	for steps := 0; ; steps++ {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "ATOMICFILE_KILLED="+f.Path,
			"ATOMICFILE_STEPS="+strconv.Itoa(steps))
		out, err := child.CombinedOutput()
		if err == nil {
			break
		}
		if s, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
			t.Fatalf("%v: %s", err, out)
		}
		kills++
		if steps < 4 {
			mustHold(t, f, old)
		} else {
			mustHold(t, f, fresh)
		}
		if entries, err := os.ReadDir(filepath.Dir(f.Path)); err != nil || len(entries) > 2 {
			t.Errorf("killed after %d steps: %v (%v)", steps, entries, err)
		}
	}
	if kills != 5 {
		t.Errorf("killed %d times", kills)
	}
	mustHold(t, f, fresh)
	mustBeAlone(t, f)
	if err := os.WriteFile(f.Path+".new", []byte("half of i"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and if there is none
		if err := f.Clear(); err != nil {
			t.Error(err)
		}
		mustBeAlone(t, f)
	}
}

// Permissions that the operator has set are kept, whatever file a killed process has left.
func TestPermissionsAreKept(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	f := File{Path: filepath.Join(t.TempDir(), "file.json")}
	mode := func(want fs.FileMode) {
		t.Helper()
		if err := f.Write(fresh); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(f.Path); err != nil || info.Mode() != want {
			t.Errorf("%v (%v), want %v", info.Mode(), err, want)
		}
	}
	mode(0o600)
	for _, m := range []fs.FileMode{0o644, 0o640, 0o600} {
		if err := os.Chmod(f.Path, m); err != nil {
			t.Fatal(err)
		}
		mode(m)
	}
	if err := os.WriteFile(f.Path+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(f.Path+".new", 0o666); err != nil {
		t.Fatal(err)
	}
	mode(0o600)
}

// The file that a killed process has left is overwritten, even if it is longer.
func TestLongerLeftover(t *testing.T) {
	f := place(t)
	if err := os.WriteFile(f.Path+".new", append(fresh, old...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(fresh); err != nil {
		t.Fatal(err)
	}
	mustHold(t, f, fresh)
	mustBeAlone(t, f)
}

// A symbolic link in the place of the new file is not followed.
func TestLinkInTheWay(t *testing.T) {
	f := place(t)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.WriteFile(elsewhere, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, f.Path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(fresh); err == nil || !strings.Contains(err.Error(), ".new") {
		t.Errorf("it said %v", err)
	}
	mustHold(t, f, old)
	mustHold(t, File{Path: elsewhere}, old)
	if err := f.Clear(); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(fresh); err != nil {
		t.Error(err)
	}
	mustHold(t, f, fresh)
}
