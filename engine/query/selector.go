package query

import (
	"fmt"
	"math"
	"math/big"
	"unicode/utf16"
	"unicode/utf8"

	"distributor/wsproto/shardus"
)

// What a request selects: the first of the endpoint's selectors that is given decides, the others are ignored. A number
// is given when it is not zero; start, startCycle and cycle also when they are. Nothing here does I/O.

// mode is what is done with a table.
type mode uint8

const (
	nothing mode = iota // an empty list
	latest              // the newest rows, newest first
	rows                // rows by their place in the order of the table
	between             // rows of a span of cycles (of cycleinfo: the cycles themselves)
	counted             // how many rows a span of cycles has
	tallied             // the same, cycle by cycle
	byID                // the rows of some ids
	byOther             // the row of another id (appReceiptId)
)

// selection is what a request asks of its table. A zero selection is an empty list.
type selection struct {
	mode     mode
	limit    int64 // most rows
	offset   int64 // rows left out before them
	from, to float64
	ids      []string
	total    bool // the number of rows of from..to is answered as well
	only     bool // and nothing else is
}

// Limits, as the replaced service has them.
const (
	txIDLength   = 64      // in UTF-16 units
	maxSpan      = 100     // cycles: endCycle - startCycle
	maxWhole     = 1 << 53 // beyond it numbers in JSON are not exact
	maxListItems = 100
)

// limits are those of an endpoint that differ between them, and their words.
type limits struct {
	rows     float64 // most rows of count, of a page, and of end - start
	tooMany  string  // what is said about a count that is more
	rowsName string
	spanName string // ends the sentence about a span of cycles that is too wide
}

func number(v shardus.Value, name string) float64 { return v.Get(name).Number() }
func given(v shardus.Value, name string) bool     { return v.Get(name).Kind() == shardus.Number }
func whole(f float64) bool                        { return f == math.Trunc(f) && math.Abs(f) <= maxWhole }

func (l limits) latest(v shardus.Value) (selection, *refusal) {
	count := number(v, "count")
	switch {
	case count < 0:
		return selection{}, refuse("Invalid count")
	case count > l.rows:
		return selection{}, refuse(l.tooMany)
	case !whole(count): // SQLite would refuse it
		return selection{}, refuse("Invalid count")
	}
	return selection{mode: latest, limit: int64(count)}, nil
}

// span reads a pair of bounds; an end that is missing or 0 is the start.
func span(v shardus.Value, start, end string, widest float64, tooWide string) (from, to float64, why *refusal) {
	from, to = number(v, start), number(v, end)
	if to == 0 {
		to = from
	}
	if from < 0 || to < from {
		return 0, 0, refuse("Invalid " + start + " and " + end + " counters")
	}
	if to-from > widest {
		return 0, 0, refuse(tooWide)
	}
	return from, to, nil
}

func (l limits) rowSpan(v shardus.Value) (from, to float64, why *refusal) {
	return span(v, "start", "end", l.rows, fmt.Sprintf("Exceed maximum limit of %d %s", int(l.rows), l.rowsName))
}

// byRow is start and end as places in the table.
func (l limits) byRow(v shardus.Value) (selection, *refusal) {
	from, to, why := l.rowSpan(v)
	if why != nil {
		return selection{}, why
	}
	if !whole(from) || !whole(to) {
		return selection{}, refuse("Invalid start and end counters")
	}
	return selection{mode: rows, offset: int64(from), limit: int64(to-from) + 1}, nil
}

func (l limits) cycleSpan(v shardus.Value) (from, to float64, why *refusal) {
	return span(v, "startCycle", "endCycle", maxSpan, fmt.Sprintf("Exceed maximum limit of %d cycles%s", maxSpan, l.spanName))
}

// page reads the page, 0 for none.
func page(v shardus.Value) (float64, *refusal) {
	p := number(v, "page")
	if p != 0 && (p < 1 || !whole(p)) {
		return 0, refuse("Invalid page number")
	}
	return p, nil
}

func selectCycles(v shardus.Value, l limits) (selection, *refusal) {
	switch {
	case number(v, "count") != 0:
		return l.latest(v)
	case given(v, "start"):
		from, to, why := l.rowSpan(v)
		return selection{mode: between, from: from, to: to, limit: -1}, why
	}
	return selection{}, unspecified("cycle")
}

// unspecified is the one refusal that the replaced service does not sign.
func unspecified(what string) *refusal {
	why := refuse("not specified which " + what + " to show")
	why.unsigned = true
	return why
}

// selectTransfers is for originalTx and receipt.
func selectTransfers(v shardus.Value, l limits) (selection, *refusal) {
	switch {
	case number(v, "count") != 0:
		return l.latest(v)
	case v.Get("txId").Text() != "":
		id := v.Get("txId")
		if units(id.Text()) != txIDLength {
			return selection{}, refuseEcho("Invalid txId ", quote(id), "")
		}
		return selection{mode: byID, ids: []string{id.Text()}}, nil
	case v.Get("txIdList").Text() != "":
		ids, why := idList(v.Get("txIdList"), l)
		return selection{mode: byID, ids: ids}, why
	case given(v, "start"):
		return l.byRow(v)
	case given(v, "startCycle"):
		from, to, why := l.cycleSpan(v)
		if why != nil {
			return selection{}, why
		}
		switch v.Get("type").Text() {
		case "tally":
			return selection{mode: tallied, from: from, to: to}, nil
		case "count":
			return selection{mode: counted, from: from, to: to}, nil
		}
		p, why := page(v)
		return selection{mode: between, from: from, to: to, limit: int64(l.rows), offset: offset(p, l)}, why
	}
	return selection{}, nil
}

