package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The archiver's checks of the form of a receipt. A name that ends with ? may be missing. Members
// without a name here are refused. The value for a name is a form, "text", "flag", "count" (an
// integer from 0), "any", a listOf, or a []form, which means any of them.
type form map[string]any

var accountForm = form{
	"accountId": "text", "cycleNumber?": "count", "data": form{"*": "any"},
	"hash": "text", "isGlobal": "flag", "timestamp": "count",
}

var receiptForm = form{
	"afterStates?": listOf{accountForm}, "beforeStates?": listOf{accountForm},
	"appReceiptData": form{"accountId?": "text", "data": form{"*": "any"}, "*": "any"},
	"applyTimestamp": "count", "cycle": "count", "globalModification": "flag",
	"receiptId": "text", "timestamp": "count",
	"tx": form{"originalTxData": form{"*": "any"}, "timestamp": "count", "txId": "text"},
	"signedReceipt": []form{
		{
			"proposal": form{
				"accountIDs": listOf{"text"}, "afterStateHashes": listOf{"text"},
				"appReceiptDataHash": "text", "applied": "flag", "beforeStateHashes": listOf{"text"},
				"cant_preApply": "flag", "executionShardKey?": "text", "txid": "text",
			},
			"proposalHash": "text", "sign?": signForm, "signaturePack": listOf{signForm},
			"txGroupCycle?": "count", "voteOffsets": listOf{"count"},
		},
		{
			"signs": listOf{signForm}, "txGroupCycle?": "count",
			"tx": form{
				"address": "text", "addressHash": "text", "afterStateHash": "text", "source": "text",
				"txId": "text", "value": "any", "when": "count",
			},
		},
	},
}

var signForm = form{"owner": "text", "sig": "text"}

type listOf struct{ of any }

// wrong returns which part of v does not have that form; empty if all parts have.
func wrong(at string, v, want any) string {
	switch want := want.(type) {
	case form:
		members, ok := v.(map[string]any)
		if !ok {
			return at + " is no object"
		}
		for name, member := range members {
			of, ok := want[name]
			if !ok {
				of, ok = want[name+"?"]
			}
			if !ok {
				of, ok = want["*"]
			}
			if !ok {
				return at + "." + name + " is too much"
			}
			if w := wrong(at+"."+name, member, of); w != "" {
				return w
			}
		}
		for name := range want {
			if _, ok := members[name]; !ok && name != "*" && !strings.HasSuffix(name, "?") {
				return at + "." + name + " is not there"
			}
		}
	case []form:
		var all []string
		for _, f := range want {
			w := wrong(at, v, f)
			if w == "" {
				return ""
			}
			all = append(all, w)
		}
		return strings.Join(all, ", or ")
	case listOf:
		items, ok := v.([]any)
		if !ok {
			return at + " is no list"
		}
		for i, item := range items {
			if w := wrong(fmt.Sprintf("%s[%d]", at, i), item, want.of); w != "" {
				return w
			}
		}
	case string:
		var ok bool
		switch want {
		case "any":
			ok = true
		case "text":
			_, ok = v.(string)
		case "flag":
			_, ok = v.(bool)
		case "count":
			n, is := v.(float64)
			ok = is && n >= 0 && n == math.Trunc(n)
		}
		if !ok {
			return fmt.Sprintf("%s is %v, no %s", at, v, want)
		}
	}
	return ""
}

func parsed(t *testing.T, record []byte) map[string]any {
	t.Helper()
	var v map[string]any
	must(t, json.Unmarshal(record, &v))
	return v
}

// Every receipt is one that the newest archiver accepts, in the form in which it logs it.
func TestReceiptsAreAccepted(t *testing.T) {
	w := NewWorld("accepted", 0)
	w.Append(nil, Cycle, someTime)
	global := 0
	for range 3000 {
		r := parsed(t, w.Append(nil, Receipt, someTime))
		if what := wrong("receipt", r, receiptForm); what != "" {
			t.Fatal(what)
		}
		tx, signed := r["tx"].(map[string]any), r["signedReceipt"].(map[string]any)
		votes, _ := signed["voteOffsets"].([]any)
		median := 0.0
		if len(votes) > 0 {
			slices.SortFunc(votes, func(a, b any) int { return int(a.(float64) - b.(float64)) })
			median = votes[len(votes)/2].(float64)
		}
		if r["globalModification"].(bool) {
			global++
		}
		if r["timestamp"] != tx["timestamp"] || r["receiptId"] != tx["txId"] ||
			r["applyTimestamp"] != tx["timestamp"].(float64)+median*1000 ||
			r["globalModification"].(bool) != (signed["proposal"] == nil) {
			t.Fatalf("%v", r)
		}
		// Members that a collector reads without a check.
		data := r["appReceiptData"].(map[string]any)["data"].(map[string]any)
		readable := data["readableReceipt"].(map[string]any)
		if _, ok := readable["status"].(float64); !ok || readable["from"] == nil ||
			readable["to"] == nil && readable["contractAddress"] == nil {
			t.Fatalf("%v", readable)
		}
	}
	if global == 0 {
		t.Error("no global receipt")
	}
}

