package engine_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// allowed says which of our packages each package may import. Arrows point
// down only: the encoder and the worker never see each other, they meet in the
// frame log; nothing below the engine knows that there are processes.
var allowed = map[string][]string{
	"mmaplog/datalog":                {},
	"mmaplog/crashpoint":             {},
	"mmaplog/bell":                   {},
	"mmaplog/framelog":               {"mmaplog/crashpoint"},
	"mmaplog/compressedlog":          {"mmaplog/framelog"},
	"wsproto/shardus":                {},
	"wsproto":                        {"wsproto/shardus"},
	"wsproto/collector":              {"wsproto", "wsproto/shardus"},
	"engine/config":                  {},
	"engine/ipc":                     {},
	"engine/handoff":                 {"engine/ipc"},
	"engine/logging":                 {},
	"engine/simulator":               {},
	"engine/notice":                  {"engine/atomicfile", "mmaplog/crashpoint"},
	"engine/atomicfile":              {"mmaplog/crashpoint"},
	"engine/problem":                 {},
	"engine/encoder":                 {"engine/notice", "mmaplog/bell", "mmaplog/datalog", "mmaplog/framelog", "wsproto", "wsproto/shardus"},
	"engine/deflate":                 {"mmaplog/bell", "mmaplog/framelog", "mmaplog/compressedlog", "wsproto"},
	"engine/worker":                  {"engine/handoff", "engine/notice", "mmaplog/framelog", "mmaplog/compressedlog", "wsproto"},
	"engine/resume":                  {"engine/atomicfile", "mmaplog/crashpoint"},
	"engine/supervisor":              {"engine/handoff", "engine/ipc", "engine/logging", "mmaplog/bell", "wsproto"},
	"engine/handover":                {"engine/ipc"},
	"engine/systemd":                 {},
	"engine/gateway":                 {"engine/supervisor", "engine/handoff", "engine/problem", "wsproto", "wsproto/shardus"},
	"engine/query":                   {"engine/ipc", "engine/logging", "wsproto/shardus"},
	"engine/status":                  {"engine/deflate", "engine/encoder", "engine/gateway", "engine/handoff", "engine/logging", "engine/problem", "engine/supervisor", "mmaplog/datalog", "mmaplog/framelog"},
	"engine/status/page":             {},
	"engine/metrics":                 {"engine/problem", "engine/status", "engine/supervisor"},
	"engine/admin":                   {},
	"engine":                         {"engine/admin", "engine/atomicfile", "engine/config", "engine/deflate", "engine/encoder", "engine/gateway", "engine/handoff", "engine/handover", "engine/metrics", "engine/notice", "engine/problem", "engine/query", "engine/resume", "engine/status", "engine/status/page", "engine/supervisor", "engine/systemd", "mmaplog/bell", "mmaplog/crashpoint", "mmaplog/datalog", "mmaplog/framelog", "wsproto", "wsproto/shardus"},
	"engine/doctor":                  {"engine", "engine/config", "engine/problem", "mmaplog/datalog", "mmaplog/framelog", "wsproto/shardus"},
	"cmd/distributor":                {"engine", "engine/config", "engine/doctor", "engine/logging", "engine/query", "engine/simulator", "engine/worker", "wsproto", "wsproto/collector", "wsproto/shardus"},
	"mmaplog/disktest":               {},
	"engine/enginetest":              nil, // tests of the whole
	"engine/query/querytest":         {"wsproto/shardus"},
	"wsproto/collector/firehosetest": {"wsproto", "wsproto/shardus"},
}

// allowedOutside names the modules that a few packages alone may use, so that
// what carries the firehose stays what it is.
var allowedOutside = map[string][]string{
	"github.com/panjf2000/gnet/v2":        {"engine/worker"},
	"github.com/mattn/go-sqlite3":         {"engine/simulator", "engine/query", "engine/doctor"},
	"github.com/edsrzf/mmap-go":           {"mmaplog/datalog", "mmaplog/framelog"},
	"github.com/fsnotify/fsnotify":        {"mmaplog/datalog"},
	"github.com/klauspost/compress":       {"wsproto"},
	"github.com/prometheus/client_golang": {"engine/metrics"},
	"net/http":                            {"cmd/distributor", "engine", "engine/admin", "engine/doctor", "engine/gateway", "engine/metrics", "engine/query", "engine/query/querytest", "engine/status/page", "engine/worker", "wsproto", "wsproto/collector", "engine/enginetest"},
}

func TestArrowsPointDown(t *testing.T) {
	const module = "distributor/"
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		may, known := allowed[name]
		if !known {
			t.Errorf("package %s has no place in the picture: see ARCHITECTURE.md", name)
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module); ok && may != nil && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s", name, ours)
			}
			for outside, users := range allowedOutside {
				within := i == outside || strings.HasPrefix(i, outside+"/")
				if within && i != "net/http/pprof" && !slices.Contains(users, name) {
					t.Errorf("%s imports %s", name, i)
				}
			}
		}
	}
	if len(seen) < 10 {
		t.Fatalf("go list knows only %d packages", len(seen))
	}
}

// The files of the primary's life know its parts. The parts do not know the primary.
func TestPartsDoNotKnowThePrimary(t *testing.T) {
	life := []string{
		"engine.go", "open.go", "serve.go", "reload.go", "handover.go", "stop.go", "primary.go",
		"health.go",
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if slices.Contains(life, file) || strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if name, ok := n.(*ast.Ident); ok && name.Name == "primary" {
				t.Errorf("%s knows the primary: give it what it uses", file)
			}
			return true
		})
	}
}
