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

// self is the binary that runs, also when another one has taken its place: a
// worker is always of its primary's binary.
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
	handler, closeLog := logging.Open(logging.Options{Level: level, Format: cfg.LogFormat, To: cfg.LogTo, Dir: cfg.DistributorLogs, Stderr: stderr})
	defer closeLog()
	log := slog.New(handler)
	slog.SetDefault(log) // takes what libraries say by themselves, at info
	// Who reads the log may go away; that must not end us.
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
		Source: source, Config: cfg, Worker: []string{self, "worker"}, Query: []string{self, "query"}, Log: log, Level: level, Version: version(),
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

// startedBy is the path of the binary as we were started: what is there when it
// is time for a handover may be another one, behind a link perhaps.
func startedBy() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return os.Executable() // we were given another name
	}
	return filepath.Abs(path)
}

// workerCommand is what the primary starts. Descriptors 3 and 4 are the
// control channel and the wake-up.
func workerCommand(_ context.Context, _ []string, _, stderr io.Writer) int {
	log, level := childLog(stderr)
	if err := worker.Run(worker.Options{Control: 3, Wake: 4, Log: log, Level: level}); err != nil {
		log.Error("worker failed", "error", err)
		return exitFailed
	}
	return exitOK
}

// queryCommand is what the primary starts to read the databases. Descriptor 3
// is the channel.
func queryCommand(_ context.Context, _ []string, _, stderr io.Writer) int {
	log, level := childLog(stderr)
	if err := query.Serve(os.NewFile(3, "channel"), log, level); err != nil {
		log.Error("query process failed", "error", err)
		return exitFailed
	}
	return exitOK
}

// childLog makes the log of a process that the primary has started. Reload and
// stop are the primary's affair: a signal to the whole process group or control
// group must not end a worker before its clients are drained. When the primary
// dies, the kernel ends its children.
func childLog(stderr io.Writer) (*slog.Logger, *slog.LevelVar) {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	_ = os.WriteFile("/proc/self/comm", []byte("distributor"), 0) // the name in lists of processes would be "exe"
	level := new(slog.LevelVar)
	// The primary takes the lines apart again.
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(log) // else the primary would take a library's words for a crash
	return log, level
}
