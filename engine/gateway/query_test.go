package gateway

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// Node 20 made testdata/query.jsonl: url.parse(…, true), then decodeURIComponent (null where that
// throws).
func TestQueryAsNode(t *testing.T) {
	for _, c := range readLines[struct {
		Query, First string
		Count        int
		Second       *string
	}](t, "query.jsonl") {
		first, count := parameter(queryOf("/p?"+c.Query), "data")
		if first != c.First || count != c.Count {
			t.Errorf("%s: %d, first %q; Node has %d, first %q", c.Query, count, first, c.Count, c.First)
		}
		second, ok := decodeComponent(first)
		if c.Count > 0 && (ok != (c.Second != nil) || ok && second != *c.Second) {
			t.Errorf("%s: a second time %q %v", c.Query, second, ok)
		}
	}
}

func TestQueryOf(t *testing.T) {
	for target, want := range map[string]string{
		"": "", "/": "", "/?": "", "/?a": "a", "/?a?b": "a?b", "/#x?a": "", "/?a#x": "a",
		"http://h/p?a=b": "a=b",
	} {
		if got := queryOf(target); got != want {
			t.Errorf("%q: %q", target, got)
		}
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"data=a+b", "x&data=%41%zz&data=", "data=%ff%e2%82", "d%61ta=%2541",
		"%", "&&=&", "data=a#?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		value, count := parameter(query, "data")
		if !utf8.ValidString(value) || count == 0 && value != "" || len(value) > 3*len(query) {
			t.Fatalf("%q %d", value, count)
		}
		if _, ok := decodeComponent(query); ok && strings.Count(query, "%") > 0 {
			if want, err := url.PathUnescape(query); err != nil {
				t.Fatalf("%q is no proper escape: %v", query, err)
			} else if got, _ := decodeComponent(query); got != want {
				t.Fatalf("%q, want %q", got, want)
			}
		}
		// An escaped text comes back unchanged.
		if utf8.ValidString(query) {
			if got, n := parameter("x=1&data="+url.QueryEscape(query), "data"); got != query || n != 1 {
				t.Fatalf("%q came back as %q", query, got)
			}
		}
	})
}
