package enginetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Mutant is a deliberate bug: a small edit of the product that the judge must
// not let pass. Its file is a patch whose first line says what it breaks. The
// line numbers in it mean nothing: the text that a hunk takes out, with its
// context, must stand in the file exactly once.
type Mutant struct {
	Name  string
	Why   string
	edits []edit
}

type edit struct {
	path     string // within the module
	old, new string
}

// LoadMutants reads all patches of a directory.
func LoadMutants(dir string) ([]Mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	var out []Mutant
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m := Mutant{Name: strings.TrimSuffix(filepath.Base(file), ".patch")}
		if err := m.parse(string(text)); err != nil {
			return nil, fmt.Errorf("enginetest: %s: %w", file, err)
		}
		out = append(out, m)
	}
	return out, nil
}

func (m *Mutant) parse(text string) error {
	path := ""
	for line := range strings.Lines(text) {
		rest := line[1:]
		switch {
		case line[0] == '#':
			m.Why = strings.TrimSpace(m.Why + rest)
		case strings.HasPrefix(line, "--- "):
		case strings.HasPrefix(line, "+++ b/"):
			path = strings.TrimSpace(strings.TrimPrefix(line, "+++ b/"))
		case strings.HasPrefix(line, "@@"):
			m.edits = append(m.edits, edit{path: path})
		case len(m.edits) == 0:
			return fmt.Errorf("a line before the first hunk: %q", line)
		default:
			e := &m.edits[len(m.edits)-1]
			if line[0] != '+' {
				e.old += rest
			}
			if line[0] != '-' {
				e.new += rest
			}
		}
	}
	if m.Why == "" || len(m.edits) == 0 {
		return fmt.Errorf("it does not say what it breaks, or breaks nothing")
	}
	return nil
}

// Apply makes the edits in a copy of the module.
func (m *Mutant) Apply(root string) error {
	for _, e := range m.edits {
		path := filepath.Join(root, e.path)
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("enginetest: mutant %s: %w", m.Name, err)
		}
		if n := strings.Count(string(text), e.old); n != 1 {
			return fmt.Errorf("enginetest: mutant %s: what it is to replace stands %d times in %s:\n%s", m.Name, n, e.path, e.old)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o644); err != nil {
			return fmt.Errorf("enginetest: mutant %s: %w", m.Name, err)
		}
	}
	return nil
}

// sources are what the binary is made of.
var sources = []string{"go.mod", "go.sum", "cmd", "engine", "mmaplog", "wsproto"}

// copySources copies the module, without its tests.
func copySources(from, to string) error {
	for _, name := range sources {
		err := filepath.WalkDir(filepath.Join(from, name), func(path string, d os.DirEntry, err error) error {
			if err != nil || strings.HasSuffix(path, "_test.go") {
				return err
			}
			within, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			if d.IsDir() {
				return os.MkdirAll(filepath.Join(to, within), 0o755)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(to, within), text, 0o644)
		})
		if err != nil {
			return fmt.Errorf("enginetest: copy the module: %w", err)
		}
	}
	return nil
}
