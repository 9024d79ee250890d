// Command distributor follows an archiver's data logs and streams every record, signed, to its
// collectors. `distributor help` lists its commands.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"distributor/engine/simulator"
)

// Exit statuses of all commands. Status 2 is not used, because the Go runtime ends with it after a
// panic, SIGBUS, SIGSEGV, SIGABRT or SIGQUIT, and deploy/distributor.service must restart such a
// process.
const (
	exitOK     = 0
	exitFailed = 1
	exitConfig = 78  // EX_CONFIG: arguments, environment or configuration cannot be used
	exitSignal = 128 // plus the signal's number: a second signal came while stopping
)

type command struct {
	name, about string
	run         func(ctx context.Context, args []string, stdout, stderr io.Writer) int
}

// commands are in the order of the help text. A command with an empty about is not listed.
var commands = []command{
	{"serve", "follow the data logs and serve collectors (this is the default)", serveCommand},
	{"tail", "act as a collector: connect, verify every message, print the records", tailCommand},
	{"simulate", "act as an archiver: write data logs and databases", simulator.Command},
	{"demo", "run an archiver, a distributor and a collector together", demoCommand},
	{"keygen", "generate a key pair", keygenCommand},
	{"doctor", "check what keeps the distributor from working, and how to correct it", doctorCommand},
	{"version", "print the version of this binary", versionCommand},
	{"worker", "", workerCommand},
	{"query", "", queryCommand},
}

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		// The second signal ends the process at once. This goroutine waits for it: restoring the signal's
		// default action would leave a moment in which a second signal is lost.
		again := <-signals
		os.Exit(exitSignal + int(again.(syscall.Signal)))
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	} else if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
		name = "help"
	}
	if name == "help" {
		usage(stdout)
		return exitOK
	}
	for _, c := range commands {
		if c.name == name {
			return c.run(ctx, args, stdout, stderr)
		}
	}
	fmt.Fprintf(stderr, "distributor: there is no command %q\n\n", name)
	usage(stderr)
	return exitConfig
}

func usage(w io.Writer) {
	fmt.Fprint(w, "distributor follows an archiver's data logs and streams every record, signed, to its collectors.\n\nusage: distributor [command] [flags]\n\n")
	for _, c := range commands {
		if c.about != "" {
			fmt.Fprintf(w, "  %-10s %s\n", c.name, c.about)
		}
	}
	fmt.Fprint(w, "\n`distributor <command> --help` lists the flags of a command.\n")
}

func versionCommand(_ context.Context, _ []string, stdout, _ io.Writer) int {
	fmt.Fprintln(stdout, version())
	return exitOK
}

// version returns the version that the Go toolchain stamped into the binary.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "distributor (no build information)"
	}
	v := "distributor " + info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v += " " + s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				v += " (modified)"
			}
		}
	}
	return v + " " + info.GoVersion
}
