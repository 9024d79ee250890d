package framelog

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestDocument checks that docs/FRAMELOG.md has every field of the format with its offset and size.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/FRAMELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (\d+) \| (\d+) \| (\w+) \|`)
	for name, of := range map[string]reflect.Type{
		"head": reflect.TypeFor[headPage](), "lineage": reflect.TypeFor[lineage](),
		"index": reflect.TypeFor[indexHeader](), "source": reflect.TypeFor[sourceAt](),
		"entry": reflect.TypeFor[entry](),
	} {
		_, rest, _ := strings.Cut(string(text), "<!-- layout "+name+" -->")
		table, _, _ := strings.Cut(rest, "<!-- /layout -->")
		var got, want []string
		for _, m := range row.FindAllStringSubmatch(table, -1) {
			got = append(got, fmt.Sprintf("%s: %s bytes at %s", m[3], m[2], m[1]))
		}
		for f := range of.Fields() {
			if f.Name != "_" {
				field := fmt.Sprintf("%s: %d bytes at %d", f.Name, f.Type.Size(), f.Offset)
				want = append(want, field)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the document has\n%s\nthe code\n%s",
				name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	version := fmt.Sprintf("| format version, %d |", formatVersion)
	if n := strings.Count(string(text), version); n != 2 {
		t.Errorf("format version %d stands in %d tables, want head and index", formatVersion, n)
	}
	current := fmt.Sprintf("(?s)## Versions\n.*\n\\| %d \\| ", formatVersion)
	if !regexp.MustCompile(current).Match(text) {
		t.Errorf("the table of versions lacks %d", formatVersion)
	}
}
