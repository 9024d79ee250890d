package config

import (
	"os"
	"strings"
	"testing"
)

const (
	readme        = "../../README.md"
	settingsBegin = "<!-- settings: this table is checked by a test; `make settings` writes it -->\n"
	settingsEnd   = "<!-- /settings -->"
)

// The README's table of settings is the one that the code has.
func TestReadmeTable(t *testing.T) {
	b, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), settingsBegin)
	_, after, ok2 := strings.Cut(rest, settingsEnd)
	if !ok || !ok2 {
		t.Fatal("the README has no place for the settings")
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
		t.Fatal("the README's table of settings is not the code's: make settings")
	}
	if err := os.WriteFile(readme, []byte(want.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
