//go:build race

package metering_test

// raceDetector checks where pointers lead, and ends the process over those that bbolt makes of a damaged page.
const raceDetector = true
