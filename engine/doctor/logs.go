package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine"
	problems "distributor/engine/problem"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto/shardus"
)

// manyBehind is more than a running distributor has to read at any moment.
const manyBehind = 64 << 20

func dataLogs(_ context.Context, v visit) []Finding {
	const name = "data logs"
	positions, err := engine.SavedPositions(v.cfg)
	var found []Finding
	if err != nil {
		found = append(found, warning(name, err.Error(),
			"nothing has to be done: the distributor continues after the newest frames"))
	}
	_, running := framelog.Holder(engine.FrameLogDir(v.cfg))
	var newest time.Time
	for _, s := range datalog.Streams {
		r, err := datalog.Inspect(v.cfg.DataLogDir, s, positions[s])
		if errors.Is(err, fs.ErrNotExist) {
			return found // the check of DATA_LOG_DIR reports it
		}
		if err != nil {
			return append(found, problem(name, err.Error(),
				problems.DataLogs.For(err, absolute(v.cfg.DataLogDir))))
		}
		if r.Changed.After(newest) {
			newest = r.Changed
		}
		found = append(found, stream(v, s, r, positions[s], running))
		if s == datalog.Receipt {
			found = append(found, shardKey(v, r.Last)...)
		}
	}
	if silent := v.now.Sub(newest); !newest.IsZero() && v.cfg.DataLogStale > 0 &&
		silent > v.cfg.DataLogStale {
		found = append(found, warning(name,
			fmt.Sprintf("no stream has grown for %s", silent.Round(time.Second)),
			problems.NoGrowth.Remedy(nil, absolute(v.cfg.DataLogDir))))
	}
	return found
}

func stream(v visit, s datalog.Stream, r datalog.Report, from datalog.Position,
	running bool) Finding {
	name := "data logs: " + s.String()
	pointer := "active-" + s.String() + "-log.txt"
	remedy := problems.DataLogs.For(r.Problem, absolute(v.cfg.DataLogDir))
	switch {
	case r.Problem != nil && r.Active == "":
		return warning(name, fmt.Sprintf("%d logs, but %s names none: %v", r.Logs, pointer, r.Problem),
			"wait a moment, the archiver rewrites that file when it rotates; if nothing changes, "+remedy)
	case r.Problem != nil && errors.Is(r.Problem, fs.ErrNotExist):
		return warning(name, fmt.Sprintf("%s names %s, which is not there", pointer, r.Active),
			"wait a moment, the archiver creates that log soon; if nothing changes, "+remedy)
	case r.Problem != nil:
		return problem(name, r.Problem.Error(), remedy)
	case r.Active == "":
		return warning(name, "there are no logs yet", remedy)
	}
	writer := r.Writer
	if writer == "" {
		writer = "unknown"
	}
	text := fmt.Sprintf("%s, %s, written %s; writer: %s; %d logs of %s", r.Active, size(r.Size),
		age(v.now.Sub(r.Changed)), writer, r.Logs, size(r.Bytes))
	switch {
	case from.IsZero():
		return fine(name, "%s; not read yet: a first start begins at the end", text)
	case !r.Found:
		return warning(name, text+fmt.Sprintf("; log %d, which was read up to byte %d, is gone",
			from.Number, from.Offset),
			"let the archiver keep more logs, and keep the distributor running; records written before the oldest remaining log cannot be sent")
	case r.Behind > manyBehind && running:
		return warning(name, text+"; the running distributor is "+size(r.Behind)+" behind",
			"see the distributor's log and /is-healthy")
	case r.Behind > 0 && !running:
		return fine(name, "%s; %s to be read at the next start", text, size(r.Behind))
	}
	if r.Behind > 0 {
		return fine(name, "%s; read, but for %s", text, size(r.Behind))
	}
	return fine(name, "%s; all of it read", text)
}

// shardKey checks how the newest receipt was logged: the newest archiver leaves out a member that
// the newest collector needs to store the receipt.
func shardKey(v visit, line []byte) []Finding {
	const name, words = "data logs: receipt", "receipts are logged without executionShardKey"
	receipt, err := shardus.AppendRecord(nil, line)
	if err != nil || len(receipt) == 0 || receipt[0] != '{' {
		return nil
	}
	members := shardus.MembersOf(receipt)
	if _, ok := members.Find("executionShardKey"); ok {
		return nil
	}
	if v.cfg.AddExecutionShardKey {
		return []Finding{fine(name, words+"; the distributor adds the member (ADD_EXECUTION_SHARD_KEY)")}
	}
	return []Finding{warning(name, words+": the newest collectors cannot store them",
		"set ADD_EXECUTION_SHARD_KEY to true and restart; ignore this if no collector needs the member")}
}

