package enginetest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Mutant is a deliberate bug: a small edit of the product that the judge must find. If no fault of
// the judge can find it, "# test: <package> <name>" names a test that must. Its file is a patch.
// The first line says what it breaks, and "# seeds: <seed>..." lists scenarios that are known to
// find it. Line numbers are ignored: the removed text with its context must occur exactly once in
// the file.
type Mutant struct {
	Name    string
	Why     string
	Package string   // of Test, as "./engine"
	Test    string   // name of the test that finds it; "": the judge finds it
	Seeds   []uint64 // of the scenarios that are tried first
	edits   []edit
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
		case strings.HasPrefix(line, "# test: "):
			if _, err := fmt.Sscan(strings.TrimPrefix(line, "# test: "), &m.Package, &m.Test); err != nil {
				return fmt.Errorf("invalid \"# test:\" line: %w", err)
			}
		case strings.HasPrefix(line, "# seeds: "):
			for word := range strings.FieldsSeq(strings.TrimPrefix(line, "# seeds: ")) {
				seed, err := strconv.ParseUint(word, 10, 64)
				if err != nil {
					return fmt.Errorf("invalid \"# seeds:\" line: %w", err)
				}
				m.Seeds = append(m.Seeds, seed)
			}
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
		return fmt.Errorf("no description or no hunk")
	}
	return nil
}

// Apply writes changed copies of the files of the module at root into dir. It returns the path of
// each copy by that of its original, as "go build -overlay" takes it.
func (m *Mutant) Apply(root, dir string) (replace map[string]string, err error) {
	replace = make(map[string]string)
	for _, e := range m.edits {
		path := filepath.Join(root, e.path)
		from, changed := replace[path]
		if !changed {
			from = path
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return nil, fmt.Errorf("enginetest: mutant %s: %w", m.Name, err)
		}
		if n := strings.Count(string(text), e.old); n != 1 {
			return nil, fmt.Errorf("enginetest: mutant %s: the text to replace occurs %d times in %s:\n%s",
				m.Name, n, e.path, e.old)
		}
		replace[path] = filepath.Join(dir, filepath.Base(path))
		mutated := strings.Replace(string(text), e.old, e.new, 1)
		if err := os.WriteFile(replace[path], []byte(mutated), 0o644); err != nil {
			return nil, fmt.Errorf("enginetest: mutant %s: %w", m.Name, err)
		}
	}
	return replace, nil
}

// overlay writes the changed files and the file for "go build -overlay" into dir.
func (m *Mutant) overlay(root, dir string) (file string, err error) {
	replace, err := m.Apply(root, dir)
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("enginetest: mutant %s: %w", m.Name, err)
	}
	file = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o644); err != nil {
		return "", fmt.Errorf("enginetest: mutant %s: %w", m.Name, err)
	}
	return file, nil
}

// RunTest runs the test that must find the bug, and reports whether it fails.
func (m *Mutant) RunTest(root, dir string) (found bool, err error) {
	file, err := m.overlay(root, dir)
	if err != nil {
		return false, err
	}
	test := exec.Command("go", "test", "-overlay", file, "-count=1",
		"-run", "^"+m.Test+"$", m.Package)
	test.Dir = root
	out, err := test.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "--- FAIL: "+m.Test) {
		return false, fmt.Errorf("enginetest: mutant %s: %s does not run: %w\n%s",
			m.Name, m.Test, err, out)
	}
	return err != nil, nil
}

// Build compiles the binary with the bug into dir. The module stays unchanged.
func (m *Mutant) Build(root, dir string) (binary string, err error) {
	file, err := m.overlay(root, dir)
	if err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "distributor")
	build := exec.Command("go", "build", "-overlay", file, "-o", binary, "./cmd/distributor")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("enginetest: mutant %s does not build: %w\n%s", m.Name, err, out)
	}
	return binary, nil
}
