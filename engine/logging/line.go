package logging

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strconv"
	"time"
)

// parseLine is the inverse of slog's JSON handler, as far as a log needs it: the attributes keep
// their order and print as before. It refuses other lines. The record does not refer to the memory
// of line.
func parseLine(line []byte) (record slog.Record, ok bool) {
	if len(line) == 0 || line[0] != '{' {
		return record, false
	}
	var at time.Time
	var level slog.Level
	var message string
	var attrs []slog.Attr
	var has struct{ time, level, message bool }

	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	_, _ = d.Token() // the '{'
	for d.More() {
		name, err := d.Token()
		key, isText := name.(string)
		var raw json.RawMessage
		if err != nil || !isText || d.Decode(&raw) != nil {
			return record, false
		}
		// An attribute may have the same name as the time, level or message, but it comes after them.
		switch {
		case key == slog.TimeKey && !has.time:
			has.time = at.UnmarshalJSON(raw) == nil
		case key == slog.LevelKey && !has.level:
			has.level = level.UnmarshalJSON(raw) == nil
		case key == slog.MessageKey && !has.message:
			has.message = json.Unmarshal(raw, &message) == nil
		default:
			attrs = append(attrs, slog.Attr{Key: key, Value: attrValue(raw)})
		}
	}
	if _, err := d.Token(); err != nil ||
		d.InputOffset() != int64(len(bytes.TrimRight(line, " \t\r"))) {
		return record, false
	}
	if !has.time || !has.level || !has.message {
		return record, false
	}
	record = slog.NewRecord(at, level, message, 0)
	record.AddAttrs(attrs...)
	return record, true
}

// attrValue returns a value that prints like the JSON that it came from.
func attrValue(raw json.RawMessage) slog.Value {
	switch raw[0] {
	case '"':
		var s string
		if json.Unmarshal(raw, &s) == nil {
			return slog.StringValue(s)
		}
	case 't', 'f':
		return slog.BoolValue(raw[0] == 't')
	case '{', '[', 'n':
	default:
		if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil && string(raw) != "-0" {
			return slog.Int64Value(n)
		}
		if n, err := strconv.ParseUint(string(raw), 10, 64); err == nil {
			return slog.Uint64Value(n)
		}
		if f, err := strconv.ParseFloat(string(raw), 64); err == nil {
			return slog.Float64Value(f)
		}
	}
	return slog.AnyValue(raw)
}
