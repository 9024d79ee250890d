package datalog

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestTrouble checks that an error that stops reading is reported with its path, and disappears
// when the cause is gone.
func TestTrouble(t *testing.T) {
	for _, c := range []struct {
		name       string
		path       string
		err        error
		make, mend func(r *rig)
	}{
		{"a log behind a link that makes a circle", log2, syscall.ELOOP,
			func(r *rig) { r.must(os.Symlink(log2, r.path(log2))) },
			func(r *rig) { r.remove(log2); r.put(log2, "b\n") }},
		{"a pointer that is a directory", activeLog, syscall.EISDIR,
			func(r *rig) {
				r.remove(activeLog)
				r.must(os.Mkdir(r.path(activeLog), 0o755))
				r.put(log2, "b\n")
			},
			func(r *rig) { r.remove(activeLog); r.point(2) }},
		{"a pointer with a byte order mark", activeLog, nil,
			func(r *rig) { r.put(activeLog, "\ufeff"+log2); r.put(log2, "b\n") },
			func(r *rig) { r.point(2) }},
		{"a pointer that is empty", activeLog, nil,
			func(r *rig) { r.put(activeLog, ""); r.put(log2, "b\n") },
			func(r *rig) { r.point(2) }},
		{"a pointer that is gone", activeLog, fs.ErrNotExist,
			func(r *rig) { r.remove(activeLog); r.put(log2, "b\n") },
			func(r *rig) { r.point(2) }},
		{"a log that is not there", log2, nil,
			func(r *rig) {},
			func(r *rig) { r.put(log2, "b\n") }},
		{"a directory that is a file", ".", syscall.ENOTDIR,
			func(r *rig) {
				r.must(os.Rename(r.dir, r.dir+".aside"))
				r.must(os.WriteFile(r.dir, nil, 0o644))
			},
			func(r *rig) {
				r.must(os.Remove(r.dir))
				r.must(os.Rename(r.dir+".aside", r.dir))
				r.put(log2, "b\n")
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRunningRig(t)
			r.append(log1, "a\n"+trailer)
			r.want("a")
			if s := r.f.Stats(); s.Trouble.Err != nil {
				t.Fatalf("%+v", s.Trouble)
			}
			r.point(2)
			c.make(r)
			r.want()
			r.clock = r.clock.Add(waitsLong)
			r.want()
			s := r.f.Stats().Trouble
			if s.Err == nil || c.err != nil && !errors.Is(s.Err, c.err) {
				t.Errorf("%v, want %v", s.Err, c.err)
			}
			if want := r.path(c.path); !strings.HasPrefix(s.Path, want) ||
				r.clock.Sub(s.Since) != waitsLong {
				t.Errorf("%s since %v, want %s since %v", s.Path, s.Since, want, r.clock.Add(-waitsLong))
			}
			c.mend(r)
			r.want("b")
			if s := r.f.Stats().Trouble; s.Err != nil {
				t.Errorf("still %+v", s)
			}
			r.wantGaps(0, "")
		})
	}
	t.Run("a log without its trailer", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, "a\n")
		r.put(log2, "b\n")
		r.point(2)
		r.want("a")
		if s := r.f.Stats().Trouble; s.Err == nil || s.Path != r.path(log1) {
			t.Errorf("%+v", s)
		}
		r.waitWant("b")
		if s := r.f.Stats().Trouble; s.Err != nil {
			t.Errorf("%+v", s)
		}
	})
	t.Run("no logs yet", func(t *testing.T) {
		r := newRig(t)
		r.mkdir()
		r.start(Position{})
		r.waitWant()
		if s := r.f.Stats().Trouble; s.Err != nil {
			t.Errorf("%+v", s)
		}
	})
}
