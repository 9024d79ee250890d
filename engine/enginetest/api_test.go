package enginetest

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distributor/engine/query/querytest"
)

// TestAPICorpus sends every recorded HTTP request. The answer must be that of the replaced service,
// or the correct one where that service was wrong.
func TestAPICorpus(t *testing.T) {
	t.Parallel()
	corpus := querytest.Read()
	for name, config := range corpus.Configs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var settings Settings
			if err := json.Unmarshal(config.Settings, &settings); err != nil {
				t.Fatal(err)
			}
			d := New(t, settings)
			d.Configure(Settings{"ARCHIVER_DB_DIR": filepath.Join(d.Dir, "databases"),
				"RATE_LIMIT": 1_000_000})
			if err := os.Mkdir(filepath.Join(d.Dir, "databases"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := querytest.Unpack(filepath.Join(d.Dir, "databases"), config.DB); err != nil {
				t.Fatal(err)
			}
			d.Start()
			for _, c := range corpus.Of(name) {
				var err error
				ask := func() bool {
					var got querytest.Answer
					if got, err = c.Ask(strings.TrimPrefix(d.URL, "http://")); err == nil {
						err = corpus.Check(c, got)
					}
					return err == nil
				}
				if c.Path == "/metrics" && c.Method == http.MethodGet {
					reached(ask) // the counts of rows are known some time after the start
				} else {
					ask()
				}
				if err != nil {
					t.Errorf("%s: %v", c.Name, err)
				}
			}
			d.Stop()
		})
	}
}