func offset(page float64, l limits) int64 { return int64(max(page-1, 0) * l.rows) }

// selectStates is for account and transaction up to their ids.
func selectStates(v shardus.Value, l limits) (selection, *refusal) {
	switch {
	case number(v, "count") != 0:
		return l.latest(v)
	case given(v, "start"):
		return l.byRow(v)
	case given(v, "startCycle"):
		from, to, why := l.cycleSpan(v)
		if why != nil {
			return selection{}, why
		}
		p, why := page(v)
		return selection{mode: between, from: from, to: to, limit: int64(l.rows), offset: offset(p, l), total: true, only: p == 0}, why
	}
	return selection{}, nil
}

func selectAccounts(v shardus.Value, l limits) (selection, *refusal) {
	if s, why := selectStates(v, l); why != nil || s.mode != nothing {
		return s, why
	}
	if id := v.Get("accountId").Text(); id != "" {
		return selection{mode: byID, ids: []string{id}}, nil
	}
	return selection{}, unspecified("account")
}

func selectTransactions(v shardus.Value, l limits) (selection, *refusal) {
	if s, why := selectStates(v, l); why != nil || s.mode != nothing {
		return s, why
	}
	if id := v.Get("txId").Text(); id != "" {
		return selection{mode: byID, ids: []string{id}}, nil
	}
	if id := v.Get("appReceiptId").Text(); id != "" {
		return selection{mode: byOther, ids: []string{id}}, nil
	}
	return selection{}, unspecified("account") // the replaced service's word
}

// selectCycle is for cycleData.
func selectCycle(v shardus.Value, _ limits) (selection, *refusal) {
	cycle := number(v, "cycle")
	if !given(v, "cycle") || cycle < 0 {
		return selection{}, refuse("Invalid cycle. Must be a number >= 0")
	}
	return selection{mode: counted, from: cycle, to: cycle}, nil
}

// idList reads txIdList: JSON text of a list of ids. A text in place of a list is one of its characters, as it is for
// JavaScript.
func idList(text shardus.Value, l limits) ([]string, *refusal) {
	invalid := func() ([]string, *refusal) { return nil, refuseEcho("Invalid txIdList ", quote(text), "") }
	list, err := shardus.Parse([]byte(text.Text()))
	if err != nil {
		return invalid()
	}
	length := list.Len()
	switch list.Kind() {
	case shardus.Text:
		length = units(list.Text())
	case shardus.Object:
		length = int(min(number(list, "length"), maxWhole))
	}
	if length > maxListItems {
		return nil, refuse(fmt.Sprintf("Exceed maximum limit of %d %s", maxListItems, l.rowsName))
	}
	var ids []string
	switch list.Kind() {
	case shardus.Array:
		for _, id := range list.All() {
			if id.Kind() != shardus.Text || units(id.Text()) != txIDLength {
				return nil, refuseEcho("Invalid txId ", quotedText(id), " in the List")
			}
			ids = append(ids, id.Text())
		}
	case shardus.Text:
		if length > 0 { // a character is no id
			_, size := utf8.DecodeRuneInString(list.Text())
			return nil, refuseEcho("Invalid txId ", quote(shardus.TextValue(list.Text()[:size])), " in the List")
		}
	default:
		return invalid()
	}
	return ids, nil
}

// quotedText is what a JavaScript template makes of a value, as canonical JSON text.
func quotedText(v shardus.Value) []byte {
	if v.Kind() == shardus.Text {
		return quote(v)
	}
	return quote(shardus.TextValue(string(appendText(nil, v))))
}

func appendText(dst []byte, v shardus.Value) []byte {
	switch v.Kind() {
	case shardus.Text:
		return append(dst, v.Text()...)
	case shardus.BigInt:
		n, ok := new(big.Int).SetString(v.Hex(), 16)
		if !ok || len(v.Hex()) > 1024 { // so many decimal digits cost too much
			return append(append(dst, "0x"...), v.Hex()...)
		}
		return n.Append(dst, 10)
	case shardus.Null, shardus.Number, shardus.Bool:
		return append(dst, quote(v)...)
	case shardus.Array:
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if item := v.Index(i); item.Kind() != shardus.Null {
				dst = appendText(dst, item)
			}
		}
		return dst
	}
	return append(dst, "[object Object]"...)
}

// units is the length of a text as JavaScript counts it.
func units(text string) int {
	n := 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 { // a lone surrogate: see shardus.Value.Text
			n, i = n+1, i+3
			continue
		}
		n, i = n+utf16.RuneLen(r), i+size
	}
	return n
}
