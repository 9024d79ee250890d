package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"distributor/engine/doctor"
)

// runDoctor runs the command as an operator does.
func runDoctor(t *testing.T, dir string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	c := distributor(t, dir, append([]string{"doctor"}, args...)...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// archive creates data logs and databases where the tests' flags and the defaults expect them.
func archive(t *testing.T, dir string) {
	t.Helper()
	if out, err := distributor(t, dir, "simulate", "--dir", "data-logs", "--db",
		"archiverdb.sqlite3", "--rate", "0", "--count", "50", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestDoctorCommand(t *testing.T) {
	dir := t.TempDir()
	if status, out, _ := runDoctor(t, dir, "--help"); status != exitOK ||
		!strings.Contains(out, "usage: distributor doctor") {
		t.Errorf("help: %d %s", status, out)
	}
	if status, out, errs := runDoctor(t, dir, "everything"); status != exitConfig || out != "" ||
		!strings.Contains(errs, `"everything"`) {
		t.Errorf("usage: %d %q %q", status, out, errs)
	}
	if status, out, _ := runDoctor(t, dir, "--DATA_LOG_DIR", "nowhere",
		"--ADMIN_ADDR="); status != exitFailed || !strings.Contains(out, "problem  DATA_LOG_DIR: ") ||
		!strings.Contains(out, "         → see whether the archiver") {
		t.Errorf("problem: %d %s", status, out)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("it made %v, %v", names, err)
	}
	archive(t, dir)
	flags := []string{"--json", "--DATA_LOG_DIR", "data-logs", "--ADMIN_ADDR=",
		"--DISTRIBUTOR_PORT", "0", "--FRAME_LOG_BYTES", "65536", "--FRAME_LOG_SEGMENT_BYTES", "65536"}
	status, out, errs := runDoctor(t, dir, flags...)
	var report doctor.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != exitOK ||
		report.Problems != 0 || report.OK == 0 || len(report.Findings) != report.OK+report.Warnings ||
		errs != "" {
		t.Errorf("%d %v %s%s", status, err, out, errs)
	}
}

// Beside a running distributor, doctor finds it healthy and does not disturb it.
func TestDoctorBesideADistributor(t *testing.T) {
	dir := t.TempDir()
	archive(t, dir)
	s := startServing(t, dir)
	port := s.addr[strings.LastIndexByte(s.addr, ':')+1:]
	flags := []string{"--DATA_LOG_DIR", "data-logs", "--ADMIN_ADDR=", "--DISTRIBUTOR_PORT", port,
		"--LISTEN_ADDR", "127.0.0.1", "--FRAME_LOG_BYTES", "65536", "--FRAME_LOG_SEGMENT_BYTES", "65536"}
	status, out, _ := runDoctor(t, dir, flags...)
	if status != exitOK || !strings.Contains(out,
		"a distributor runs on "+s.addr+" and is healthy") ||
		!strings.Contains(out, "in use by process") ||
		!strings.Contains(out, "of the running distributor") {
		t.Errorf("%d %s", status, out)
	}
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if status, out, _ := runDoctor(t, dir, flags...); status != exitOK ||
		!strings.Contains(out, s.addr+" is free") || strings.Contains(out, "in use by process") {
		t.Errorf("%d %s", status, out)
	}
}
