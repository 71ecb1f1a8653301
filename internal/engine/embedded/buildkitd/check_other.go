//go:build !linux

package buildkitd

import "github.com/aksflow/aksflow/internal/core/delivery"

// Check returns the one check that fails.
func Check(Options) []delivery.Check {
	return []delivery.Check{delivery.NewCheck("operating system", "", ErrUnsupported)}
}
