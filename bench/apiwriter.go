package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"distributor/bench/proc"
	"distributor/engine/simulator"
)

// writerRole is the process that writes to the databases as fast as it can, as
// an archiver would, with what the others on its CPU leave it.
const (
	writerRole = "api-writer"
	writerNice = 19
	// writerBatch and fillBatch are records to a commit.
	writerBatch = 20
	fillBatch   = 1000
	// writerCycle is the first cycle that it writes: newer than all that is there.
	writerCycle = 1_000_000
)

// databaseWriter fills databases with records in the standard mix.
type databaseWriter struct {
	databases *simulator.Databases
	world     *simulator.World
	mix       *simulator.Mix
	record    []byte
	written   int
}

func openWriter(dir, seed string, firstCycle int64) (*databaseWriter, error) {
	databases, err := simulator.OpenDatabases(dir, false)
	if err != nil {
		return nil, err
	}
	return &databaseWriter{databases: databases, world: simulator.NewWorld(seed, firstCycle), mix: simulator.StandardMix()}, nil
}

// write stores n records and commits them.
func (w *databaseWriter) write(n int) error {
	for range n {
		stream := w.mix.Next()
		w.record = w.world.Append(w.record[:0], stream, time.Now().UnixMilli())
		if err := w.databases.Add(stream, w.record); err != nil {
			return err
		}
		w.written++
	}
	return w.databases.Commit()
}

func (w *databaseWriter) close() error { return w.databases.Close() }

// writerOrder is the writer's first line; it answers when it has committed
// once. The second line ends it.
type writerOrder struct {
	Dir  string `json:"dir"`
	Seed string `json:"seed"`
}

type writerResult struct {
	PerSecond float64 `json:"perSecond"`
}

func runWriter() error {
	if err := proc.Nice(writerNice); err != nil {
		return err
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var order writerOrder
	if err := in.Decode(&order); err != nil {
		return err
	}
	w, err := openWriter(order.Dir, order.Seed, writerCycle)
	if err != nil {
		return err
	}
	if err := errors.Join(w.write(writerBatch), out.Encode(writerResult{})); err != nil {
		return errors.Join(err, w.close())
	}
	ended := make(chan error, 1)
	go func() {
		var line struct{}
		ended <- in.Decode(&line)
	}()
	begun, first := time.Now(), w.written
	for {
		select {
		case err := <-ended:
			result := writerResult{float64(w.written-first) / time.Since(begun).Seconds()}
			return errors.Join(err, w.close(), out.Encode(result))
		default:
		}
		if err := w.write(writerBatch); err != nil {
			return errors.Join(err, w.close())
		}
	}
}

// writing is the parent's end of a writer.
type writing struct{ *proc.Child }

func (b *bench) startWriter(ctx context.Context, dir, seed string) (*writing, error) {
	child, err := proc.StartChild(ctx, b.generator, writerRole)
	if err != nil {
		return nil, err
	}
	var ready writerResult
	if err := child.Ask(writerOrder{dir, seed}, &ready); err != nil {
		return nil, fmt.Errorf("writer: %w", errors.Join(err, child.Close()))
	}
	return &writing{child}, nil
}

// end stops it and tells how many records a second it wrote.
func (w *writing) end() (perSecond float64, err error) {
	var r writerResult
	err = w.Ask(struct{}{}, &r)
	return r.PerSecond, err
}
