package querytest

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

//go:embed testdata
var recorded embed.FS

// Corpus is the recording.
type Corpus struct {
	Cases   []Case
	Configs map[string]Config
	byName  map[string]*Case
}

// Config is the configuration of the recorded service.
type Config struct {
	DB       string          // set of its databases, for Unpack
	Settings json.RawMessage `json:"config"` // keys of distributor-config.json
}

// Case is a request and the recorded answer: the body, or its SHA-256 if it has more than 400
// bytes.
// Where the replaced service is wrong, Sane is the right answer.
type Case struct {
	Name, Config, Method, Path string
	Headers                    map[string]string
	Body                       *string
	Base64                     string   `json:"body_b64"`   // replaces a Body that is not UTF-8
	Pad                        int      `json:"pad_spaces"` // number of spaces that follow Body
	Loose                      string   // "status": compare only the status; "body": all but the body
	Volatile                   []string // members of the body, as dotted paths, not compared
	Want                       struct {
		Status     int
		Type, Body string
		Signed     bool
		Headers    map[string]string
	}
	Sane *struct {
		Status int
		Bodies []string       // one of these
		Like   map[string]any // these members, among others
		SameAs string         `json:"same_as"` // the recorded answer of the case with this name
	}
}

// Read returns the recording.
func Read() *Corpus {
	c := &Corpus{byName: make(map[string]*Case)}
	for d := json.NewDecoder(bytes.NewReader(unzip("api.jsonl.gz"))); ; {
		var one Case
		if err := d.Decode(&one); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			panic(fmt.Sprintf("querytest: api.jsonl: %v", err))
		}
		c.Cases = append(c.Cases, one)
	}
	for i := range c.Cases {
		c.byName[c.Cases[i].Name] = &c.Cases[i]
	}
	if err := json.Unmarshal(file("configs.json"), &c.Configs); err != nil {
		panic(fmt.Sprintf("querytest: configs.json: %v", err))
	}
	return c
}

// Of returns the cases of a configuration, in the order in which they were recorded.
func (c *Corpus) Of(config string) (cases []*Case) {
	for i := range c.Cases {
		if c.Cases[i].Config == config {
			cases = append(cases, &c.Cases[i])
		}
	}
	return cases
}

// Unpack puts a set of databases into dir, under the names that archivers use: "db" (realistic),
// "db-odd" (odd values), "db-damaged" (a damaged row in each), "db-empty".
func Unpack(dir, set string) error {
	tables := []string{"cycles", "accounts", "transactions", "receipts", "originalTxsData"}
	for _, name := range tables {
		packed := "db/" + set + "." + name + ".sqlite3.gz"
		err := os.WriteFile(filepath.Join(dir, name+".sqlite3"), unzip(packed), 0o644)
		if err != nil {
			return fmt.Errorf("querytest: unpack: %w", err)
		}
	}
	return nil
}

func file(name string) []byte {
	text, err := recorded.ReadFile("testdata/" + name)
	if err != nil {
		panic(fmt.Sprintf("querytest: %v", err))
	}
	return text
}

func unzip(name string) []byte {
	packed, err := gzip.NewReader(bytes.NewReader(file(name)))
	if err != nil {
		panic(fmt.Sprintf("querytest: %s: %v", name, err))
	}
	text, err := io.ReadAll(packed)
	if err != nil {
		panic(fmt.Sprintf("querytest: %s: %v", name, err))
	}
	return text
}
