package enginetest

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// exitConfig is EX_CONFIG, the exit status of a configuration that cannot be used.
const exitConfig = 78

// unit holds the settings of a systemd unit file by section and key, in the file's order.
type unit map[string]map[string][]string

func readUnit(t *testing.T, name string) unit {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	u, section := make(unit), ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, value, found := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			u[section] = make(map[string][]string)
		case !found || section == "":
			t.Fatalf("%s: a line that is no setting: %q", name, line)
		default:
			u[section][key] = append(u[section][key], value)
		}
	}
	return u
}

// restarts reports whether systemd restarts a service whose main process ended with this status. It
// has the table of Restart= in systemd.service(5), and the lists of statuses that override it.
func (u unit) restarts(t *testing.T, how syscall.WaitStatus) bool {
	t.Helper()
	service := u["Service"]
	listed := func(key string) bool {
		for _, word := range strings.Fields(strings.Join(service[key], " ")) {
			code, err := strconv.Atoi(word)
			if err == nil && how.Exited() && how.ExitStatus() == code {
				return true
			}
			if err != nil && how.Signaled() && unix.SignalName(how.Signal()) == word {
				return true
			}
		}
		return false
	}
	clean := how.Exited() && how.ExitStatus() == 0 || listed("SuccessExitStatus") || how.Signaled() &&
		slices.Contains([]syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGPIPE},
			how.Signal())
	switch {
	case listed("RestartPreventExitStatus"):
		return false
	case listed("RestartForceExitStatus"):
		return true
	}
	switch restart := service["Restart"]; {
	case len(restart) != 1:
		t.Fatalf("Restart= is there %d times", len(restart))
		return false
	case restart[0] == "always":
		return true
	case restart[0] == "on-success":
		return clean
	case restart[0] == "on-failure":
		return !clean
	case restart[0] == "on-abnormal", restart[0] == "on-abort":
		return how.Signaled() && !clean
	default:
		return false
	}
}

// TestUnitRestartsCrashes checks that the shipped unit restarts the distributor after every kind of
// crash, and does not restart it after a configuration error.
func TestUnitRestartsCrashes(t *testing.T) {
	t.Parallel()
	unit := readUnit(t, "distributor.service")
	if limit := unit["Unit"]["StartLimitIntervalSec"]; !slices.Equal(limit, []string{"0"}) {
		t.Errorf("systemd gives up after some restarts: StartLimitIntervalSec=%v", limit)
	}
	send := func(s syscall.Signal) func(*testing.T, *Distributor, *os.Process) {
		return func(t *testing.T, _ *Distributor, p *os.Process) {
			if err := p.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		crash  func(*testing.T, *Distributor, *os.Process)
		status int // -1: a signal
	}{
		"SIGQUIT": {send(unix.SIGQUIT), 2},
		"SIGABRT": {send(unix.SIGABRT), 2},
		"SIGSEGV": {send(unix.SIGSEGV), 2},
		"SIGBUS":  {send(unix.SIGBUS), 2},
		"SIGKILL": {send(unix.SIGKILL), -1},
		"a fault in the head": {func(t *testing.T, d *Distributor, _ *os.Process) {
			if err := os.Truncate(filepath.Join(d.Dir, "state", "frames", "head"), 0); err != nil {
				t.Fatal(err)
			}
			line := `{"counter":1,"cycleRecord":{"counter":1},"cycleMarker":"m"}` + "\n"
			if err := os.WriteFile(filepath.Join(d.Logs, "cycle-log1.txt"), []byte(line),
				0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d.Logs, "active-cycle-log.txt"), []byte("cycle-log1.txt"),
				0o644); err != nil {
				t.Fatal(err)
			}
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := New(t, nil)
			p := command(built, d.Dir, "serve")
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- p.Wait() }()
			kill := func() { _ = p.Process.Kill() }
			t.Cleanup(kill)
			Until(t, "it serves", func() bool {
				conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(d.Port))
				if err == nil {
					_ = conn.Close()
				}
				return err == nil && exists(filepath.Join(d.Dir, "state", "checkpoint.json"))
			}, nil)
			c.crash(t, d, p.Process)
			_ = within(t, ended, kill)
			how := p.ProcessState.Sys().(syscall.WaitStatus)
			if how.ExitStatus() != c.status {
				t.Errorf("got %v, want status %d", p.ProcessState, c.status)
			}
			if !unit.restarts(t, how) {
				t.Errorf("after %v systemd does not restart it", p.ProcessState)
			}
		})
	}
	for name, args := range map[string][]string{
		"no such command": {"sevre"},
		"no such file":    {"serve", "--config", "nowhere.json"},
		"a value":         {"serve", "--DISTRIBUTOR_PORT", "99999"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Run(t, t.TempDir(), args...)
			if r.Status != exitConfig || r.Stderr == "" {
				t.Errorf("exit status %d, and says %q", r.Status, r.Stderr)
			}
			if unit.restarts(t, syscall.WaitStatus(r.Status<<8)) {
				t.Errorf("after status %d systemd restarts it", r.Status)
			}
		})
	}
	if !unit.restarts(t, 1<<8) {
		t.Error("systemd does not restart it while a port or a disk is missing")
	}
}

// TestUsageIsNoCrash checks that no usage error has an exit status that the unit takes for a crash.
func TestUsageIsNoCrash(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"tail", "simulate", "demo", "keygen", "doctor"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			if r := Run(t, t.TempDir(), command, "nonsense", "--no such flag"); r.Status != exitConfig {
				t.Errorf("exit status %d: %s", r.Status, r.Stderr)
			}
		})
	}
}
