package framelog

import (
	"encoding/hex"
	"os"
	"strings"
)

// bootID identifies the time between two starts of the machine. A killed process leaves everything
// it wrote in the page cache; a machine that goes down does not, and only a changed boot ID shows
// that it went down.
type bootID [16]byte

func (b bootID) isZero() bool { return b == bootID{} }

// readBootID returns zero if the kernel does not tell. Then an unclean end counts as a crash of the
// machine.
func readBootID() (b bootID) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return bootID{}
	}
	digits := strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")
	if raw, err := hex.DecodeString(digits); err == nil && len(raw) == len(b) {
		copy(b[:], raw)
	}
	return b
}
