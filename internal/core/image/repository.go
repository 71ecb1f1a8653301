package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// Repository is a connection to one repository of a registry.
type Repository struct {
	client *client
	puller *remote.Puller
	pusher *remote.Pusher
}

// Access says what a connection is for.
type Access bool

// The kinds of access.
const (
	ReadOnly  Access = false
	ReadWrite Access = true
)

// Open connects to a repository, HOST/PATH.
func (r Registry) Open(ctx context.Context, repository string, access Access) (*Repository, error) {
	repo, err := r.parse(repository)
	if err != nil {
		return nil, err
	}
	scope := transport.PullScope
	if access == ReadWrite {
		scope = transport.PushScope
	}
	c, err := r.connect(ctx, repo, scope)
	if err != nil {
		return nil, err
	}
	opened := &Repository{client: c}
	if opened.puller, err = remote.NewPuller(c.opts...); err != nil {
		return nil, err
	}
	opened.pusher, err = remote.NewPusher(c.opts...)
	return opened, err
}

// Name returns HOST/PATH.
func (r *Repository) Name() string { return r.client.repo.Name() }

// Digest returns the digest that a tag or a digest stands for in the registry. ok is false where the registry answers that it
// has none. Any other answer is an error.
func (r *Repository) Digest(ctx context.Context, tagOrDigest string) (digest string, ok bool, err error) {
	d, ok, err := r.head(ctx, tagOrDigest)
	return d.Digest.String(), ok, err
}

func (r *Repository) head(ctx context.Context, tagOrDigest string) (desc v1.Descriptor, ok bool, err error) {
	reference, err := r.reference(tagOrDigest)
	if err != nil {
		return desc, false, err
	}
	d, err := r.puller.Head(ctx, reference)
	switch {
	case notFound(err):
		return desc, false, nil
	case err != nil:
		return desc, false, r.client.explain(ctx, "look up "+reference.Name(), err)
	}
	return *d, true, nil
}

// reference reads a tag or a digest.
func (r *Repository) reference(tagOrDigest string) (name.Reference, error) {
	if _, err := v1.NewHash(tagOrDigest); err == nil {
		return r.client.repo.Digest(tagOrDigest), nil
	}
	tags, err := parseTags(r.client.repo, []string{tagOrDigest})
	if err != nil {
		return nil, err
	}
	return tags[0], nil
}

// notFound reports whether a registry answered that something is not there.
func notFound(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// existing returns what is known about the image with a digest. It is an error where the repository has none.
func (r *Repository) existing(ctx context.Context, digest string) (v1.Descriptor, error) {
	if _, err := v1.NewHash(digest); err != nil {
		return v1.Descriptor{}, fault.Usagef("digest %q: want sha256:HEX", digest)
	}
	desc, ok, err := r.head(ctx, digest)
	if err == nil && !ok {
		err = fmt.Errorf("%s has no image %s: push it first", r.Name(), digest)
	}
	return desc, err
}
