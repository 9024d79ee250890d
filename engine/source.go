package engine

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"distributor/engine/config"
	"distributor/engine/problem"
	"distributor/mmaplog/datalog"
)

// dataLogs is the origin that the archiver writes, in DATA_LOG_DIR.
type dataLogs struct {
	cfg     func() *config.Config // as it is now
	stats   func(datalog.Stream) datalog.Stats
	started time.Time
	log     *slog.Logger
}

func (d dataLogs) name() string { return d.cfg().DataLogDir }

func (d dataLogs) open(
	s datalog.Stream, from datalog.Position, saved checkpoint,
) (source, error) {
	cfg := d.cfg()
	f, err := datalog.NewFollower(datalog.Options{
		Dir: cfg.DataLogDir, Stream: s, From: from, NotFirst: saved.follows(cfg.DataLogDir),
		Past: past(frameLogDir(cfg), s), Left: saved.leftIn(cfg.DataLogDir, s),
		Interval: cfg.FileStreamInterval, MaxLine: cfg.MaxRecordBytes, Log: d.log,
	})
	if err != nil {
		return nil, err
	}
	at := f.Position()
	d.log.Info("following data log", "stream", s.String(), "dir", cfg.DataLogDir,
		"resumed", !from.IsZero(), "log", at.Number, "offset", at.Offset)
	return f, nil
}

// troubleGrace is how long a follower may have trouble before it is a problem: a rotation, or a log
// that is being copied, is over by then.
const troubleGrace = 2 * time.Second

// health reports a directory, and a log or an active file of a stream, that keeps reading
// from going on. Silence is a problem only when it concerns all streams and lasts, since cycles
// come every minute or so and the other streams with the traffic.
func (d dataLogs) health(now time.Time) []problem.Found {
	dir, stale := d.cfg().DataLogDir, d.cfg().DataLogStale
	if err := readable(dir); err != nil {
		return []problem.Found{problem.DataLogsUnreadable.Found("data logs", err, dir)}
	}
	var found []problem.Found
	newest := d.started
	for _, stream := range datalog.Streams {
		s := d.stats(stream)
		if t := s.Trouble; t.Err != nil && now.Sub(t.Since) >= troubleGrace {
			found = append(found,
				problem.StreamWaits.Found("data logs: "+s.Stream.String(), t.Err, t.Path))
		}
		if t := s.LastGrowth; t.After(newest) {
			newest = t
		}
	}
	silent := now.Sub(newest)
	if len(found) == 0 && stale > 0 && silent >= stale {
		why := problem.Said("for " + silent.Round(time.Second).String())
		return []problem.Found{problem.NoGrowth.Found("data logs", why, dir)}
	}
	return found
}

// readable reports why a directory cannot be read. It reads no more than one name: there may be
// many.
func readable(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Readdirnames(1); errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
