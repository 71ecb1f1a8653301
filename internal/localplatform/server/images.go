//go:build linux

package server

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
)

// makeImages makes the base images while the platform starts, because that needs the host's network, and pushes them when
// the platform's registry is ready.
func makeImages(ctx context.Context, c *config, o localplatform.Options, registry <-chan string) error {
	layouts, err := baseimage.Ensure(ctx, o.Cache)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case host := <-registry:
		return push(ctx, c.Programs["pause"], layouts, host, o)
	}
}

// pushImages pushes the base images to a platform that runs already, if it has a registry.
func pushImages(ctx context.Context, info *localplatform.Info, o localplatform.Options) error {
	if !info.Has(localplatform.Registry) {
		return nil
	}
	layouts, err := baseimage.Ensure(ctx, o.Cache)
	if err != nil {
		return err
	}
	return push(ctx, "", layouts, info.Registry, o)
}

func push(ctx context.Context, pause string, layouts baseimage.Layouts, host string, o localplatform.Options) error {
	images := map[string]v1.Image{}
	for _, ref := range []string{baseimage.Debian, baseimage.Redis} {
		image, err := layouts.Image(ref)
		if err != nil {
			return err
		}
		images[ref] = image
	}
	if pause != "" {
		image, err := pauseContainer(pause)
		if err != nil {
			return err
		}
		images[pauseImage] = image
	}
	auth := authn.Anonymous
	if o.RegistryUser != "" {
		auth = authn.FromConfig(authn.AuthConfig{Username: o.RegistryUser, Password: o.RegistryPassword})
	}
	for repository, image := range images {
		ref, err := name.ParseReference(host+"/"+repository, name.Insecure)
		if err != nil {
			return fmt.Errorf("pushing the base image %s: %w", repository, err)
		}
		// Layers that the registry has are not sent.
		if err := remote.Write(ref, image, remote.WithContext(ctx), remote.WithAuth(auth)); err != nil {
			return fmt.Errorf("pushing the base image %s to %s: %w", repository, host, err)
		}
	}
	report.Progressf(ctx, "base images", "in %s", host)
	return nil
}

// pauseContainer makes an image that holds one static program.
func pauseContainer(program string) (v1.Image, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("making the image that holds pods: %w", err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(data))})
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("making the image that holds pods: %w", err)
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux",
		Config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"},
	})
	if err != nil {
		return nil, fmt.Errorf("making the image that holds pods: %w", err)
	}
	tarLayer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer.Bytes())), nil
	})
	if err != nil {
		return nil, fmt.Errorf("making the image that holds pods: %w", err)
	}
	if image, err = mutate.AppendLayers(image, tarLayer); err != nil {
		return nil, fmt.Errorf("making the image that holds pods: %w", err)
	}
	return image, nil
}
