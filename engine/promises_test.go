package engine_test

import (
	"os"
	"path/filepath"
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
	there := make(map[string]map[string]bool) // by package
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| promise |") || strings.HasPrefix(line, "| --- |") {
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
			if there[m[1]] == nil {
				there[m[1]] = testsIn(t, filepath.Join("..", filepath.FromSlash(m[1])))
			}
			for name := range strings.FieldsSeq(m[2]) {
				if !there[m[1]][name] {
					t.Errorf("%q: %s has no %s", cells[0], m[1], name)
				}
			}
		}
	}
	if rows < 40 {
		t.Errorf("only %d promises were found", rows)
	}
}

func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(\w+ \*testing\.[TF]\)`).FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
	}
	return names
}
