// Package race tells tests whether the race detector watches them: it makes sync.Pool forget at random, so that
// allocations can't be counted, and ends the process over the pointers that bbolt makes of a damaged page.
package race
