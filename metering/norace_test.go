//go:build !race

package metering_test

const raceDetector = false
