package engine

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"distributor/engine/problem"
)

const (
	// checkEvery is how often the checks are made.
	checkEvery = time.Second
	// settleAfter is how long a problem has to be away before it is over. One that comes back
	// sooner has never been away, so that health does not flap.
	settleAfter = 3 * time.Second
	// checkWithin is how long the checks may take, all together, before that is a problem itself: a
	// directory on a file system that hangs keeps whoever looks at it.
	checkWithin = 10 * time.Second
	// leaveAfter is how long the end waits for checks that are under way.
	leaveAfter = 3 * time.Second
	// firstWithin is how long a health check waits for the first look of all.
	firstWithin = 5 * time.Second
)

// inheritWithin is how long after its first look a process that has taken over finds problems of
// the one before it to be the same problems.
const inheritWithin = checkWithin

// check is one part's view. name is said if it does not come back.
type check struct {
	name string
	find func(now time.Time) []problem.Found
}

// known is a problem that has been found.
type known struct {
	problem.Found
	since time.Time // when it was first found
	last  time.Time // and last
}

// healthWatch makes the checks, once a second, whether anybody asks or not. It keeps since when
// each problem has been there, and logs each that comes or goes. Asking costs the parts nothing.
type healthWatch struct {
	checks []check
	log    *slog.Logger
	first  chan struct{} // closed when the checks have been made once

	mu       sync.Mutex // guards what follows
	problems []known    // in the order of their coming
	since    time.Time  // when health last turned; at first the start
	checking string     // the check under way
	looked   time.Time  // when the checks were first made
	// inherited are the problems of the process that handed over, by component, since when; without
	// those that were found again.
	inherited map[string]time.Time
}

func newHealthWatch(checks []check, started time.Time, log *slog.Logger) *healthWatch {
	return &healthWatch{checks: checks, log: log, first: make(chan struct{}), since: started}
}

// run makes the checks until ctx ends. It does not wait for one that hangs.
func (h *healthWatch) run(ctx context.Context) {
	t := time.NewTicker(checkEvery)
	defer t.Stop()
	looked := make(chan []problem.Found, 1)
	var last []problem.Found
	var began time.Time // of the look under way; zero: there is none
	for now := time.Now(); ; {
		if began.IsZero() {
			began = now
			go func(at time.Time) { looked <- h.look(at) }(now)
		}
		select {
		case <-ctx.Done():
			if !began.IsZero() {
				select {
				case <-looked: // nothing is asked any more
				case <-time.After(leaveAfter):
				}
			}
			return
		case last = <-looked:
			began = time.Time{}
			h.settle(last, time.Now())
			select {
			case <-ctx.Done():
				return
			case now = <-t.C:
			}
		case now = <-t.C:
			if now.Sub(began) >= checkWithin {
				h.settle(append(slices.Clip(last), h.hung()), now)
			}
		}
	}
}

// look makes all checks, one after the other.
func (h *healthWatch) look(now time.Time) (found []problem.Found) {
	for _, c := range h.checks {
		h.mu.Lock()
		h.checking = c.name
		h.mu.Unlock()
		found = append(found, c.find(now)...)
	}
	return found
}

// hung is the problem that a check does not come back.
func (h *healthWatch) hung() problem.Found {
	h.mu.Lock()
	defer h.mu.Unlock()
	return problem.HealthCheckHangs.Found("health", problem.Said("looking at the "+h.checking), "")
}

