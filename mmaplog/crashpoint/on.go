//go:build crashpoints

package crashpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var (
	chosen = count // none
	left   atomic.Int64
)

func init() {
	name, n, _ := strings.Cut(os.Getenv(Variable), ":")
	if name == "" {
		return
	}
	at := slices.Index(Names[:], name)
	passings, err := strconv.ParseInt(n, 10, 64)
	if at < 0 || err != nil || passings < 1 {
		fmt.Fprintf(os.Stderr, "%s: %q is no <name>:<n>\n", Variable, os.Getenv(Variable))
		os.Exit(2)
	}
	chosen = Point(at)
	left.Store(passings)
}

// Pass ends the process at the n-th passing of the chosen point.
func Pass(p Point) {
	if p == chosen && left.Add(-1) == 0 {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}
