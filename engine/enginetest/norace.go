//go:build !race

package enginetest

// RaceEnabled tells whether this test, and so the binary, runs under the race
// detector: five to ten times slower.
const RaceEnabled = false
