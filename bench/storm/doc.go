// Package storm is a crowd that knocks all at once: one process that connects
// as many clients as it is told, some at a time, each with a key pair of its own
// and an upgrade request that was signed beforehand, so that what is measured is
// the server's work. A client leaves when it has its 101, or stays and never
// reads.
//
// Connections come from addresses 127.x.y.z of this machine in turn: the ports of
// one would not last for all that have just gone.
//
// Storm is the parent's end, Run the child's.
package storm
