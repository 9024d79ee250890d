package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"distributor/engine/config"
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
func (d dataLogs) health(now time.Time) []problem {
	cfg := d.cfg()
	if err := readable(cfg.DataLogDir); err != nil {
		return []problem{{
			component: "data logs",
			details: words{
				err.Error(), dataLogRemedy(err, "DATA_LOG_DIR ("+cfg.DataLogDir+")"),
			},
			public: words{
				"the directory cannot be read" + cause(err), dataLogRemedy(err, "DATA_LOG_DIR"),
			},
		}}
	}
	var found []problem
	newest := d.started
	for _, stream := range datalog.Streams {
		s := d.stats(stream)
		if t := s.Trouble; t.Err != nil && now.Sub(t.Since) >= troubleGrace {
			found = append(found, problem{
				component: "data logs: " + s.Stream.String(),
				details:   words{t.Err.Error(), dataLogRemedy(t.Err, t.Path)},
				public: words{
					"reading waits for a file" + cause(t.Err), dataLogRemedy(t.Err, "DATA_LOG_DIR"),
				},
			})
		}
		if t := s.LastGrowth; t.After(newest) {
			newest = t
		}
	}
	silent := now.Sub(newest)
	if len(found) == 0 && cfg.DataLogStale > 0 && silent >= cfg.DataLogStale {
		what := func(dir string) words {
			return words{
				fmt.Sprintf("no stream in %s has grown for %s", dir, silent.Round(time.Second)),
				"see whether the archiver runs and writes there " +
					"(DATA_LOG_STALE_MS sets how long silence is normal)",
			}
		}
		return []problem{{
			component: "data logs", details: what(cfg.DataLogDir), public: what("DATA_LOG_DIR"),
		}}
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

// dataLogRemedy is what helps against an error of reading the data logs.
func dataLogRemedy(err error, path string) string {
	remedy := "see whether the archiver runs and writes to " + path
	switch {
	case errors.Is(err, fs.ErrPermission):
		remedy = "let the distributor's user read " + path + ", and enter the directories above"
	case errors.Is(err, syscall.EIO):
		remedy = "look at the disk of " + path + ": the kernel's log has its errors"
	case errors.Is(err, syscall.ESTALE), errors.Is(err, syscall.ENOTCONN):
		remedy = "mount the file system of " + path + " anew"
	case errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENOTDIR):
		remedy = "see where " + path +
			" leads: a link in it makes a circle, or a file stands where a directory is expected"
	}
	return remedy + "; it is tried again every FILE_STREAM_INTERVAL_MS"
}
