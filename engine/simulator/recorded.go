package simulator

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// recordedGz holds recorded records with few signatures. Each line is a stream, the record's share
// of the copies, and the record's canonical text as older archivers log it: receipts have
// executionShardKey. There are no records of originalTx, because a receipt contains its own.
//
//go:embed recorded/records.gz
var recordedGz []byte

// shardKey is the member that the newest archivers delete before they log a receipt. They store it
// in the database nevertheless.
const shardKey = "executionShardKey"

// shape holds the templates of one recorded transaction.
type shape struct {
	original *template
	receipt  *template // as the newest archiver logs it
	older    *template // with executionShardKey
}

// A template is the canonical text of one record, cut where every copy of it differs:
//
//	{"afterStates":[{"accountId":"82fa…","cycleNumber":▒,"data":{…
//	                                                   └ cut{slot: slotCycle}
//
// Filling a template is a series of appends, so the simulator is faster than its readers.
type template struct {
	text   []byte
	cuts   []cut
	hashes int // registers: hashes that are new in each copy, and used in several places
}

// cut says that text[from:to] is replaced. arg is an offset for times (ms) and cycles, a register
// for hashes.
type cut struct {
	from, to int
	slot     slotKind
	arg      int64
}

type slotKind uint8

const (
	slotID      slotKind = iota // transaction.id
	slotMarker                  // transaction.marker
	slotCycle                   // transaction.cycle
	slotTime                    // transaction.ms
	slotSeconds                 // transaction.ms in seconds
	slotHash                    // a register
	slotSig                     // a signature: 192 hex digits, different in each place
)

// recordedShapes returns the recorded transactions and cycles, each repeated by its share.
var recordedShapes = sync.OnceValues(func() (transactions []shape, cycles []*template) {
	z, err := gzip.NewReader(bytes.NewReader(recordedGz))
	if err != nil {
		panic("simulator: " + err.Error())
	}
	all, err := io.ReadAll(z)
	if err != nil {
		panic("simulator: " + err.Error())
	}
	names := namesIn(all)
	for line := range bytes.Lines(all) {
		stream, rest, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		share, record, _ := bytes.Cut(rest, []byte(" "))
		n, err := strconv.Atoi(string(share))
		if err != nil {
			panic("simulator: " + err.Error())
		}
		if string(stream) == Cycle {
			cycle := compileCycle(record, names)
			cycles = append(cycles, slices.Repeat([]*template{cycle}, n)...)
		} else {
			transaction := compileTransaction(record, names)
			transactions = append(transactions, slices.Repeat([]shape{transaction}, n)...)
		}
	}
	return transactions, cycles
})

func compileCycle(record []byte, names map[string]bool) *template {
	var c struct {
		Counter     int64
		CycleMarker string
		CycleRecord struct {
			Previous string
			Start    int64
		}
	}
	unmarshal(record, &c)
	of := transaction{ms: c.CycleRecord.Start * 1000, cycle: c.Counter}
	copy(of.id[:], c.CycleMarker)
	copy(of.marker[:], c.CycleRecord.Previous)
	return compile(record, &of, names)
}

func compileTransaction(record []byte, names map[string]bool) shape {
	var r struct {
		ReceiptID        string
		Cycle, Timestamp int64
		Tx               struct{ OriginalTxData json.RawMessage }
	}
	unmarshal(record, &r)
	var submitted struct{ TimestampReceipt struct{ CycleMarker string } }
	unmarshal(r.Tx.OriginalTxData, &submitted)
	of := &transaction{ms: r.Timestamp, cycle: r.Cycle}
	copy(of.id[:], r.ReceiptID)
	copy(of.marker[:], submitted.TimestampReceipt.CycleMarker)
	const form = `{"cycle":%d,"originalTxData":%s,"timestamp":%d,"txId":"%s"}`
	original := fmt.Appendf(nil, form, r.Cycle, r.Tx.OriginalTxData, r.Timestamp, r.ReceiptID)
	stay := maps.Clone(names) // and the hashes of the submitted part, which both records contain
	for _, m := range varying.FindAllSubmatch(original, -1) {
		stay[string(m[1])] = true
	}
	return shape{
		original: compile(original, of, stay),
		receipt:  compile(appendWithout(nil, record, shardKey), of, stay),
		older:    compile(record, of, stay),
	}
}

func unmarshal(text []byte, v any) {
	if err := json.Unmarshal(text, v); err != nil {
		panic("simulator: a recorded record: " + err.Error())
	}
}

// varying finds what may differ between copies: hashes, ids and signatures; cycles; times.
var varying = regexp.MustCompile(`"(?:0x)?([0-9a-f]{64}|[0-9a-f]{192})"` +
	`|"(?:counter|cycle|cycleCounter|cycleNumber)":(\d+)` +
	`|:(17\d{8}(?:\d{3})?)\b`)

// namesIn returns the hashes that identify nodes and accounts: those in several records, and
// addresses, which are padded with zeros.
func namesIn(all []byte) map[string]bool {
	last, names := make(map[string]int), make(map[string]bool)
	n := 0
	for line := range bytes.Lines(all) {
		n++
		for _, m := range varying.FindAllSubmatch(line, -1) {
			v := string(m[1])
			if last[v] != 0 && last[v] != n || strings.Contains(v, strings.Repeat("0", 24)) {
				names[v] = true
			}
			last[v] = n
		}
	}
	return names
}

// compile cuts the text of a record of the transaction of, wherever copies differ. Hashes in stay
// are the same in every copy. Any other hash gets one register for all its places.
func compile(text []byte, of *transaction, stay map[string]bool) *template {
	t := &template{text: text}
	registers := make(map[string]int)
	for _, at := range varying.FindAllSubmatchIndex(text, -1) {
		switch {
		case at[2] >= 0:
			v := string(text[at[2]:at[3]])
			switch {
			case v == string(of.id[:]):
				t.cut(at[2:4], slotID, 0)
			case v == string(of.marker[:]):
				t.cut(at[2:4], slotMarker, 0)
			case stay[v]:
			case len(v) > hashDigits:
				t.cut(at[2:4], slotSig, 0)
			default:
				if _, known := registers[v]; !known {
					registers[v] = len(registers)
				}
				t.cut(at[2:4], slotHash, int64(registers[v]))
			}
		case at[4] >= 0:
			n, _ := strconv.ParseInt(string(text[at[4]:at[5]]), 10, 64)
			t.cut(at[4:6], slotCycle, n-of.cycle)
		default:
			n, _ := strconv.ParseInt(string(text[at[6]:at[7]]), 10, 64)
			if n >= 1e12 {
				t.cut(at[6:8], slotTime, n-of.ms)
			} else {
				t.cut(at[6:8], slotSeconds, n*1000-of.ms)
			}
		}
	}
	t.hashes = len(registers)
	return t
}

func (t *template) cut(at []int, slot slotKind, arg int64) {
	t.cuts = append(t.cuts, cut{at[0], at[1], slot, arg})
}
