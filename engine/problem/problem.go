// Package problem is the table of what can be wrong with a running distributor (table.go): of each
// problem an id, how bad it is, what is wrong, and what the operator can do.
//
// Everything that tells of health takes its words from here: /is-healthy, the status and its page,
// the lines of the log, the metric distributor_problem, and the tables of docs/OPERATIONS.md, which
// `go test ./engine/problem -update` writes. Messages of a failed start, and package doctor, take
// the remedies of what they find as well. The checks of package engine find the problems, and keep
// since when each is there. What doctor alone can find, such as a wrong key, has its remedy beside
// the check in package doctor.
//
// A new problem is an entry of table.go and the check that finds it.
package problem

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Level says how bad a problem is.
type Level string

const (
	// Critical is the level of a problem that stops distribution, of one stream at least, or hides
	// whether it goes on.
	Critical Level = "critical"
	// Warning is the level of a problem beside which distribution goes on.
	Warning Level = "warning"
)

// Entry is a row of the table.
type Entry struct {
	ID       string // never changes: a label of the metric, a member of /is-healthy
	Level    Level
	What     string // what is wrong
	Remedies Remedies
	Then     string // what the distributor does by itself; follows the remedy
}

// Remedies says what helps, by the cause.
type Remedies struct {
	Of string   // what has the error; the operator is told the path of it
	By []Remedy // the last one has no causes: it helps whatever the cause is
}

// Remedy helps if an error is one of the causes.
type Remedy struct {
	Causes []error
	Text   string
}

// For returns what helps if err is the cause. It names path, unless path is "".
func (r Remedies) For(err error, path string) string {
	i := slices.IndexFunc(r.By, func(one Remedy) bool {
		is := func(cause error) bool { return errors.Is(err, cause) }
		return one.Causes == nil || slices.ContainsFunc(one.Causes, is)
	})
	text := r.By[i].Text
	if path != "" && r.Of != "" {
		text = strings.Replace(text, r.Of, r.Of+" ("+path+")", 1)
	}
	return text
}

// Remedy returns what helps if err is the cause, and what happens by itself.
func (e *Entry) Remedy(err error, path string) string {
	text := e.Remedies.For(err, path)
	if e.Then != "" {
		text += "; " + e.Then
	}
	return text
}

// Problem is a member of /is-healthy and of the status.
type Problem struct {
	ID        string    `json:"id"`
	Level     Level     `json:"level"`
	Component string    `json:"component"` // which part has it: "frame log", "database receipts", …
	Problem   string    `json:"problem"`   // what is wrong
	Remedy    string    `json:"remedy"`    // what the operator can do
	Since     time.Time `json:"since"`     // when it was first found
}

// Found is a problem that is there now, in two wordings, both without Since.
type Found struct {
	Details Problem // for the operator: the admin listener, the log
	Public  Problem // for everybody: no paths, no addresses
}

// Found returns the problem of a component, caused by err at path. A component has one problem at
// a time.
func (e *Entry) Found(component string, err error, path string) Found {
	in := func(what, remedy string) Problem {
		return Problem{
			ID: e.ID, Level: e.Level, Component: component, Problem: e.What + what, Remedy: remedy,
		}
	}
	return Found{
		Details: in(": "+err.Error(), e.Remedy(err, path)),
		Public:  in(cause(err), e.Remedy(err, "")),
	}
}

// Said is a cause that everybody may know.
type Said string

func (s Said) Error() string { return string(s) }

// cause is what everybody may know of an error: the kernel's words, without the paths around them,
// or what was Said.
func cause(err error) string {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return ": " + errno.Error()
	}
	if said := Said(""); errors.As(err, &said) {
		return ": " + said.Error()
	}
	return ""
}
