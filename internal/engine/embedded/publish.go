package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/hostfile"
	"github.com/aksflow/aksflow/internal/engine/embedded/registryauth"
)

// imageOf brings the image of a container and its variants for other platforms into the store: the manifest of the only
// one that is not empty, or an index of several.
func (e *Engine) imageOf(ctx context.Context, n *api.Node, a api.Args) (ocispecs.Descriptor, error) {
	containers := []*api.Node{n}
	for _, id := range a.List("platformVariants") {
		containers = append(containers, e.api.Must(id))
	}
	if len(containers) == 1 {
		return e.tarball(ctx, n)
	}
	var manifests []ocispecs.Descriptor
	for _, n := range containers {
		var c *container
		if _, err := e.run(ctx, nil, func(ctx context.Context, b *build) (_ *result, err error) {
			c, err = b.container(ctx, n)
			return nil, err
		}); err != nil {
			return ocispecs.Descriptor{}, err
		}
		if c.root.state.Output() == nil {
			continue
		}
		manifest, err := e.tarball(ctx, n)
		if err != nil {
			return ocispecs.Descriptor{}, err
		}
		platform := c.config.Platform
		manifest.Platform = &platform
		manifests = append(manifests, manifest)
	}
	switch len(manifests) {
	case 0:
		return ocispecs.Descriptor{}, errors.New("none of the containers has a file system")
	case 1:
		manifests[0].Platform = nil
		return manifests[0], nil
	}
	return e.store.Index(ctx, manifests)
}

// writeImage writes an image's tarball to the host.
func (e *Engine) writeImage(ctx context.Context, n *api.Node, a api.Args, dest string) error {
	desc, err := e.imageOf(ctx, n, a)
	if err != nil {
		return err
	}
	return hostfile.Replace(dest, func(w io.Writer) (fs.FileMode, error) { return 0o644, e.store.WriteTarball(ctx, w, desc) })
}

// exportContainer writes a container's image to the host and answers where it is.
func exportContainer(ctx context.Context, e *Engine, n *api.Node, a api.Args) (any, error) {
	dest, err := exportTarget(a, tarballName)
	if err != nil {
		return nil, err
	}
	return dest, e.writeImage(ctx, n, a, dest)
}

// publish pushes a container's image, and answers its reference with the digest.
func publish(ctx context.Context, e *Engine, n *api.Node, a api.Args) (any, error) {
	address := a.Str("address")
	named, err := reference.ParseNormalizedNamed(address)
	if err != nil {
		return nil, fmt.Errorf("publish %q: %w", address, err)
	}
	dir, err := os.MkdirTemp("", "aksflow-publish-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	o := image.Options{Tarball: filepath.Join(dir, tarballName), Repository: reference.TrimNamed(named).Name()}
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok {
		o.Tags = []string{tagged.Tag()}
	}
	if err := e.writeImage(ctx, n, a, o.Tarball); err != nil {
		return nil, err
	}
	o.Registry.Username, o.Registry.Password = e.credentials.Given(registryauth.Host(named.Name()))
	pushed, err := image.Push(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	// The tag stays in the reference if it was given, as a Dagger engine has it.
	return named.String() + "@" + pushed.Digest, nil
}

func withRegistryAuth(_ context.Context, b *build, _ *container, a api.Args) error {
	password, err := b.engine.hidden(b.engine.api.Must(a.Str("secret")))
	if err != nil {
		return err
	}
	b.engine.credentials.Set(a.Str("address"), a.Str("username"), password)
	return nil
}

func withoutRegistryAuth(_ context.Context, b *build, _ *container, a api.Args) error {
	b.engine.credentials.Remove(a.Str("address"))
	return nil
}
