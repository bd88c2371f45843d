package boltfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// Forget lets the system forget what it holds of a closed file in memory, so that the next
// one to open it reads what is on disk. Pages that wait to be written stay.
func Forget(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
