package config

import (
	"os"
	"strings"
	"testing"
)

const (
	settingsFile  = "../../docs/CONFIGURATION.md"
	settingsBegin = "<!-- settings: these tables are checked by a test; `make settings` writes them -->\n"
	settingsEnd   = "<!-- /settings -->"
)

// docs/CONFIGURATION.md has the settings of the code.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile(settingsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), settingsBegin)
	_, after, ok2 := strings.Cut(rest, settingsEnd)
	if !ok || !ok2 {
		t.Fatal("docs/CONFIGURATION.md has no place for the settings")
	}
	var want strings.Builder
	want.WriteString(before + settingsBegin)
	if err := WriteMarkdown(&want); err != nil {
		t.Fatal(err)
	}
	want.WriteString(settingsEnd + after)
	if want.String() == string(b) {
		return
	}
	if !*update {
		t.Fatal("the settings of docs/CONFIGURATION.md are not the code's: make settings")
	}
	if err := os.WriteFile(settingsFile, []byte(want.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
