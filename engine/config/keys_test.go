package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// Every field has exactly one key, of its type, and every key has the parts of its help text.
func TestTableCoversConfig(t *testing.T) {
	var c Config
	users := map[uintptr]string{}
	for _, k := range keys {
		p := reflect.ValueOf(k.field(&c))
		if p.Elem().Type() != reflect.TypeOf(k.def) {
			t.Errorf("%s: field is %s, default %T", k.name, p.Elem().Type(), k.def)
		}
		if other, ok := users[p.Pointer()]; ok {
			t.Errorf("%s and %s share a field", k.name, other)
		}
		users[p.Pointer()] = k.name
		if k.doc == "" || !strings.HasSuffix(k.doc, ".") || strings.ContainsAny(k.doc, "|\n") {
			t.Errorf("%s: doc %q", k.name, k.doc)
		}
		if k.kind() == kindText && (k.rule.ok == nil || k.rule.want == "") {
			t.Errorf("%s: no rule", k.name)
		}
		if k.kind() == kindNumber && k.min >= k.max {
			t.Errorf("%s: range %d to %d", k.name, k.min, k.max)
		}
	}
	if names := keyNames(); len(keyByName) != len(names) {
		t.Errorf("%d keys by name, %d names", len(keyByName), len(names))
	}
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; users[v.Field(i).Addr().Pointer()] == "" && name != "File" {
			t.Errorf("Config.%s has no key", name)
		}
	}
}

// The defaults follow the rules of the table: their printed form can be loaded.
func TestDefaultsAreValid(t *testing.T) {
	d := Default()
	for _, k := range keys {
		c := Default()
		switch k.kind() {
		case kindText:
			if !k.setText(c, reflect.ValueOf(k.get(d)).String()) {
				t.Errorf("%s: default %q breaks its rule", k.name, k.show(d))
			}
		case kindNumber:
			if !k.setNumber(c, k.show(d)) || !k.equal(c, d) {
				t.Errorf("%s: default %s is out of range", k.name, k.show(d))
			}
		}
	}
	if d.FileStreamInterval != 100*time.Millisecond || d.FrameLogBytes != 1<<30 ||
		d.DistributorPort != 6100 || d.StopAtCycle != -1 {
		t.Errorf("defaults are off: %v", d)
	}
	if d.Subscribers == nil {
		t.Error("subscribers is nil: it would print as null")
	}
}

// The bounds of every number are accepted, the next values are refused.
func TestNumberBounds(t *testing.T) {
	for _, k := range keys {
		if k.kind() != kindNumber {
			continue
		}
		for n, want := range map[int64]bool{k.min: true, k.max: true, k.min - 1: false, k.max +
			1: false} {
			if got := k.setNumber(new(Config), formatInt(n)); got != want {
				t.Errorf("%s %d: accepted %v, want %v", k.name, n, got, want)
			}
		}
	}
}
