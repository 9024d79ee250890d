package engine_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Documents that name tests as what holds their words.
var docsWithTests = []string{"../docs/THREATS.md"}

var (
	// namedTest is `package.TestName`, the package by the last part of its path, or `TestName`.
	namedTest    = regexp.MustCompile("`(?:([a-z]+)\\.)?((?:Test|Fuzz)[A-Z]\\w*)`")
	declaredTest = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z]\w*)\(`)
)

func TestDocsNameTestsThatExist(t *testing.T) {
	declared := declaredTests(t)
	for _, path := range docsWithTests {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		named := namedTest.FindAllStringSubmatch(string(text), -1)
		if len(named) == 0 {
			t.Errorf("%s names no test", path)
		}
		for _, n := range named {
			if !declared[n[1]+"."+n[2]] {
				t.Errorf("%s names %s: there is no such test", path, n[0])
			}
		}
	}
}

// declaredTests are all test functions of the module, as "package.Name" and as ".Name".
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	err := filepath.WalkDir("..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, d := range declaredTest.FindAllStringSubmatch(string(text), -1) {
			all[filepath.Base(absolute(t, filepath.Dir(path)))+"."+d[1]], all["."+d[1]] = true, true
		}
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatal(err, len(all))
	}
	return all
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}
