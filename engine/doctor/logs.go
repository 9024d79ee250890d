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
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto/shardus"
)

// manyBehind is more than a distributor that runs has to read at any moment.
const manyBehind = 64 << 20

func dataLogs(_ context.Context, v visit) []Finding {
	const name = "data logs"
	positions, err := engine.SavedPositions(v.cfg)
	var found []Finding
	if err != nil {
		found = append(found, warning(name, err.Error(), "the distributor goes on after the newest frames; nothing has to be done"))
	}
	_, running := framelog.Holder(engine.FrameLogDir(v.cfg))
	var newest time.Time
	for _, s := range datalog.Streams {
		r, err := datalog.Inspect(v.cfg.DataLogDir, s, positions[s])
		if errors.Is(err, fs.ErrNotExist) {
			return found // said of the directory
		}
		if err != nil {
			return append(found, problem(name, err.Error(), "see to the permissions in DATA_LOG_DIR"))
		}
		if r.Changed.After(newest) {
			newest = r.Changed
		}
		found = append(found, stream(v, s, r, positions[s], running))
		if s == datalog.Receipt {
			found = append(found, shardKey(v, r.Last)...)
		}
	}
	if silent := v.now.Sub(newest); !newest.IsZero() && v.cfg.DataLogStale > 0 && silent > v.cfg.DataLogStale {
		found = append(found, warning(name, fmt.Sprintf("no stream has grown for %s", silent.Round(time.Second)),
			"see whether the archiver runs and writes to "+absolute(v.cfg.DataLogDir)+" (DATA_LOG_STALE_MS says how long silence is normal)"))
	}
	return found
}

func stream(v visit, s datalog.Stream, r datalog.Report, from datalog.Position, running bool) Finding {
	name := "data logs: " + s.String()
	pointer := "active-" + s.String() + "-log.txt"
	switch {
	case r.Problem != nil && r.Active == "":
		return warning(name, fmt.Sprintf("%d logs, but %s names none: %v", r.Logs, pointer, r.Problem), "an archiver rewrites it when it rotates; if it stays so, see whether the archiver runs")
	case r.Problem != nil && errors.Is(r.Problem, fs.ErrNotExist):
		return warning(name, fmt.Sprintf("%s names %s, which is not there", pointer, r.Active), "an archiver makes it in a moment; if it stays so, see whether the archiver runs")
	case r.Problem != nil:
		return problem(name, r.Problem.Error(), "see to the permissions in DATA_LOG_DIR")
	case r.Active == "":
		return warning(name, "there are no logs yet", "see whether the archiver writes to "+absolute(v.cfg.DataLogDir))
	}
	writer := r.Writer
	if writer == "" {
		writer = "unknown"
	}
	text := fmt.Sprintf("%s, %s, written %s; writer: %s; %d logs of %s", r.Active, size(r.Size), age(v.now.Sub(r.Changed)), writer, r.Logs, size(r.Bytes))
	switch {
	case from.IsZero():
		return fine(name, "%s; not read yet: a first start begins at the end", text)
	case !r.Found:
		return warning(name, text+fmt.Sprintf("; log %d, which was read up to byte %d, is gone", from.Number, from.Offset),
			"records written before the oldest log that is left cannot be sent; let the archiver keep more logs, or the distributor run")
	case r.Behind > manyBehind && running:
		return warning(name, text+"; the running distributor is "+size(r.Behind)+" behind", "see its log and /is-healthy")
	case r.Behind > 0 && !running:
		return fine(name, "%s; %s to be read at the next start", text, size(r.Behind))
	}
	if r.Behind > 0 {
		return fine(name, "%s; read, but for %s", text, size(r.Behind))
	}
	return fine(name, "%s; all of it read", text)
}

// shardKey looks at how the newest receipt was logged: the newest archiver leaves out a member
// without which the newest collector cannot store it.
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
		return []Finding{fine(name, words+", which is added (ADD_EXECUTION_SHARD_KEY)")}
	}
	return []Finding{warning(name, words+": the newest collectors cannot store them",
		"set ADD_EXECUTION_SHARD_KEY to true and restart; leave it if no collector needs the member")}
}

