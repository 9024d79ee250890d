package enginetest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// netns is a network namespace. A holder process keeps it, and ends with the test process. The
// kernel then removes the namespace with its interfaces.
type netns struct {
	t   testing.TB
	pid int // of the holder
}

// newNetns makes a namespace with a loopback interface, and skips the test if that is not possible.
func newNetns(t testing.TB) netns {
	t.Helper()
	for _, tool := range []string{"nsenter", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no network namespaces here: %v", err)
		}
	}
	holder := exec.Command("cat")
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setpgid: true}
	if err := holder.Start(); err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = holder.Wait()
	})
	n := netns{t, holder.Process.Pid}
	n.run("ip", "link", "set", "lo", "up")
	return n
}

// connect connects two namespaces by a pair of interfaces with the given addresses.
func (n netns) connect(other netns, address, otherAddress string) {
	n.t.Helper()
	n.run("ip", "link", "add", "veth0", "type", "veth",
		"peer", "name", "veth0", "netns", strconv.Itoa(other.pid))
	for _, end := range []struct {
		netns
		address string
	}{{n, address}, {other, otherAddress}} {
		end.run("ip", "address", "add", end.address, "dev", "veth0")
		end.run("ip", "link", "set", "veth0", "up")
	}
}

func (n netns) run(args ...string) {
	n.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	n.enter(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// enter makes the command run in the namespace.
func (n netns) enter(cmd *exec.Cmd) {
	n.t.Helper()
	path, err := exec.LookPath("nsenter")
	if err != nil {
		n.t.Fatal(err)
	}
	in := []string{"nsenter", "--target", strconv.Itoa(n.pid), "--net", "--", cmd.Path}
	cmd.Args = append(in, cmd.Args[1:]...)
	cmd.Path = path
}

// listen returns a listening socket in the namespace, as a service manager has one.
func (n netns) listen(address string) *os.File {
	n.t.Helper()
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread in the namespace ends with the goroutine
		file, err := n.listenHere(address)
		done <- result{file, err}
	}()
	r := <-done
	if r.err != nil {
		n.t.Fatal(r.err)
	}
	n.t.Cleanup(func() { _ = r.file.Close() })
	return r.file
}

func (n netns) listenHere(address string) (*os.File, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", n.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}
