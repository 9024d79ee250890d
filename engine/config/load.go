package config

import (
	"errors"
	"fmt"
	"strings"
)

// DefaultFile is read if no other file is named. It may be missing.
const DefaultFile = "distributor-config.json"

// ErrHelp is returned by Load if the flags ask for help (--help or -h). WriteHelp writes that help.
var ErrHelp = errors.New("config: help asked for")

// Source is the source of the settings. A reload uses the same Source.
type Source struct {
	Path string   // the file; "" is DefaultFile. --config in Args replaces it
	Env  []string // NAME=value, as os.Environ returns it
	Args []string // the flags, without the program's name and command
}

// A Warning is something that does not prevent the start, but that the operator may not have meant.
type Warning struct {
	Key  string // the key or name that it is about, "" if none
	Text string // the whole message
}

func (w Warning) String() string { return w.Text }

// Load reads all layers. The error joins all problems found, one line each. With an error there is
// no Config, but the warnings are returned.
func Load(src Source) (*Config, []Warning, error) {
	l := &loader{cfg: Default(), origin: map[string]string{}, bad: map[string]bool{}}
	flags, err := l.scanFlags(src.Args)
	if err != nil {
		return nil, nil, err
	}
	path := src.Path
	if flags.config != "" {
		path = flags.config
	}
	l.file(path)
	l.env(src.Env)
	for _, f := range flags.settings {
		l.flag(f)
	}
	l.checkTogether()
	if l.moreWarnings > 0 {
		more := fmt.Sprintf("… and %d more warnings", l.moreWarnings)
		l.warnings = append(l.warnings, Warning{Text: more})
	}
	if l.moreErrs > 0 {
		l.errs = append(l.errs, fmt.Errorf("… and %d more problems", l.moreErrs))
	}
	if err := errors.Join(l.errs...); err != nil {
		return nil, l.warnings, err
	}
	return l.cfg, l.warnings, nil
}

// maxReported bounds how many problems, and how many warnings, one Load lists. The rest is counted.
const maxReported = 50

// loader is the state of one Load: the settings so far, and their problems.
type loader struct {
	cfg    *Config
	origin map[string]string // key → place of its value; absent: default
	bad    map[string]bool   // keys with a problem: their values are not checked further

	errs     []error
	moreErrs int // problems beyond maxReported

	warnings     []Warning
	moreWarnings int
}

func (l *loader) fail(format string, args ...any) {
	if len(l.errs) == maxReported {
		l.moreErrs++
		return
	}
	l.errs = append(l.errs, fmt.Errorf(format, args...))
}

func (l *loader) warn(name, format string, args ...any) {
	if len(l.warnings) == maxReported {
		l.moreWarnings++
		return
	}
	l.warnings = append(l.warnings, Warning{name, fmt.Sprintf(format, args...)})
}

// wrong reports a value that is not as expected. place is where it was found, name the key or a
// member of it.
func (l *loader) wrong(k *key, place, name, found, expected string) {
	l.bad[k.name] = true
	if k.secret() { // even a short value may be a part of the secret
		switch {
		case found[0] == '"':
			found = "text of the wrong form"
		case strings.ContainsRune("-0123456789", rune(found[0])):
			found = "a number"
		}
	}
	if !strings.HasSuffix(place, name) { // a variable or flag has the name already
		place += ": " + name
	}
	l.fail("%s: found %s, expected %s", place, found, expected)
}

// secret tells whether the value must not be shown.
func (k *key) secret() bool {
	_, ok := k.def.(Secret)
	return ok
}

// place returns where a key's value was found, for messages about several keys.
func (l *loader) place(name string) string {
	if o, ok := l.origin[name]; ok {
		return o
	}
	return "default"
}

// setText applies a value that was given as text, at place (in the environment or the flags).
func (l *loader) setText(k *key, place, s string) {
	ok := false
	switch k.kind() {
	case kindText:
		ok = k.setText(l.cfg, s)
	case kindNumber:
		ok = k.setNumber(l.cfg, s)
	case kindBoolean:
		is := strings.EqualFold(s, "true")
		if ok = is || strings.EqualFold(s, "false"); ok {
			k.set(l.cfg, is)
		}
	default:
		panic("config: " + k.name + " cannot be read from text")
	}
	if !ok {
		l.wrong(k, place, k.name, quote(s), k.want())
		return
	}
	l.origin[k.name] = place
}

// warnFormerly warns that a key was given by its former name.
func (l *loader) warnFormerly(k *key, place string) {
	l.warn(k.name, "%s: %s is now called %s; rename it, because a later version will not read it",
		place, k.formerly, k.name)
}
