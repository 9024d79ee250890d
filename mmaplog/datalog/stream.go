package datalog

import (
	"bytes"
	"strconv"
	"strings"
)

// Stream is one of the three kinds of data log.
type Stream uint8

// The streams. Their numbers are stored with frames and positions: they never change.
const (
	Cycle Stream = 1 + iota
	OriginalTx
	Receipt
)

// Streams lists all streams, in the order of their numbers.
var Streams = [3]Stream{Cycle, OriginalTx, Receipt}

// PerStream holds a value for each stream and is indexed by Stream. Its element 0 belongs to no
// stream: loops go over Streams.
type PerStream[T any] [1 + len(Streams)]T

var streamNames = [...]string{Cycle: "cycle", OriginalTx: "originalTx", Receipt: "receipt"}

// String returns the word in file names and messages: "cycle", "originalTx" or "receipt".
func (s Stream) String() string {
	if !s.valid() {
		return "stream(" + strconv.Itoa(int(s)) + ")"
	}
	return streamNames[s]
}

func (s Stream) valid() bool { return s >= Cycle && s <= Receipt }

// pointerName returns the name of the file that names the log that is being written.
func (s Stream) pointerName() string { return "active-" + s.String() + "-log.txt" }

// logName returns the name of log n; old: the name after the writer has renamed it.
func (s Stream) logName(n uint32, old bool) string {
	name := s.String() + "-log" + strconv.FormatUint(uint64(n), 10) + ".txt"
	if old {
		return "old-" + name
	}
	return name
}

// FileName returns the name that log n has while it is written.
func (s Stream) FileName(n uint32) string { return s.logName(n, false) }

// ownsName reports whether a file's name has the form of a log of this stream.
func (s Stream) ownsName(name []byte) bool {
	name, ok := bytes.CutPrefix(bytes.TrimPrefix(name, []byte("old-")), []byte(s.String()))
	return ok && bytes.HasPrefix(name, []byte("-log")) && bytes.HasSuffix(name, []byte(".txt"))
}

// parseLogName is the inverse of logName. It accepts only names that a writer writes: no sign, no
// leading zero, no log 0. So each number has one name.
func (s Stream) parseLogName(name string) (n uint32, old, ok bool) {
	name, old = strings.CutPrefix(name, "old-")
	name, ok = strings.CutPrefix(name, s.String()+"-log")
	if !ok {
		return 0, false, false
	}
	digits, ok := strings.CutSuffix(name, ".txt")
	if !ok || digits == "" || digits[0] < '1' || digits[0] > '9' {
		return 0, false, false
	}
	v, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, false, false
	}
	return uint32(v), old, true
}

// parsePointer parses the text of the active file. ok is false for any other text (empty, garbage).
// A torn text never names another log, because the name ends with ".txt".
func (s Stream) parsePointer(text []byte) (n uint32, ok bool) {
	n, old, ok := s.parseLogName(string(bytes.Trim(text, " \t\r\n")))
	return n, ok && !old
}
