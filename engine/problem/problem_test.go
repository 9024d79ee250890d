package problem

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/OPERATIONS.md")

const document = "../../docs/OPERATIONS.md"

var setting = regexp.MustCompile(`\b[A-Z]+(?:_[A-Z]+)+\b`)

// The tables of docs/OPERATIONS.md have every entry, in its words, and none more.
func TestDocument(t *testing.T) {
	var problems, causes strings.Builder
	row := func(to *strings.Builder, cells ...string) {
		fmt.Fprintf(to, "| %s |\n", setting.ReplaceAllString(strings.Join(cells, " | "), "`$0`"))
	}
	row(&problems, "id", "level", "what is wrong", "what to do |\n| --- | --- | --- | ---")
	row(&causes, "where", "error", "what to do |\n| --- | --- | ---")
	for _, e := range Table {
		remedy := e.Remedy(nil, "")
		if len(e.Remedies.By) > 1 {
			remedy = "see [errors](#errors) of " + e.Remedies.Of + "; " + e.Then
		}
		row(&problems, "`"+e.ID+"`", string(e.Level), e.What, remedy)
	}
	for _, of := range []Remedies{StateDir, DataLogs} {
		for _, one := range of.By {
			texts := []string{"any other"}
			for i, c := range one.Causes {
				texts = append(texts[:i], c.Error())
			}
			row(&causes, of.Of, strings.Join(texts, ", "), one.Text)
		}
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	for name, table := range map[string]*strings.Builder{"problems": &problems, "errors": &causes} {
		begin := "<!-- " + name + ": `go test ./engine/problem -update` writes it -->\n"
		end := "<!-- /" + name + " -->"
		before, rest, ok := strings.Cut(want, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no place for the table of %s", document, name)
		}
		want = before + begin + table.String() + end + after
	}
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the table says (go test ./engine/problem -update):\n%s\n%s",
			document, &problems, &causes)
	}
	if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every entry can be looked up, says what to do whatever the cause.
func TestTable(t *testing.T) {
	ids := map[string]bool{}
	for _, e := range Table {
		last := e.Remedies.By[len(e.Remedies.By)-1]
		if ids[e.ID] || !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(e.ID) ||
			e.Level != Critical && e.Level != Warning || e.What == "" || last.Causes != nil {
			t.Errorf("%+v", e)
		}
		ids[e.ID] = true
		for _, one := range e.Remedies.By {
			if one.Text == "" ||
				!strings.Contains(one.Text, e.Remedies.Of) {
				t.Errorf("%s: %q", e.ID, one.Text)
			}
		}
	}
	if len(Table) < 10 {
		t.Errorf("only %d problems", len(Table))
	}
}

// Strangers get the cause of a failure, not where that was; the operator gets both.
func TestPublicWordsHaveNoPath(t *testing.T) {
	err := errors.Join(errors.New("no file"), fmt.Errorf("engine: save checkpoint: %w",
		&fs.PathError{Op: "open", Path: "/srv/secret/checkpoint.json", Err: syscall.EROFS}))
	if got := cause(err); got != ": read-only file system" {
		t.Error(got)
	}
	if got := cause(fmt.Errorf("in /srv/secret: %w", Said("for 10m"))); got != ": for 10m" {
		t.Error(got)
	}
	for _, e := range Table {
		for _, err := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EACCES, syscall.EIO,
			syscall.EISDIR, errors.New("?")} {
			f := e.Found("part", fmt.Errorf("look at /srv/secret/file: %w", err), "/srv/secret")
			if public := f.Public.Problem + f.Public.Remedy; strings.Contains(public, "/srv") {
				t.Errorf("%s: %s", e.ID, public)
			}
			if !strings.Contains(f.Details.Problem, "/srv/secret/file: "+err.Error()) ||
				strings.Contains(f.Details.Remedy, "(/srv/secret)") != (e.Remedies.Of != "") {
				t.Errorf("%s: %+v", e.ID, f.Details)
			}
			if f.Details.ID != e.ID || f.Public.Level != e.Level || f.Public.Component != "part" {
				t.Errorf("%s: %+v", e.ID, f)
			}
		}
	}
}
