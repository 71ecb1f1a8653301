// Package digest has the algorithm that artifacts are identified by.
package digest

import (
	_ "crypto/sha256" // the default
	_ "crypto/sha512"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Canonical is the algorithm of new artifacts.
var Canonical = digest.SHA256

// AlgorithmForName finds an algorithm that this program has.
func AlgorithmForName(name string) (digest.Algorithm, error) {
	a := digest.Algorithm(name)
	if !a.Available() {
		return "", fmt.Errorf("no digest algorithm %q: %w", name, digest.ErrDigestUnsupported)
	}
	return a, nil
}