// clock: the handshake compares our clock with the collectors', and the records'
// times are the network's.
func clock(_ context.Context, v visit) []Finding {
	const name, remedy = "clock", "set the clock, and keep it right (chrony, systemd-timesyncd)"
	if y := v.now.Year(); y < 2024 || y > 2100 {
		return []Finding{problem(name, "it says "+v.now.UTC().Format(time.RFC3339), remedy)}
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
		return []Finding{problem(name, fmt.Sprintf("it is slow: the newest record is of %s, %s from now", newest.UTC().Format(time.RFC3339), ahead.Round(time.Second)),
			remedy+"; collectors whose clock is right are refused")}
	}
	text := v.now.UTC().Format(time.RFC3339)
	if !newest.IsZero() {
		text += "; the newest record is of " + newest.UTC().Format(time.RFC3339) + ", " + age(v.now.Sub(newest))
	}
	var state unix.Timex // Modes 0: tell only
	if told, err := unix.Adjtimex(&state); err == nil && (told == unix.TIME_ERROR || state.Status&unix.STA_UNSYNC != 0) {
		return []Finding{warning(name, text+"; nothing keeps it right", remedy+"; HANDSHAKE_WINDOW_MS is what may be wrong with it")}
	}
	return []Finding{fine(name, "%s", text)}
}

// recordTime is the time that a record carries; zero if none is found.
func recordTime(record []byte) time.Time {
	var r struct {
		Timestamp   float64 // ms: originalTx, receipt
		CycleRecord struct {
			Start float64 // s; the cycle's, which has begun
		}
	}
	_ = json.Unmarshal(record, &r) // what could be read counts
	ms := max(r.Timestamp, r.CycleRecord.Start*1000)
	if !(ms > 0 && ms < 1e14) {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

// frameLog verifies everything, which takes 0.13 s for a GiB in memory. If it
// takes too long, what the head says has to do.
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
			return append(found, fine(name, "none yet: it is made at the first start"))
		}
	case errors.Is(err, framelog.ErrVersion):
		return append(found, problem(name, err.Error(), "run the version of the distributor that wrote it, or remove "+dir+" (what it holds is lost for returning collectors)"))
	case errors.Is(err, framelog.ErrDamaged), errors.Is(err, framelog.ErrReplaced): // told by Inspect
	case err != nil:
		return append(found, problem(name, err.Error(), "see to the permissions in "+absolute(dir)))
	default:
		head, floor := reader.Head(), reader.Floor()
		_ = reader.Close()
		if head < floor {
			break
		}
		found = append(found, fine(name, "id %s, offsets %d to %d: %s", reader.ID(), floor, head, size(int64(head-floor))))
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
	case <-ctx.Done(): // it goes on to its end, or to ours
		return append(found, fine(name, "not verified in the time there is; the next start does it"))
	}
}

func verified(r framelog.Report, err error) []Finding {
	const name, remedy = "frame log", "the next start sees to it by itself; look for what happened to the disk (dmesg, smartctl)"
	if err != nil {
		return []Finding{problem(name, err.Error(), "see to the permissions in STATE_DIR")}
	}
	var found []Finding
	frames := 0
	for _, s := range r.Segments {
		frames += s.Frames
		if s.Problem != nil {
			found = append(found, problem(name, fmt.Sprintf("segment at offset %d: %v", s.Base, s.Problem), remedy))
		}
	}
	for _, d := range r.Damaged {
		found = append(found, problem(name, "damaged, not sent any more: "+d.String(), remedy))
	}
	for _, d := range r.GivenUp {
		found = append(found, problem(name, "the newest frames are damaged, and will be made again from the data logs: "+d.String(), remedy))
	}
	if r.NewID != "" {
		found = append(found, warning(name, "it will get a new id at the next start: "+r.NewID, "collectors that come back with a position are told to begin anew; nothing has to be done"))
	}
	if len(found) == 0 {
		found = append(found, fine(name, "%d frames in %d segments verified", frames, len(r.Segments)))
	}
	return found
}
