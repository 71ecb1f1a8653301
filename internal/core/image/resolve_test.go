package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// errNotFound reports that a registry has no such image.
var errNotFound = errors.New("image not found")

// resolve returns the digest ("sha256:…") of an image that is named by tag or digest, or errNotFound.
func resolve(ctx context.Context, image string, r Registry) (string, error) {
	var opts []name.Option
	if r.Insecure {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(image, opts...)
	if err != nil {
		return "", fault.Usagef("image %q: %w", image, err)
	}
	c, err := r.connect(ctx, ref.Context(), transport.PullScope)
	if err != nil {
		return "", err
	}
	d, err := remote.Head(ref, append(c.opts, remote.WithContext(ctx))...)
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return "", fmt.Errorf("%s: %w", image, errNotFound)
	}
	if err != nil {
		return "", c.explain(ctx, "look up "+image, err)
	}
	return d.Digest.String(), nil
}
