// Package proc starts processes on chosen CPUs, talks to children of our own
// in JSON lines, and reads what the kernel has booked for processes and CPUs.
//
// The books are the kernel's, for each process as a whole: nothing that is
// measured has to measure itself. A process's CPU time is read from its CPU
// clock (nanoseconds, all threads, user and system); /proc/<pid>/stat has the
// same number in steps of 10 ms.
//
// All functions may be called from any goroutine. Linux only.
package proc
