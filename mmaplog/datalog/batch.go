package datalog

import "bytes"

const (
	// batchBytes bounds what one Next takes from a file, except for a single longer line.
	batchBytes = 1 << 20
	// batchLines bounds the lines in it, blank ones counted: 512 records of the newest writer, which
	// puts a blank line after each.
	batchLines = 1024
)

// Record is one line of a data log.
type Record struct {
	Line []byte   // without its line end; owned by the Batch
	Next Position // where reading goes on after it
}

// Batch is what Next fills. The next call of Next with the same Batch reuses its memory: to keep a
// Line longer, copy it or use another Batch.
type Batch struct {
	Gaps    []Gap // found before the first of the Records
	Records []Record

	oversized int    // lines over the cap that were passed over
	raw       []byte // up to tailBytes that precede the lines, then the lines with their ends
}

func (b *Batch) reset() { b.Gaps, b.Records, b.oversized = b.Gaps[:0], b.Records[:0], 0 }

// room makes raw n bytes long. It frees a buffer that one huge line has enlarged.
func (b *Batch) room(n int) []byte {
	if cap(b.raw) < n || cap(b.raw) > 4*batchBytes && n <= 2*batchBytes {
		b.raw = make([]byte, max(n, batchBytes/4))
	}
	b.raw = b.raw[:n]
	return b.raw
}

// split cuts raw into records; its first context bytes come before the fingerprint's offset. The
// last line may lack its newline. split leaves fp behind the last line and returns whether the last
// line that is not blank was a trailer (ended holds what was true before).
func (b *Batch) split(fp *fingerprint, context, maxLine int, at Position, ended bool) bool {
	raw, start := b.raw, fp.offset-int64(context)
	fp.extendHead(raw[context:])
	for i := context; i < len(raw); {
		next := len(raw)
		line := raw[i:]
		if n := bytes.IndexByte(line, '\n'); n >= 0 {
			next, line = i+n+1, line[:n]
		}
		i = next
		line = chomp(line)
		if isBlank(line) {
			continue
		}
		if ended = isTrailer(line); ended {
			continue
		}
		if len(line) > maxLine {
			b.oversized++
			continue
		}
		offset := start + int64(next)
		at.Offset = uint64(offset)
		at.Check = fp.checkAt(offset, raw[max(0, next-tailBytes):next])
		b.Records = append(b.Records, Record{Line: line[:len(line):len(line)], Next: at})
	}
	fp.moveTo(start+int64(len(raw)), raw)
	return ended
}
