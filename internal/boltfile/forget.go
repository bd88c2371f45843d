//go:build !linux

package boltfile

// Forget does nothing where the system offers no way to forget a file's pages: [File.Settle] makes
// them durable all the same.
func Forget(string) error { return nil }