// Older archivers log the same receipts, with executionShardKey in its sorted place.
func TestShardKeys(t *testing.T) {
	newest, older := NewWorld("older", 1), NewWorld("older", 1)
	older.shardKeys = true
	for range 500 {
		want, got := newest.Append(nil, Receipt, someTime), older.Append(nil, Receipt, someTime)
		r := parsed(t, got)
		key, _ := r[shardKey].(string)
		if len(key) != hashDigits || r["globalModification"] == true && key != "1000000000000000000000000000000000000000000000000000000000000001" {
			t.Fatalf("%s is %v", shardKey, r[shardKey])
		}
		if r["globalModification"] == false && key != keyOf(t, fieldOf(t, got, "signedReceipt")) {
			t.Fatalf("%s is %v", shardKey, key)
		}
		if without := appendWithout(nil, got, shardKey); !bytes.Equal(without, want) {
			t.Fatalf("got %.200s\nwant %.200s", without, want)
		}
	}
}

func fieldOf(t *testing.T, record []byte, name string) json.RawMessage {
	t.Helper()
	var m map[string]json.RawMessage
	must(t, json.Unmarshal(record, &m))
	return m[name]
}

// Cycles begin with 0, each begins when the one before ends, and a later run continues both.
func TestCyclesFollowEachOther(t *testing.T) {
	dir := t.TempDir()
	o := Options{
		Dir: filepath.Join(dir, "logs"), Databases: filepath.Join(dir, "db"), Seed: "cycles", Count: 200,
	}
	var all []map[string]any
	for range 3 {
		run(t, o)
	}
	for _, line := range linesOf(t, o.Dir, Cycle) {
		all = append(all, parsed(t, []byte(line)))
	}
	if len(all) < 9 {
		t.Fatalf("%d cycles", len(all))
	}
	for i, c := range all {
		record := c["cycleRecord"].(map[string]any)
		if c["counter"] != float64(i) || record["counter"] != float64(i) {
			t.Fatalf("cycle %d is %v", i, c["counter"])
		}
		if i > 0 {
			before := all[i-1]["cycleRecord"].(map[string]any)
			if record["start"] != before["start"].(float64)+before["duration"].(float64) {
				t.Errorf("cycle %d begins at %v, the one before at %v", i, record["start"], before["start"])
			}
		}
	}
	for _, stream := range []string{OriginalTx, Receipt} {
		w := NewWorld("before the first", 0)
		if r := parsed(t, w.Append(nil, stream, someTime)); r["cycle"] != 0.0 {
			t.Errorf("%s of cycle %v", stream, r["cycle"])
		}
	}
}

// Receipts that the archiver logs and does not store are in the logs and the manifest, not in the
// databases.
func TestRefusedAndRepeated(t *testing.T) {
	for _, older := range []bool{false, true} {
		dir := t.TempDir()
		o := Options{
			Dir: filepath.Join(dir, "logs"), Databases: filepath.Join(dir, "db"),
			Seed: "refused", Count: 600, ShardKeys: older, Odd: Odd{Refused: 0.1, Repeated: 0.2},
		}
		s := run(t, o)
		refused, repeated := s.Odd["refused"], s.Odd["repeated"]
		if refused < 20 || repeated < 40 || s.Total != 600 {
			t.Errorf("%+v", s)
		}
		rows := map[string]map[string]any{}
		const all = "SELECT receiptId, executionShardKey, applyTimestamp FROM receipts"
		for _, row := range query(t, o.Databases, "receipts", all) {
			rows[row[0].(string)] = map[string]any{shardKey: row[1], applyTime: row[2]}
		}
		stored := map[string]string{}
		var asLogged, without, again int64
		for _, line := range linesOf(t, o.Dir, Receipt) {
			r := parsed(t, []byte(line))
			id := r["receiptId"].(string)
			row := rows[id]
			first, twice := stored[id]
			switch {
			case r[applyTime] != nil:
				asLogged++
				stored[id] = line
				if (r[shardKey] != nil) != older || row == nil ||
					row[applyTime] != int64(r[applyTime].(float64)) {
					t.Errorf("%s: %v, row %v", id, r[shardKey], row)
				}
			case twice:
				again++
				if r[shardKey] == nil || row[shardKey] != r[shardKey] {
					t.Errorf("repeated with %v, stored with %v", r[shardKey], row[shardKey])
				}
				want := string(appendWithout(nil, []byte(first), applyTime))
				got := line
				if !older {
					got = string(appendWithout(nil, []byte(line), shardKey))
				}
				if got != want {
					t.Errorf("repeated as %.300s\nwas %.300s", got, want)
				}
			default:
				without++
				if (r[shardKey] != nil) != older || row != nil {
					t.Errorf("refused with %v, row %v", r[shardKey], row)
				}
			}
		}
		if without != refused || again != repeated || asLogged != int64(len(rows)) ||
			asLogged+without+again != s.Records[Receipt] {
			t.Errorf("%d refused, %d repeated, %d stored of %d rows; %+v",
				without, again, asLogged, len(rows), s)
		}
	}
}
