package status

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"distributor/mmaplog/datalog"
)

// members returns the path of every member in a JSON value, with the kind of its value.
func members(at string, v any) (paths []string) {
	switch v := v.(type) {
	case map[string]any:
		for name, one := range v {
			paths = append(paths, members(at+"."+name, one)...)
		}
	case []any:
		for _, one := range v {
			paths = append(paths, members(at+"[]", one)...)
		}
	default:
		paths = []string{fmt.Sprintf("%s %T", strings.TrimPrefix(at, "."), v)}
	}
	return paths
}

// GET /status has the members of the golden list and no others, because scripts read them.
func TestMembers(t *testing.T) {
	o := sources(t, 2)
	o.Source = func(s datalog.Stream) datalog.Stats {
		return datalog.Stats{Stream: s, LastGap: datalog.Gap{Reason: datalog.GapLogGone}}
	}
	var text any
	if err := json.Unmarshal(NewBoard(o).JSON(), &text); err != nil {
		t.Fatal(err)
	}
	found := members("", text)
	slices.Sort(found)
	got := strings.Join(slices.Compact(found), "\n") + "\n"
	want, err := os.ReadFile("testdata/members.golden")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("GET /status has other members; it has\n%s", got)
	}
}
