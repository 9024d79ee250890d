package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestHelpAndMarkdown(t *testing.T) {
	var help, markdown bytes.Buffer
	if err := errors.Join(WriteHelp(&help), WriteMarkdown(&markdown)); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/help.golden", help.String())
	golden(t, "testdata/markdown.golden", markdown.String())
	for _, text := range []string{help.String(), markdown.String()} {
		for _, k := range keys {
			if !strings.Contains(text, k.name) || !strings.Contains(text, k.doc) {
				t.Errorf("%s is missing", k.name)
			}
		}
	}
	for row := range strings.Lines(markdown.String()) {
		if row == "\n" || strings.HasPrefix(row, "### ") {
			continue
		}
		if n := strings.Count(row, "|"); n != 8 {
			t.Errorf("%d bars in %s", n, row)
		}
	}
}

// No printed form of a configuration contains its secret key.
func TestSecretIsNeverPrinted(t *testing.T) {
	c := Default()
	seed := sampleSecretKey[:64]
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	log.Info("start", "config", c, "key", c.SecretKey)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("start", "config", c, "copy", *c, "key",
		c.SecretKey)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{logged.String(), string(asJSON), c.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, c), fmt.Sprintf(verb, *c),
			fmt.Sprintf(verb, c.SecretKey), fmt.Sprintf(verb, &c.SecretKey))
	}
	hexOfHex := fmt.Sprintf("%x", seed)
	for _, text := range texts {
		if strings.Contains(text, seed[:8]) || strings.Contains(text, hexOfHex[:16]) {
			t.Errorf("the secret is in %s", text)
		}
	}
	if !strings.Contains(c.String(), "DISTRIBUTOR_SECRET_KEY=(secret)\n") {
		t.Errorf("String: %s", c)
	}
}

func TestLogValueTellsWhatWasSet(t *testing.T) {
	c := Default()
	c.RateLimit = 5
	c.SecretKey = "x" + c.SecretKey[1:]
	if got := c.LogValue().String(); got != "[DISTRIBUTOR_SECRET_KEY=(secret) RATE_LIMIT=5]" {
		t.Errorf("got %s", got)
	}
}
