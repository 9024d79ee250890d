package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

const (
	maxFileBytes = 16 << 20
	// maxBrackets bounds the lists and objects in a file. The parser recurses for each, and Go ends a
	// process whose stack grows beyond 1 GB. This many, all nested, need far less. It is also the
	// largest number of subscribers.
	maxBrackets = 100_000
)

// file applies the file at path, or the default one if path is "".
func (l *loader) file(path string) {
	named := path != ""
	if !named {
		path = DefaultFile
	}
	text, err := readFile(path)
	switch {
	case err == nil:
		l.cfg.File = path
		l.fileText(path, text)
	case !named && errors.Is(err, fs.ErrNotExist):
		l.warn("", "%s: there is no such file in the working directory; going on without one", path)
	default:
		l.fail("reading the configuration: %w", err)
	}
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(text) > maxFileBytes {
		err = fmt.Errorf("%s: longer than %d bytes", path, maxFileBytes)
	}
	return text, err
}

// fileText applies the text of the file.
func (l *loader) fileText(path string, text []byte) {
	doc, ok := l.parse(path, text)
	if !ok {
		return
	}
	top, ok := doc.root.Value.(*hujson.Object)
	if !ok {
		l.fail("%s: found %s, expected an object with the settings",
			doc.place(doc.root), describe(doc.root))
		return
	}
	given := map[string]bool{}
	for _, m := range top.Members {
		given[memberName(m)] = true
	}
	l.eachMember(doc, top, "", keyNames(), func(name string, v hujson.Value) {
		k := keyByName[name]
		if name == k.formerly {
			l.warnFormerly(k, doc.place(v))
			if given[k.name] {
				return // the new name counts, in any order
			}
		}
		l.json(k, doc, v)
	})
}

// jsonText applies JSON text to one key. source is where the text was found.
func (l *loader) jsonText(k *key, source, text string) {
	doc, ok := l.parse(source, []byte(text))
	if !ok {
		l.bad[k.name] = true
		return
	}
	l.json(k, doc, doc.root)
}

// A document is parsed JSON, with the text for the places of its values.
type document struct {
	source string
	text   []byte
	root   hujson.Value
}

func (l *loader) parse(source string, text []byte) (document, bool) {
	doc := document{source: source, text: text}
	if bytes.Count(text, []byte("{"))+bytes.Count(text, []byte("[")) > maxBrackets {
		l.fail("%s: more than %d lists and objects", source, maxBrackets)
		return doc, false
	}
	if n := validUTF8(text); n < len(text) {
		l.fail("%s: no JSON: the text is not UTF-8", position(source, text, n))
		return doc, false
	}
	var err error
	if doc.root, err = hujson.Parse(text); err != nil {
		l.fail("%w", syntaxError(source, text, err))
		return doc, false
	}
	return doc, true
}

// validUTF8 returns the length of the part of text before the first byte that is not UTF-8. Without
// this check, a name in another encoding would silently become another name.
func validUTF8(text []byte) int {
	if utf8.Valid(text) {
		return len(text)
	}
	n := 0
	for {
		r, size := utf8.DecodeRune(text[n:])
		if r == utf8.RuneError && size <= 1 {
			return n
		}
		n += size
	}
}

// syntaxError turns a parser's error into our form. The parser's "invalid literal" includes the
// literal, which may be a secret without its quotes, so syntaxError leaves it out.
func syntaxError(source string, text []byte, err error) error {
	var line, column int
	if _, scan := fmt.Sscanf(err.Error(), "hujson: line %d, column %d:", &line, &column); scan != nil {
		return fmt.Errorf("%s: no JSON", source)
	}
	what := errors.Unwrap(err).Error()
	if strings.HasPrefix(what, "invalid literal") {
		what = "invalid literal: text needs quotes, numbers, true and false do not"
	}
	offset := column - 1
	for _, l := range bytes.SplitAfterN(text, []byte("\n"), line)[:line-1] {
		offset += len(l)
	}
	return fmt.Errorf("%s: no JSON: %s", position(source, text, offset), what)
}

func (d document) place(v hujson.Value) string { return position(d.source, d.text, v.StartOffset) }

// position returns source:line:column, in characters, as editors and compilers count.
func position(source string, text []byte, offset int) string {
	before := text[:min(offset, len(text))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("%s:%d:%d", source, line, column)
}

// eachMember calls use for each member of an object whose name is known. It warns about unknown
// ones.
// If a name is given twice, the last one counts, as in JSON.parse. within is the name of the object
// itself, "" for the whole file.
func (l *loader) eachMember(
	doc document, obj *hujson.Object, within string, known []string,
	use func(name string, v hujson.Value),
) {
	last := make(map[string]int, len(obj.Members))
	for i, m := range obj.Members {
		last[memberName(m)] = i
	}
	for i, m := range obj.Members {
		name := memberName(m)
		if !slices.Contains(known, name) {
			full := join(within, short(name))
			l.warn(full, "%s: unknown key %s, passed over%s",
				doc.place(m.Name), full, didYouMean(name, known))
			continue
		}
		if last[name] != i {
			full := join(within, name)
			l.warn(full, "%s: %s is given more than once: the last one counts", doc.place(m.Name), full)
			continue
		}
		use(name, m.Value)
	}
}

func memberName(m hujson.ObjectMember) string { return m.Name.Value.(hujson.Literal).String() }

func join(within, name string) string {
	if within == "" {
		return name
	}
	return within + "." + name
}

// describe returns what kind of value v is, or its text, but nothing that may be secret.
func describe(v hujson.Value) string {
	switch v := v.Value.(type) {
	case *hujson.Object:
		return "an object"
	case *hujson.Array:
		return "a list"
	case hujson.Literal:
		if v.Kind() == '"' {
			return quote(v.String())
		}
		if len(v) > maxShown {
			return fmt.Sprintf("a number of %d characters", len(v))
		}
		return v.String()
	}
	panic("config: unknown kind of JSON value")
}
