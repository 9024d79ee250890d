package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"distributor/bench/proc"
	"distributor/bench/stats"
	"distributor/engine/simulator"
	"distributor/wsproto/shardus"
)

// encodeSize is how much there is to encode.
type encodeSize struct {
	records, rounds int
}

// encode has a distributor without clients chew through logs that appear all
// at once, on one core and on two, beside a bare loop that only hashes and
// signs: what the pipeline costs over what cannot be saved.
func encode(ctx context.Context, b *bench, name string, size encodeSize) error {
	st, err := newStage(ctx, filepath.Join(b.dir, name), false, func(s stage) bool { return s.Records >= size.records })
	if err != nil {
		return err
	}
	b.stageMade(name, st)
	var perCPUSecond, perSecond, share, floor, two, twoPerCPU []float64
	err = b.rounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		signed, err := b.sign(ctx, st)
		if err != nil {
			return nil, nil, err
		}
		one, err := b.encodeOnce(ctx, st, b.server)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "one core", round, one, map[string]any{"records": st.Records, "sign_only_cpu_per_record": signed.Seconds()})
		both, err := b.encodeOnce(ctx, st, b.all[:2])
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "two cores", round, both, map[string]any{"records": st.Records})
		n := float64(st.Records)
		return func() {
			perSecond = append(perSecond, n/one.Seconds)
			perCPUSecond = append(perCPUSecond, n/one.Primary)
			floor = append(floor, 1/signed.Seconds())
			share = append(share, one.Primary/n/signed.Seconds())
			two = append(two, n/both.Seconds)
			twoPerCPU = append(twoPerCPU, n/both.Primary)
		}, []measurement{one, both}, nil
	})
	if err != nil {
		return err
	}
	b.report.figure(name, "one core", "records/s", perSecond)
	b.report.figure(name, "one core, per CPU second of the primary", "records", perCPUSecond)
	b.report.figure(name, "hashing and signing alone, one core", "records/s", floor)
	b.report.figure(name, "pipeline : hashing and signing alone, CPU", "×", share)
	b.report.figure(name, "two cores", "records/s", two)
	b.report.figure(name, "two cores, per CPU second of the primary", "records", twoPerCPU)
	b.report.figure(name, "two cores : one core, records/s", "×", stats.Ratios(two, perSecond))
	return nil
}

// encodeSizes has a distributor encode records of one stream at a time: each has
// a size of its own.
func encodeSizes(ctx context.Context, b *bench, name string, size encodeSize) error {
	// Equal bytes for each, so equal times of what costs by the byte.
	stages := make([]stage, len(simulator.Streams))
	for i, stream := range simulator.Streams {
		var err error
		bytes := uint64(size.records) * meanRecord
		stages[i], err = newStageOf(ctx, filepath.Join(b.dir, name, stream), []string{stream}, false, func(s stage) bool { return s.LogBytes >= bytes })
		if err != nil {
			return err
		}
		b.stageMade(name, stages[i])
	}
	perSecond := make([][]float64, len(stages))
	err := b.rounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		for i, st := range stages {
			m, err := b.encodeOnce(ctx, st, b.server)
			if err != nil {
				return nil, nil, err
			}
			b.report.round(name, simulator.Streams[i], round, m, map[string]any{"records": st.Records, "log_bytes": st.LogBytes})
			ms = append(ms, m)
		}
		return func() {
			for i, m := range ms {
				perSecond[i] = append(perSecond[i], float64(stages[i].Records)/m.Seconds)
			}
		}, ms, nil
	})
	if err != nil {
		return err
	}
	for i, st := range stages {
		each := float64(st.LogBytes) / float64(st.Records)
		b.report.figure(name, fmt.Sprintf("one core, %s (%.1f KB)", simulator.Streams[i], each/1e3), "records/s", perSecond[i])
		b.report.figure(name, fmt.Sprintf("one core, %s (%.1f KB), bytes", simulator.Streams[i], each/1e3), "MB/s",
			values(perSecond[i], func(n float64) float64 { return n * each / 1e6 }))
	}
	return nil
}

// meanRecord is the length of a record of the standard mix, about.
const meanRecord = 4500

// encodeOnce measures from the first frame to the last.
func (b *bench) encodeOnce(ctx context.Context, st stage, cpus proc.CPUs) (measurement, error) {
	d, err := b.distributor(cpus, "")
	if err != nil {
		return measurement{}, err
	}
	defer b.finish(d.close)
	p := d.processes()
	before, err := b.read(p)
	if err != nil {
		return measurement{}, err
	}
	if err := st.play(d.logs()); err != nil {
		return measurement{}, err
	}
	first, err := d.awaitHead(ctx, 1)
	if err != nil {
		return measurement{}, err
	}
	if _, err := d.awaitHead(ctx, st.FrameBytes); err != nil {
		return measurement{}, err
	}
	after, err := b.read(p)
	if err != nil {
		return measurement{}, err
	}
	if head := d.Head(); head != st.FrameBytes {
		return measurement{}, fmt.Errorf("the frame log has %d bytes, its frames have %d", head, st.FrameBytes)
	}
	before.at = first // finding the logs is not encoding; the CPU for it counts all the same
	return after.since(before), nil
}

const (
	signRole = "sign"
	// signSample is how many records the bare loop goes round: more than a
	// cache holds.
	signSample = 10_000
	signRounds = 3
)

// sign measures, in a process of its own on the server's core, the CPU time a
// record for what cannot be saved.
func (b *bench) sign(ctx context.Context, st stage) (time.Duration, error) {
	child, err := proc.StartChild(ctx, b.server, signRole)
	if err != nil {
		return 0, err
	}
	defer b.finish(child.Close)
	var each time.Duration
	return each, child.Ask(filepath.Join(st.dir, "logs"), &each)
}

// runSign is the child process: the directory of logs in, the time a record
// out.
func runSign() error {
	var dir string
	if err := json.NewDecoder(os.Stdin).Decode(&dir); err != nil {
		return err
	}
	type record struct {
		stream string
		line   []byte
	}
	// Each stream's share of the sample is that of the standard mix.
	var records []record
	for i, n := range simulator.Spread(signSample, simulator.Streams[:]...) {
		stream := simulator.Streams[i]
		lines, err := firstLines(dir, stream, int(n))
		if err != nil {
			return err
		}
		for _, line := range lines {
			records = append(records, record{stream, line})
		}
	}
	_, secret, err := shardus.GenerateKey()
	if err != nil {
		return err
	}
	signer := shardus.NewSigner(secret, hashKey())
	runtime.LockOSThread()
	var message []byte
	var before, after unix.Timespec
	for range signRounds { // the last one counts
		_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &before)
		for _, r := range records {
			message = signer.AppendMessage(message[:0], r.stream, r.line)
		}
		_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &after)
	}
	each := time.Duration(after.Nano()-before.Nano()) / time.Duration(len(records))
	if err := json.NewEncoder(os.Stdout).Encode(each); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// firstLines are the first n records of a stream, or all there are.
func firstLines(dir, stream string, n int) ([][]byte, error) {
	var lines [][]byte
	for number := 1; len(lines) < n; number++ {
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%s-log%d.txt", stream, number)))
		if os.IsNotExist(err) && number > 1 {
			return lines, nil
		}
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(text) {
			line = bytes.TrimRight(line, "\n")
			if len(line) > 0 && !strings.HasPrefix(string(line), "End: ") && len(lines) < n {
				lines = append(lines, line)
			}
		}
	}
	return lines, nil
}
