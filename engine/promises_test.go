package engine_test

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// Every line of docs/PROMISES.md names tests, and all of them are there.
func TestPromises(t *testing.T) {
	text, err := os.ReadFile("../docs/PROMISES.md")
	if err != nil {
		t.Fatal(err)
	}
	group := regexp.MustCompile("^`([a-z/]+)`((?: (?:Test|Fuzz)[A-Za-z0-9_]+)+)$")
	declared := declaredTests(t)
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| promise |") ||
			strings.HasPrefix(line, "| --- |") {
			continue
		}
		if rows++; len(cells) != 2 {
			t.Errorf("no promise with its tests: %s", line)
			continue
		}
		for named := range strings.SplitSeq(strings.TrimSpace(cells[1]), "; ") {
			m := group.FindStringSubmatch(named)
			if m == nil {
				t.Errorf("%q: %q is no package with its tests", cells[0], named)
				continue
			}
			for name := range strings.FieldsSeq(m[2]) {
				if !declared[path.Base(m[1])+"."+name] {
					t.Errorf("%q: %s has no %s", cells[0], m[1], name)
				}
			}
		}
	}
	if rows < 40 {
		t.Errorf("only %d promises were found", rows)
	}
}
