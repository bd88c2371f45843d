//go:build race

package proxy

// raceDetector makes sync.Pool forget at random, so that allocations can't be counted.
const raceDetector = true
