package engine

import (
	"context"
	"fmt"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/engine/embedded/buildkitd"
)

// CacheDir is the directory of the embedded engine in a state directory: images, results of builds, cache volumes.
func CacheDir(state string) string { return engineDir(state) }

// Prune stops the embedded engine's daemon and deletes its cache. A daemon that another command uses is an error. Env has the
// form of os.Environ.
func Prune(ctx context.Context, state string, env []string) error {
	dir := engineDir(state)
	if buildkitd.InUse(dir) {
		return fault.Usagef("the engine of %s is in use by another command: prune it when that has ended", state)
	}
	if err := Down(ctx, state); err != nil {
		return err
	}
	if err := buildkitd.Remove(ctx, buildkitd.Options{Dir: dir, Env: env}); err != nil {
		return fmt.Errorf("deleting the engine's cache: %w", err)
	}
	return nil
}
