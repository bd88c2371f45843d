package stage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrNoEnvoy is what FindEnvoy returns where there is no Envoy.
var ErrNoEnvoy = errors.New("there is no Envoy binary")

// FindEnvoy looks for Envoy: the given path (WEIR_ENVOY), the PATH, .cache/envoy
// here or in a directory above.
func FindEnvoy(given string) (string, error) {
	if given != "" {
		if _, err := os.Stat(given); err != nil {
			return "", fmt.Errorf("%w at WEIR_ENVOY: %w", ErrNoEnvoy, err)
		}
		path, err := filepath.Abs(given) // it is started in a directory of its own
		if err != nil {
			return "", fmt.Errorf("find envoy: %w", err)
		}
		return path, nil
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find envoy: %w", err)
	}
	for {
		path := filepath.Join(dir, ".cache", "envoy")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", ErrNoEnvoy
		}
		dir = above
	}
}
