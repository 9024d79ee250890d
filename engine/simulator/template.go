package simulator

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
)

// A template is the canonical text of one record, cut where every copy of it differs:
//
//	{"afterStates":[{"accountId":"82fa…","cycleNumber":▒,"data":{…
//	                                                   └ cut{at, slotTxCycle}
//
// Filling one in is a run of appends, which is why the simulator outruns what it feeds.
type template struct {
	text   []byte
	cuts   []cut
	hashes int // registers it uses: numbered hashes, each made once a record and used in several places
}

type cut struct {
	at   int
	slot slot
}

// slot says what is put in at a cut. Arg is an offset in milliseconds for times, a register for hashes.
type slot struct {
	kind slotKind
	arg  int
	from int // slotHash: the first of its 64 digits that is written
}

type slotKind uint8

const (
	slotTxID     slotKind = iota // the transaction's id, 64 hex digits
	slotTxTime                   // when it was submitted, Unix ms
	slotTxCycle                  // the cycle it was submitted in
	slotTxMarker                 // the marker of that cycle
	slotTime                     // when the record is written, Unix ms
	slotSeconds                  // the same, Unix s
	slotStart                    // when the cycle that the record is begins, Unix s
	slotCounter                  // the counter of the cycle that the record is
	slotMarker                   // its marker
	slotPrevious                 // the marker before it
	slotBlock                    // number of the newest block, hex digits
	slotHash                     // a register
	slotSig                      // a signature: 192 hex digits, never the same
)

// What template source is made of, beside string, bool, int, nil, slot (a bare number) and []byte.
type (
	object  map[string]any
	list    []any
	literal string   // a number in JavaScript's own spelling
	words   []any    // one JSON string made of strings and slots
	amount  *big.Int // a big integer: {"dataType":"bi","value":hex}
)

// compile writes v as canonical text: members sorted, no white space, bytes with "value" before
// "dataType". It panics on what it does not know, for sources are ours.
func compile(v any) *template {
	t := new(template)
	t.value(v)
	return t
}

func (t *template) value(v any) {
	switch v := v.(type) {
	case nil:
		t.raw("null")
	case bool:
		t.text = strconv.AppendBool(t.text, v)
	case int:
		t.text = strconv.AppendInt(t.text, int64(v), 10)
	case literal:
		t.raw(string(v))
	case string:
		t.raw(`"`)
		t.chars(v)
		t.raw(`"`)
	case slot:
		t.cut(v)
	case words:
		t.raw(`"`)
		for _, part := range v {
			if s, ok := part.(slot); ok {
				t.cut(s)
			} else {
				t.chars(part.(string))
			}
		}
		t.raw(`"`)
	case amount:
		t.raw(`{"dataType":"bi","value":"` + (*big.Int)(v).Text(16) + `"}`)
	case []byte:
		t.raw(`{"value":"` + base64.StdEncoding.EncodeToString(v) + `","dataType":"u8ab"}`)
	case list:
		t.raw("[")
		for i, item := range v {
			if i > 0 {
				t.raw(",")
			}
			t.value(item)
		}
		t.raw("]")
	case object:
		t.raw("{")
		for i, key := range slices.Sorted(maps.Keys(v)) { // all keys are ASCII: byte order is UTF-16 order
			if i > 0 {
				t.raw(",")
			}
			t.raw(`"` + key + `":`)
			t.value(v[key])
		}
		t.raw("}")
	default:
		panic(fmt.Sprintf("simulator: template of %T", v))
	}
}

func (t *template) raw(s string) { t.text = append(t.text, s...) }

func (t *template) cut(s slot) {
	if s.kind == slotHash {
		t.hashes = max(t.hashes, s.arg+1)
	}
	t.cuts = append(t.cuts, cut{len(t.text), s})
}

// chars escapes as JSON.stringify does: quotes, backslashes and controls, nothing else.
func (t *template) chars(s string) { t.text = appendChars(t.text, s) }

func appendChars(dst []byte, s string) []byte {
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= ' ':
			dst = append(dst, c)
		case c == '\n':
			dst = append(dst, `\n`...)
		default:
			panic(fmt.Sprintf("simulator: control character %#x in a template", c))
		}
	}
	return dst
}

func hash(register int) words { return words{slot{kind: slotHash, arg: register}} }

func hexHash(register int) words { return words{"0x", slot{kind: slotHash, arg: register}} }

func quoted(k slotKind) words { return words{slot{kind: k}} }

func bare(k slotKind, offset int) slot { return slot{kind: k, arg: offset} }
