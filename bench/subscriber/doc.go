// Package subscriber is the benchmark's crowd of cheap clients: one process
// with any number of connections, that takes what comes and throws it away in
// the kernel (recv with MSG_TRUNC copies nothing), counting bytes.
//
// The connections are real: each authenticates with a key pair of its own and
// a signed upgrade request. After the 101 nothing is parsed, and pings are
// never answered, so a server under test needs a ping timeout that is longer
// than the run. What is counted includes control frames: some hundred bytes a
// client in a run.
//
// Fleet is the parent's end, Run the child's. A client receives from the
// moment it is connected, while the next ones still are: with clients that wait
// for each other, the server's kernel piles up megabytes for each, and what is
// measured is the making of room (three times the CPU at 1,000 clients).
package subscriber
