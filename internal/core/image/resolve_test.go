package image

import (
	"context"
	"errors"
	"fmt"
)

// errNotFound reports that a registry has no such image.
var errNotFound = errors.New("image not found")

// resolve returns the digest ("sha256:…") of an image that is named by tag or digest, or errNotFound.
func resolve(ctx context.Context, image string, r Registry) (string, error) {
	digest, err := r.Resolve(ctx, image)
	if notFound(err) {
		err = fmt.Errorf("%s: %w", image, errNotFound)
	}
	return digest, err
}