// clock checks this machine's clock, because the handshake compares it with the collectors' clocks.
// The records carry the network's time.
func clock(_ context.Context, v visit) []Finding {
	const name, remedy = "clock", "set the clock and keep it synchronized (chrony, systemd-timesyncd)"
	if y := v.now.Year(); y < 2024 || y > 2100 {
		return []Finding{problem(name, "the clock of this machine says "+
			v.now.UTC().Format(time.RFC3339), remedy)}
	}
	var newest time.Time
	for _, s := range datalog.Streams {
		r, err := datalog.Inspect(v.cfg.DataLogDir, s, datalog.Position{})
		if err != nil {
			break
		}
		if t := recordTime(r.Last); t.After(newest) {
			newest = t
		}
	}
	if ahead := newest.Sub(v.now); ahead > v.cfg.HandshakeWindow {
		return []Finding{problem(name,
			fmt.Sprintf("the clock of this machine is slow: the newest record is of %s, %s from now",
				newest.UTC().Format(time.RFC3339), ahead.Round(time.Second)),
			remedy+"; collectors whose clock is right are refused")}
	}
	text := v.now.UTC().Format(time.RFC3339)
	if !newest.IsZero() {
		text += "; the newest record is of " + newest.UTC().Format(time.RFC3339) + ", " +
			age(v.now.Sub(newest))
	}
	var state unix.Timex // Modes 0: read only
	if told, err := unix.Adjtimex(&state); err == nil &&
		(told == unix.TIME_ERROR || state.Status&unix.STA_UNSYNC != 0) {
		return []Finding{warning(name, text+"; no time service keeps the clock synchronized",
			remedy+"; HANDSHAKE_WINDOW_MS sets how far the clock may be off")}
	}
	return []Finding{fine(name, "%s", text)}
}

// recordTime returns the time that a record carries, or the zero time if it finds none.
func recordTime(record []byte) time.Time {
	var r struct {
		Timestamp   float64 // ms: originalTx, receipt
		CycleRecord struct {
			Start float64 // s; when the cycle began
		}
	}
	_ = json.Unmarshal(record, &r) // what could be parsed is used
	ms := max(r.Timestamp, r.CycleRecord.Start*1000)
	if !(ms > 0 && ms < 1e14) {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

// frameLog verifies the whole frame log, which takes 0.13 s for a GiB in memory. If that takes too
// long, frameLog reports only what the head page says.
func frameLog(ctx context.Context, v visit) []Finding {
	const name = "frame log"
	dir := engine.FrameLogDir(v.cfg)
	var found []Finding
	pid, held := framelog.Holder(dir)
	if held {
		found = append(found, fine(name, "in use by process %d", pid))
	}
	reader, err := framelog.OpenReader(dir)
	switch {
	case errors.Is(err, framelog.ErrNoLog):
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return append(found, fine(name, "none yet: the first start creates it"))
		}
	case errors.Is(err, framelog.ErrVersion):
		return append(found, problem(name, err.Error(),
			"run the version of the distributor that wrote the frame log, or remove "+dir+
				" (returning collectors lose the frames in it)"))
	// Inspect reports it
	case errors.Is(err, framelog.ErrDamaged), errors.Is(err, framelog.ErrReplaced):
	case err != nil:
		return append(found, problem(name, err.Error(), problems.StateDir.For(err, absolute(dir))))
	default:
		head, floor := reader.Head(), reader.Floor()
		_ = reader.Close()
		if head < floor {
			break
		}
		found = append(found, fine(name, "id %s, offsets %d to %d: %s", reader.ID(), floor, head,
			size(int64(head-floor))))
	}
	type outcome struct {
		report framelog.Report
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := framelog.Inspect(dir)
		done <- outcome{r, err}
	}()
	select {
	case o := <-done:
		return append(found, verified(o.report, o.err)...)
	case <-ctx.Done(): // Inspect continues until it or the process ends
		return append(found, fine(name,
			"verification took too long; the next start verifies the frame log"))
	}
}

func verified(r framelog.Report, err error) []Finding {
	const name, remedy = "frame log",
		"check the disk (dmesg, smartctl); the next start repairs the frame log by itself"
	if err != nil {
		return []Finding{problem(name, err.Error(), problems.StateDir.For(err, ""))}
	}
	var found []Finding
	frames := 0
	for _, s := range r.Segments {
		frames += s.Frames
		if s.Problem != nil {
			found = append(found, problem(name, fmt.Sprintf("segment at offset %d: %v", s.Base,
				s.Problem), remedy))
		}
	}
	for _, d := range r.Damaged {
		found = append(found, problem(name, "damaged, not sent anymore: "+d.String(), remedy))
	}
	for _, d := range r.GivenUp {
		found = append(found, problem(name,
			"the newest frames are damaged and will be made again from the data logs: "+d.String(), remedy))
	}
	if r.NewID != "" {
		found = append(found, warning(name, "the frame log gets a new id at the next start: "+r.NewID,
			"nothing has to be done: collectors that return with an old position are told to start anew"))
	}
	if len(found) == 0 {
		found = append(found, fine(name, "%d frames in %d segments verified", frames, len(r.Segments)))
	}
	return found
}
