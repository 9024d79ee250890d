package page

import (
	"os/exec"
	"regexp"
	"testing"
)

// TestPureFunctions runs tests/*.test.js: rates, history, judgement, formatting.
func TestPureFunctions(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed: the tests of the page's pure functions (node --test in this folder) were not run")
	}
	cmd := exec.Command(node, "--test", "--test-reporter=tap")
	cmd.Env = append(cmd.Environ(), "TZ=Europe/Berlin")
	out, err := cmd.CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^# pass [1-9]`).Match(out) {
		t.Errorf("node --test: %v\n%s", err, out)
	}
}