// settle takes what was found, and logs what has changed: of each kind of problems one line.
func (h *healthWatch) settle(found []problem.Found, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.looked.IsZero() {
		h.looked = now
		close(h.first)
	}
	green := len(h.problems) == 0
	var come, still []known
	for _, one := range found {
		same := func(k known) bool { return k.Details.Component == one.Details.Component }
		if i := slices.IndexFunc(h.problems, same); i >= 0 {
			h.problems[i].Found, h.problems[i].last = one, now
			continue
		}
		k := known{one, now, now}
		if since, inherited := h.inherited[one.Details.Component]; inherited {
			k.since = since
			delete(h.inherited, one.Details.Component)
			still = append(still, k)
		} else {
			come = append(come, k)
		}
		h.problems = append(h.problems, k)
	}
	for _, of := range byKind(come) {
		h.log.Warn("health is red", "id", of[0].Details.ID, "component", of.components(),
			"problem", of.problems(), "remedy", of.remedies())
	}
	for _, of := range byKind(still) {
		h.log.Info("health is still red after the handover", "id", of[0].Details.ID,
			"component", of.components(), "problem", of.problems(), "remedy", of.remedies(),
			"since", second(of[0].since))
	}
	var over kind
	h.problems = slices.DeleteFunc(h.problems, func(k known) bool {
		gone := now.Sub(k.last) >= settleAfter
		if gone {
			over = append(over, k)
		}
		return gone
	})
	kinds := byKind(over)
	for i, of := range kinds {
		message := "a health problem is over"
		if len(h.problems) == 0 && i == len(kinds)-1 {
			message = "health is green again"
		}
		h.log.Info(message, "id", of[0].Details.ID, "component", of.components(),
			"problem", of.problems(), "lasted", of[0].last.Sub(of[0].since).Round(time.Second))
	}
	if now.Sub(h.looked) >= inheritWithin && len(h.inherited) > 0 {
		h.log.Info("health problems of before the handover are over", "component",
			strings.Join(slices.Sorted(maps.Keys(h.inherited)), ", "))
		h.inherited = nil
	}
	if green != (len(h.problems) == 0) {
		h.since = now
	}
	for _, k := range h.problems { // an inherited one is older than we are
		if k.since.Before(h.since) {
			h.since = k.since
		}
	}
}

// kind is problems of one entry of the table, in the order of their coming.
type kind []known

func byKind(problems []known) (kinds []kind) {
	for _, k := range problems {
		i := slices.IndexFunc(kinds, func(of kind) bool { return of[0].Details.ID == k.Details.ID })
		if i < 0 {
			i, kinds = len(kinds), append(kinds, nil)
		}
		kinds[i] = append(kinds[i], k)
	}
	return kinds
}

func (of kind) components() string {
	return of.join(", ", func(k known) string { return k.Details.Component })
}

func (of kind) problems() string {
	return of.join("; ", func(k known) string { return k.Details.Problem })
}

func (of kind) remedies() string {
	return of.join("; ", func(k known) string { return k.Details.Remedy })
}

// join lists a text of each problem, once if it is the same for several.
func (of kind) join(by string, text func(known) string) string {
	var texts []string
	for _, k := range of {
		if one := text(k); !slices.Contains(texts, one) {
			texts = append(texts, one)
		}
	}
	return strings.Join(texts, by)
}

// sinceWhen has the problems by component, for the process that takes over.
func (h *healthWatch) sinceWhen() map[string]time.Time {
	problems, _ := h.now()
	since := make(map[string]time.Time, len(problems))
	for _, k := range problems {
		since[k.Details.Component] = k.since
	}
	return since
}

// now returns the problems, and since when health is what it is.
func (h *healthWatch) now() ([]known, time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.problems), h.since
}

// public answers /is-healthy on the public port.
func (h *healthWatch) public() []problem.Problem {
	var found []known
	select {
	case <-h.first:
		found, _ = h.now()
	case <-time.After(firstWithin):
		_, since := h.now()
		found = []known{{h.hung(), since, since}}
	}
	return inWords(found, func(k known) problem.Problem { return k.Public })
}

// detailed is what the operator sees.
func (h *healthWatch) detailed() ([]problem.Problem, time.Time) {
	problems, since := h.now()
	return inWords(problems, func(k known) problem.Problem { return k.Details }), second(since)
}

func inWords(problems []known, words func(known) problem.Problem) []problem.Problem {
	out := make([]problem.Problem, len(problems))
	for i, k := range problems {
		out[i] = words(k)
		out[i].Since = second(k.since)
	}
	return out
}

// text answers /is-healthy on the admin listener.
func (h *healthWatch) text() (healthy bool, text []byte) {
	problems, since := h.detailed()
	text, err := json.Marshal(struct {
		Healthy  bool              `json:"healthy"`
		Since    time.Time         `json:"since"`
		Problems []problem.Problem `json:"problems"`
	}{len(problems) == 0, since, problems})
	if err != nil {
		panic(err) // texts and times always marshal
	}
	return len(problems) == 0, text
}

func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
