package logging

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// hostile contains all that a client may send to deceive the reader of the log.
var hostile = func() string {
	text := "\x1b[31mred\x1b[0m \u009b31m \xff\xfe \xc2 é 世界 \U000e0041\U0001f600 "
	for _, span := range [][2]rune{{0, 0x1f}, {0x7f, 0x9f}, {0x061c, 0x061c}, {0x200b, 0x200f},
		{0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}} {
		for r := span[0]; r <= span[1]; r++ {
			text += string(r)
		}
	}
	return text
}()

// visibleLines fails the test unless text is one line of visible characters.
func visibleLines(t *testing.T, what, text string) {
	t.Helper()
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") || !utf8.ValidString(text) {
		t.Errorf("%s: no single line: %q", what, text)
	}
	for _, r := range strings.TrimSuffix(text, "\n") {
		if !unicode.IsPrint(r) {
			t.Errorf("%s: %U stands raw in %q", what, r, text)
			return
		}
	}
}

// No text is written unescaped, in either form: wherever a text stands, in our own lines and those
// of our other processes, and in the file. JSON still carries the original text.
func TestHostileText(t *testing.T) {
	for _, form := range []string{"json", "text"} {
		for _, to := range []string{ToStderr, ToBoth} {
			for name, say := range map[string]func(log *slog.Logger){
				"attribute": func(log *slog.Logger) { log.Info("m", "detail", hostile) },
				"message":   func(log *slog.Logger) { log.Info(hostile) },
				"name":      func(log *slog.Logger) { log.Info("m", hostile, 1) },
				"group": func(log *slog.Logger) {
					log.WithGroup(hostile).With(hostile, hostile).Info("m", "a", 1)
				},
				"value": func(log *slog.Logger) { log.Info("m", "list", []string{hostile}) },
				"child": func(log *slog.Logger) {
					var line bytes.Buffer
					slog.New(slog.NewJSONHandler(&line, nil)).Info(hostile, hostile, hostile, "list",
						[]string{hostile})
					Forward(&line, log, "worker")
				},
				"child's last words": func(log *slog.Logger) {
					Forward(strings.NewReader(strings.ReplaceAll(hostile, "\n", "")+"\n"), log, "worker")
				},
			} {
				dir, what := t.TempDir(), name+" as "+form+" to "+to
				var stderr bytes.Buffer
				h, end := Open(Options{Level: slog.LevelInfo, Format: form, To: to, Dir: dir, Stderr: &stderr})
				say(slog.New(h))
				end()
				visibleLines(t, what, stderr.String())
				if to == ToBoth {
					visibleLines(t, what+", the file", read(t, filepath.Join(dir, fileName)))
				}
				if form != "json" {
					continue
				}
				var record map[string]any
				if err := json.Unmarshal(stderr.Bytes(), &record); err != nil {
					t.Errorf("%s: %v: %s", what, err, &stderr)
				}
				if meant := strings.ToValidUTF8(hostile, "\ufffd"); name == "attribute" &&
					strings.Trim(record["detail"].(string), "\ufffd") == "" || name == "message" &&
					!strings.Contains(record["msg"].(string), meant[:20]) {
					t.Errorf("%s: %q", what, record)
				}
			}
		}
	}
	if plain := "é 世界 <\"&>"; Visible(plain) != plain || Visible("a\xff") != `a\ufffd` ||
		Visible("\u202ex\n") != `\u202ex\u000a` || Visible("\xff\U000e0041") != `\ufffd\udb40\udc41` {
		t.Errorf("%q %q %q", Visible(plain), Visible("\u202ex\n"), Visible("\xff\U000e0041"))
	}
}

func FuzzEscapes(f *testing.F) {
	f.Add(hostile, "key")
	f.Add("\u2028\xc3\x28", "\u202e")
	f.Fuzz(func(t *testing.T, text, name string) {
		for _, form := range []string{"json", "text"} {
			var out bytes.Buffer
			slog.New(format(&out, form, slog.LevelInfo)).With(name, text).Info(text, name, []string{text})
			visibleLines(t, form, out.String())
			if form == "json" && !json.Valid(out.Bytes()) {
				t.Errorf("no JSON: %q", &out)
			}
		}
		var line, out bytes.Buffer
		slog.New(slog.NewJSONHandler(&line, nil)).Info(text, name, text)
		Forward(&line, slog.New(format(&out, "json", slog.LevelInfo)), "worker")
		visibleLines(t, "forwarded", out.String())
	})
}
