package ipc

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Start starts a child process with env as its whole environment, and files as its descriptors from
// 3 on. It also returns the read end of the child's standard output and error. The caller closes
// it, and files.
//
// The calling goroutine must be locked to a thread that outlives the child: the kernel kills the
// child when the thread that forked it ends (PR_SET_PDEATHSIG).
func Start(argv, env []string, files ...*os.File) (*exec.Cmd, *os.File, error) {
	output, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("ipc: pipe: %w", err)
	}
	defer w.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append([]string{}, env...) // nil would inherit this process's
	cmd.Stdout, cmd.Stderr = w, w
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // a terminal's Ctrl-C is for the primary alone
	}
	if err := cmd.Start(); err != nil {
		_ = output.Close()
		return nil, nil, fmt.Errorf("ipc: start a child process: %w", err)
	}
	return cmd, output, nil
}
