//go:build !race

package race

// Detector tells whether the race detector is on.
const Detector = false
