package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"distributor/engine"
	"distributor/engine/config"
	"distributor/engine/logging"
	"distributor/engine/query"
	"distributor/engine/worker"
)

// self is the path of the running binary, even after another binary has replaced its file: a worker
// always runs its primary's binary.
const self = "/proc/self/exe"

func serveCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	source := config.Source{Env: os.Environ(), Args: args}
	cfg, warnings, err := config.Load(source)
	if errors.Is(err, config.ErrHelp) {
		if err := config.WriteHelp(stdout); err != nil {
			return exitFailed
		}
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "distributor: the configuration cannot be used:\n%v\n", err)
		return exitConfig
	}
	level := new(slog.LevelVar)
	level.Set(cfg.Level())
	handler, closeLog := logging.Open(logging.Options{Level: level, Format: cfg.LogFormat,
		To: cfg.LogTo, Dir: cfg.DistributorLogs, Stderr: stderr})
	defer closeLog()
	log := slog.New(handler)
	slog.SetDefault(log) // receives what libraries log by themselves, at level info
	// The reader of the log may go away, which must not end this process.
	signal.Ignore(syscall.SIGPIPE)
	for _, w := range warnings {
		log.Warn("configuration: "+w.Text, "key", w.Key)
	}
	log.Info(version(), "pid", os.Getpid(), "settings", cfg)
	binary, err := startedBy()
	if err != nil {
		log.Error("own binary not found", "error", err)
		return exitFailed
	}

	reload, handOver := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGUSR1, syscall.SIGHUP)
	defer signal.Stop(reload)
	signal.Notify(handOver, syscall.SIGUSR2)
	defer signal.Stop(handOver)
	if err := engine.Run(ctx, engine.Options{
		Source: source, Config: cfg, Worker: []string{self, "worker"}, Query: []string{self, "query"},
		Log: log, Level: level, Version: version(),
		Binary: append([]string{binary}, os.Args[1:]...), Handover: handOver,
	}, reload); err != nil {
		log.Error("stopped", "error", err)
		if errors.Is(err, engine.ErrConfig) {
			return exitConfig
		}
		return exitFailed
	}
	log.Info("stopped")
	return exitOK
}

// startedBy returns the path by which this process was started. At a handover the file at that
// path, perhaps a symbolic link, may be another binary.
func startedBy() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return os.Executable() // the first argument is not the binary's name
	}
	return filepath.Abs(path)
}

// workerCommand runs a worker; only the primary starts it. Descriptors 3 and 4 are the control
// channel and the wake-up.
func workerCommand(_ context.Context, _ []string, _, stderr io.Writer) int {
	log, level := childLog(stderr)
	if err := worker.Run(worker.Options{Control: 3, Wake: 4, Log: log, Level: level}); err != nil {
		log.Error("worker failed", "error", err)
		return exitFailed
	}
	return exitOK
}

// queryCommand runs the query process, which reads the databases; only the primary starts it.
// Descriptor 3 is the channel.
func queryCommand(_ context.Context, _ []string, _, stderr io.Writer) int {
	log, level := childLog(stderr)
	if err := query.Serve(os.NewFile(3, "channel"), log, level); err != nil {
		log.Error("query process failed", "error", err)
		return exitFailed
	}
	return exitOK
}

// childLog returns the log of a process that the primary has started. It ignores the signals for
// reload and stop, which are the primary's task: a signal to the whole process group or control
// group must not end a worker before its clients are drained. When the primary dies, the kernel
// ends its children.
func childLog(stderr io.Writer) (*slog.Logger, *slog.LevelVar) {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	_ = os.WriteFile("/proc/self/comm", []byte("distributor"), 0) // otherwise process lists show "exe"
	level := new(slog.LevelVar)
	// The primary parses these lines and logs them again.
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(log) // otherwise the primary would take a library's output for a crash
	return log, level
}
