package config

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/agnivade/levenshtein"
)

// didYouMean returns "; did you mean NAME?" with the nearest of names, or "" if none is near.
func didYouMean(name string, names []string) string {
	if n := nearest(name, names); n != "" {
		return "; did you mean " + n + "?"
	}
	return ""
}

// nearest returns the one of names that begins with name, or else the one that differs least, in at
// most about one letter of six; "" if there is none. Case does not count.
func nearest(name string, names []string) string {
	lower := strings.ToLower(name)
	best, least := "", 0
	begins := make([]string, 0, len(names))
	for _, n := range names {
		known := strings.ToLower(n)
		if len(lower) > 2*len(known) { // never near; bounds the work for hostile names
			continue
		}
		d := levenshtein.ComputeDistance(lower, known)
		if d <= 1+len(known)/6 && (best == "" || d < least) {
			best, least = n, d
		}
		if len(lower) >= 4 && strings.HasPrefix(known, lower) {
			begins = append(begins, n)
		}
	}
	if len(begins) == 1 {
		return begins[0]
	}
	return best
}

// keyNames returns all names under which settings are read: the keys', then the former ones.
func keyNames() []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	for _, k := range keys {
		if k.formerly != "" {
			names = append(names, k.formerly)
		}
	}
	return names
}

// short returns a name for a message, on one line.
func short(name string) string {
	if runes := []rune(name); len(runes) > maxShown {
		name = string(runes[:maxShown]) + "…"
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		quoted := strconv.Quote(name)
		name = quoted[1 : len(quoted)-1]
	}
	return name
}
