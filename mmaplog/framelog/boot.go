package framelog

import (
	"encoding/hex"
	"os"
	"strings"
)

// bootID tells apart the times between two starts of the machine. A process that is killed leaves everything it wrote
// in the page cache; a machine that goes down does not, and only a changed boot ID shows that it did.
type bootID [16]byte

func (b bootID) isZero() bool { return b == bootID{} }

// readBootID returns zero where the kernel does not say: then an unclean end counts as one of the machine.
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
