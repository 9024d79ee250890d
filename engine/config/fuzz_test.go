package config

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tailscale/hujson"
)

// For any file there is no panic, and either problems or a configuration that follows every rule of
// the table. Messages are short, and each problem names the file.
func FuzzFile(f *testing.F) {
	for _, m := range messages {
		f.Add([]byte(m.file))
	}
	f.Add([]byte(`{"subscribers": [{"publicKey": "` + someKey + `", "expirationTimestamp": "0x5", "subscriptionType": "ACCOUNTS",},]} // end`))
	f.Add([]byte("{\"RATE_LIMIT\": 5 /* \xe2\x80\xa8 */, // \xe2\x80\xa9\n}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		l := &loader{cfg: Default(), origin: map[string]string{}, bad: map[string]bool{}}
		l.fileText("f.json", text)
		l.checkTogether()
		if !bytes.Equal(before, text) {
			t.Fatal("the text was changed")
		}
		for _, err := range l.errs {
			if msg := err.Error(); !strings.Contains(msg, "f.json:") || len(msg) > 600 ||
				strings.ContainsRune(msg, '\n') {
				t.Fatalf("problem %q", msg)
			}
		}
		for _, w := range l.warnings {
			if len(w.Text) > 600 || strings.ContainsRune(w.Text, '\n') {
				t.Fatalf("warning %q", w.Text)
			}
		}
		if _, err := hujson.Parse(text); err != nil && len(l.errs) == 0 {
			t.Fatal("a broken file is taken")
		}
		if len(l.errs) > 0 {
			return
		}
		for _, k := range keys {
			ok := true
			switch k.kind() {
			case kindText:
				ok = k.rule.ok(l.cfg.text(k))
			case kindNumber:
				_, ok = wholeNumber(k.show(l.cfg), k.min, k.max)
			case kindList:
				for _, s := range l.cfg.Subscribers {
					ok = ok && hex64.ok(s.PublicKey) && subscriptionType.ok(s.SubscriptionType) &&
						s.ExpirationTimestamp >= 0
				}
			case kindObject:
				for _, m := range l.cfg.ArchiverData.members() {
					ok = ok && *m.file != ""
				}
			}
			if !ok {
				t.Fatalf("%s is %s", k.name, k.show(l.cfg))
			}
		}
	})
}

// text returns the value of a text setting, secrets included.
func (c *Config) text(k *key) string {
	if k.secret() {
		return string(c.SecretKey)
	}
	return k.show(c)
}

// For any flags there is no panic, and a warning for each ignored argument.
func FuzzFlags(f *testing.F) {
	for _, m := range messages {
		f.Add(strings.Join(m.args, "\n"))
	}
	f.Add("--stopDistributionAtCycle\n-1\n--no-VERBOSE\n--config=x\n--\n--help")
	f.Fuzz(func(t *testing.T, args string) {
		l := &loader{cfg: Default(), origin: map[string]string{}, bad: map[string]bool{}}
		list := strings.Split(args, "\n")
		flags, err := l.scanFlags(list)
		if err != nil {
			return
		}
		for _, s := range flags.settings {
			l.flag(s)
		}
		l.checkTogether()
		if flags.config == "" && len(l.origin)+len(l.errs)+len(l.warnings) == 0 && args != "--" {
			t.Fatalf("nothing came of %q", list)
		}
	})
}

// For any environment, a problem names its variable, and shows no long text and no line ends of it.
func FuzzEnvironment(f *testing.F) {
	for _, m := range messages {
		f.Add(strings.Join(m.env, "\n"))
	}
	f.Add("subscribers=[{\"publicKey\":\"" + someKey +
		"\"}]\nDISTRIBUTOR_MODE=WS\nARCHIVER_DATA={}\nADMIN_ADDR=off")
	f.Fuzz(func(t *testing.T, environ string) {
		l := &loader{cfg: Default(), origin: map[string]string{}, bad: map[string]bool{}}
		l.env(strings.Split(environ, "\n"))
		for _, err := range l.errs {
			if msg := err.Error(); !strings.Contains(msg, "environment variable ") || len(msg) > 600 ||
				strings.ContainsFunc(msg, func(r rune) bool { return r < ' ' }) {
				t.Fatalf("%q: problem %q", environ, msg)
			}
		}
		for _, w := range l.warnings {
			if len(w.Text) > 600 || strings.ContainsFunc(w.Text, func(r rune) bool { return r < ' ' }) {
				t.Fatalf("%q: warning %q", environ, w.Text)
			}
		}
		// An accepted value follows the table, and has an origin.
		for _, k := range keys {
			if l.bad[k.name] {
				continue
			}
			if _, ok := wholeNumber(k.show(l.cfg), k.min, k.max); k.kind() == kindNumber && !ok {
				t.Fatalf("%q: %s is %s", environ, k.name, k.show(l.cfg))
			}
			if !k.equal(l.cfg, Default()) && l.origin[k.name] == "" {
				t.Fatalf("%q: nobody set %s", environ, k.name)
			}
		}
	})
}

// Nesting is bounded before the recursive parser runs: maxBrackets levels are parsed, one more is
// refused.
func TestDeepNesting(t *testing.T) {
	for extra, want := range map[int]string{0: "unknown key x",
		1: "more than 100000 lists and objects"} {
		depth := maxBrackets - 1 + extra
		_, warnings, err := load(t, `{"x": `+strings.Repeat("[", depth)+strings.Repeat("]", depth)+`}`,
			nil, nil)
		said := ""
		if err != nil {
			said = err.Error()
		}
		for _, w := range warnings {
			said += w.Text
		}
		if !strings.Contains(said, want) || (err != nil) != (extra == 1) {
			t.Errorf("%d deep: %s", depth, said)
		}
	}
}
