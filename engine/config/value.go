package config

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// The kinds of settings, as help and docs/CONFIGURATION.md name them.
const (
	kindText    = "text"
	kindNumber  = "number"
	kindBoolean = "boolean"
	kindList    = "list"
	kindObject  = "object"
)

func (k *key) kind() string {
	switch k.def.(type) {
	case string, Secret:
		return kindText
	case int, int64, time.Duration:
		return kindNumber
	case bool:
		return kindBoolean
	case []Subscriber:
		return kindList
	case ArchiverData:
		return kindObject
	}
	panic(fmt.Sprintf("config: %s has a default of type %T", k.name, k.def))
}

// unitName returns the unit of a number, "" for a plain count.
func (k *key) unitName() string {
	if _, ok := k.def.(time.Duration); ok {
		return "ms"
	}
	return k.unit
}

// want returns the end of a message "expected …".
func (k *key) want() string {
	switch k.kind() {
	case kindNumber:
		w := fmt.Sprintf("a whole number from %d to %d", k.min, k.max)
		if u := k.unitName(); u != "" {
			w += " (" + u + ")"
		}
		return w
	case kindBoolean:
		return "true or false"
	case kindList:
		return "a list of subscribers"
	case kindObject:
		return "an object with file names"
	}
	return k.rule.want
}

// set stores v, which must have the type of the default.
func (k *key) set(c *Config, v any) { reflect.ValueOf(k.field(c)).Elem().Set(reflect.ValueOf(v)) }

func (k *key) get(c *Config) any { return reflect.ValueOf(k.field(c)).Elem().Interface() }

func (k *key) equal(a, b *Config) bool { return reflect.DeepEqual(k.get(a), k.get(b)) }

// setText stores s if the setting's rule allows it.
func (k *key) setText(c *Config, s string) bool {
	if !k.rule.ok(s) {
		return false
	}
	reflect.ValueOf(k.field(c)).Elem().SetString(s)
	return true
}

// setNumber stores the number in s, if it is one and in range.
func (k *key) setNumber(c *Config, s string) bool {
	n, ok := wholeNumber(s, k.min, k.max)
	if !ok {
		return false
	}
	if p, ok := k.field(c).(*time.Duration); ok {
		*p = time.Duration(n) * time.Millisecond
	} else {
		reflect.ValueOf(k.field(c)).Elem().SetInt(n)
	}
	return true
}

// show returns the value as an operator would write it. Text is not quoted, secrets are not shown.
func (k *key) show(c *Config) string {
	switch v := k.get(c).(type) {
	case time.Duration:
		return strconv.FormatInt(v.Milliseconds(), 10)
	case []Subscriber:
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // numbers and text always marshal
		}
		return string(text)
	case ArchiverData:
		var b strings.Builder
		for i, m := range v.members() {
			fmt.Fprintf(&b, "%c%q:%q", "{,"[min(i, 1)], m.name, *m.file)
		}
		return b.String() + "}"
	default:
		return fmt.Sprint(v)
	}
}

type archiverMember struct {
	name string
	file *string
}

// members returns the fields of d with their names in the file.
func (d *ArchiverData) members() []archiverMember {
	return []archiverMember{
		{"cycleDB", &d.CycleDB}, {"accountDB", &d.AccountDB}, {"transactionDB", &d.TransactionDB},
		{"receiptDB", &d.ReceiptDB}, {"originalTxDataDB", &d.OriginalTxDataDB},
	}
}

// wholeNumber parses a number as JavaScript's Number() does (white space around it, exponents, 0x,
// 0o and 0b), because the replaced service did so with text. Unlike Number(), it refuses empty
// text, Infinity, fractions and numbers out of range.
func wholeNumber(s string, least, most int64) (int64, bool) {
	s = strings.TrimSpace(s)
	var f float64
	if len(s) > 2 && s[0] == '0' && strings.ContainsRune("xXoObB", rune(s[1])) {
		if strings.Contains(s, "_") { // Go's digit separators
			return 0, false
		}
		n, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			return 0, false
		}
		f = float64(n)
	} else {
		// ParseFloat accepts more than Number(): inf, nan, 0x1p2, 1_0.
		if s == "" || strings.Trim(s, "0123456789+-.eE") != "" {
			return 0, false
		}
		var err error
		if f, err = strconv.ParseFloat(s, 64); err != nil {
			return 0, false
		}
	}
	if f != math.Trunc(f) || f < float64(least) || f > float64(most) {
		return 0, false
	}
	return int64(f), true
}
