package framelog

// op names a file operation that a test can make fail.
type op string

const (
	opCreate   op = "create"
	opAllocate op = "allocate"
	opMap      op = "map"
	opRename   op = "rename"
	opWrite    op = "write"
	opSync     op = "sync"
	opTrim     op = "trim"
	opUnlink   op = "unlink"
)

// faults returns the error that an operation on path has to fail with, or nil. With a nil faults no
// operation fails.
type faults func(o op, path string) error

func (f faults) check(o op, path string) error {
	if f == nil {
		return nil
	}
	return f(o, path)
}
