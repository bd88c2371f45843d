package metering

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// datasync makes what was written durable, and of the rest what is needed to find it: its length, not its times.
func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
