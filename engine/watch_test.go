package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"distributor/engine/problem"
)

// ward is a healthWatch whose check finds what a test says.
type ward struct {
	*healthWatch
	log  bytes.Buffer
	find atomic.Pointer[func() []string] // components
}

func newWard(t *testing.T) *ward { return newWardThat(t, func() []string { return nil }) }

// newWardThat finds something from the first check on.
func newWardThat(t *testing.T, find func() []string) *ward {
	w := &ward{}
	w.find.Store(&find)
	look := func(time.Time) (found []problem.Found) {
		for _, name := range (*w.find.Load())() {
			found = append(found, problem.Found{
				Details: problem.Problem{
					ID: "shelf_bent", Component: name, Problem: "inside", Remedy: "mend it",
				},
			})
		}
		return found
	}
	w.healthWatch = newHealthWatch([]check{{"shelf", look}}, time.Now(), slog.New(slog.NewTextHandler(&w.log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return w
}

func (w *ward) finds(components ...string) {
	find := func() []string { return components }
	w.find.Store(&find)
}

func (w *ward) said(words string) int { return strings.Count(w.log.String(), words) }

func (w *ward) shows(t *testing.T, since time.Time, components ...string) {
	t.Helper()
	var names []string
	problems, at := w.now()
	for _, k := range problems {
		names = append(names, k.Details.Component)
	}
	if fmt.Sprint(names) != fmt.Sprint(components) || !at.Equal(since) {
		t.Errorf("after %v: %v since %v, want %v since %v\n%s", time.Since(w.since), names, at, components, since, w.log.String())
	}
}

// A problem is said when it comes and when it is over, once each, with its cause; and since when.
func TestHealthTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := newWard(t)
		time.Sleep(checkEvery / 2)
		w.shows(t, began)
		w.finds("a")
		time.Sleep(checkEvery)
		red := began.Add(checkEvery)
		w.shows(t, red, "a")
		w.finds("b", "a")
		time.Sleep(10 * checkEvery)
		w.shows(t, red, "a", "b")
		if problems, _ := w.now(); !problems[0].since.Equal(red) || !problems[1].since.Equal(red.Add(checkEvery)) {
			t.Errorf("%+v", problems)
		}
		w.finds("b")
		time.Sleep(settleAfter + checkEvery)
		w.shows(t, red, "b")
		if w.said("health is red") != 2 || w.said("a health problem is over") != 1 || w.said("health is green") != 0 || w.said("level=WARN") != 2 {
			t.Error(w.log.String())
		}
		w.finds()
		time.Sleep(settleAfter - checkEvery)
		w.shows(t, red, "b")
		time.Sleep(2 * checkEvery)
		if problems, since := w.now(); len(problems) != 0 || time.Since(since) > 2*checkEvery {
			t.Errorf("%+v since %v", problems, since)
		}
		if w.said("health is green again") != 1 || w.said("component=b problem=inside lasted=") != 1 || w.said("problem=inside remedy=\"mend it\"") != 2 {
			t.Error(w.log.String())
		}
	})
}

// Problems of one kind that come together are one line of the log, and so is their end.
func TestHealthProblemsOfOneKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := newWard(t)
		time.Sleep(checkEvery / 2)
		w.finds("a", "b", "c")
		time.Sleep(checkEvery)
		w.shows(t, began.Add(checkEvery), "a", "b", "c")
		w.finds()
		time.Sleep(settleAfter + checkEvery)
		synctest.Wait()
		for _, line := range []string{
			`msg="health is red" id=shelf_bent component="a, b, c" problem=inside remedy="mend it"`,
			`msg="health is green again" id=shelf_bent component="a, b, c" problem=inside lasted=`,
		} {
			if w.said(line) != 1 || w.said("level=") != 2 {
				t.Errorf("not %s alone:\n%s", line, &w.log)
			}
		}
	})
}

// A problem that the process which handed over had is the same problem, since the same time: it is
// no news, and its end is told, whenever that is.
func TestHealthOverAHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t)
		old := time.Now().Add(-time.Hour)
		time.Sleep(checkEvery / 2)
		w.mu.Lock()
		w.inherited = map[string]time.Time{"stays": old, "goes": old, "late": old}
		w.mu.Unlock()
		w.finds("stays", "new")
		time.Sleep(checkEvery)
		w.shows(t, old, "stays", "new")
		problems, _ := w.now()
		if !problems[0].since.Equal(old) || problems[1].since.Equal(old) {
			t.Errorf("%+v", problems)
		}
		time.Sleep(checkEvery)
		w.finds("stays", "new", "late")
		time.Sleep(inheritWithin + checkEvery)
		w.shows(t, old, "stays", "new", "late")
		w.finds()
		time.Sleep(settleAfter + checkEvery)
		synctest.Wait()
		for _, line := range []string{
			`msg="health is red" id=shelf_bent component=new`,
			`level=INFO msg="health is still red after the handover" id=shelf_bent component=stays`,
			`level=INFO msg="health is still red after the handover" id=shelf_bent component=late`,
			`msg="health problems of before the handover are over" component=goes`,
			`msg="health is green again" id=shelf_bent component="stays, new, late" problem=inside lasted=1h0m`,
		} {
			if w.said(line) != 1 || w.said("level=") != 5 {
				t.Errorf("not %s once:\n%s", line, &w.log)
			}
		}
	})
}

// What comes and goes all the time is one problem, as long as it never stays away.
func TestHealthDoesNotFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := newWard(t)
		n := 0
		find := func() []string {
			if n++; n%3 == 0 {
				return []string{"a"}
			}
			return nil
		}
		w.find.Store(&find)
		time.Sleep(checkEvery*2 + checkEvery/2)
		for range 100 {
			w.shows(t, began.Add(2*checkEvery), "a")
			time.Sleep(checkEvery)
		}
		if w.said("health is") != 1 || w.said("is over") != 0 {
			t.Error(w.log.String())
		}
	})
}

// A check that hangs is a problem itself, also if it is the first; and no more hang behind it.
func TestHealthCheckHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, looks := make(chan struct{}), atomic.Int64{}
		w := newWardThat(t, func() []string { looks.Add(1); <-release; return nil })
		time.Sleep(checkWithin + checkEvery/2)
		<-w.first
		if problems, _ := w.now(); len(problems) != 1 || problems[0].Details.Component != "health" || !strings.Contains(problems[0].Details.Problem, "shelf") || looks.Load() != 1 {
			t.Errorf("%+v after %d looks", problems, looks.Load())
		}
		close(release)
		time.Sleep(settleAfter + 2*checkEvery)
		if problems, _ := w.now(); len(problems) != 0 || w.said("health is green again") != 1 {
			t.Errorf("%+v %s", problems, w.log.String())
		}
	})
}

// One thing that is saved says nothing of another, and each is said when it turns.
func TestSaved(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	a, b := outcome{file: "a.json"}, outcome{file: "b.json"}
	full := &fs.PathError{Op: "open", Path: "/x/a.json.new", Err: syscall.ENOSPC}
	for range 5 {
		a.note(full, log)
		b.note(nil, log)
		if !errors.Is(a.trouble(), syscall.ENOSPC) || b.trouble() != nil {
			t.Errorf("%v %v", a.trouble(), b.trouble())
		}
	}
	a.note(nil, log)
	a.note(nil, log)
	if got := out.String(); strings.Count(got, "progress not saved") != 1 || strings.Count(got, "saved again") != 1 || strings.Contains(got, "b.json") || a.trouble() != nil {
		t.Error(got)
	}
}
