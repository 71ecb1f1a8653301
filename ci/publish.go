package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/report"
)

// Push the image that was tested, and print its reference by digest
//
// What the registry has already is not sent again.
//
// +cache="never"
func (m *AksFlow) Publish(
	ctx context.Context,

	// Where to: HOST/REPOSITORY, as in myregistry.azurecr.io/vote
	repository string,

	// What to call it there, beside its digest
	// +optional
	tags []string,

	// The image that was tested, an OCI tarball. Without it, one is built and tested first
	// +optional
	image *dagger.File,

	// The registry's user. For a token of Microsoft Entra: 00000000-0000-0000-0000-000000000000
	// +optional
	username string,

	// The registry's password or token
	// +optional
	password *dagger.Secret,

	// The registry, if only the caller can reach it: tcp://localhost:5000. The repository keeps its name
	// +optional
	registry *dagger.Service,
) (string, error) {
	options, err := registryOptions(ctx, username, password, registry)
	if err != nil {
		return "", err
	}
	if image == nil {
		if image, err = m.tested(ctx); err != nil {
			return "", err
		}
	}
	return push(ctx, image, repository, tags, options)
}

// tested builds the image as a tarball, and returns it if its tests say so.
func (m *AksFlow) tested(ctx context.Context) (*dagger.File, error) {
	_, app, _, err := m.definition(ctx)
	if err != nil {
		return nil, err
	}
	tarball, err := fromSDK[*dagger.File](ctx, app.Tarball())
	if err != nil {
		return nil, err
	}
	if _, err := m.test(ctx, tarball, false); err != nil {
		return nil, fmt.Errorf("nothing was pushed: %w", err)
	}
	return tarball, nil
}

// registryOptions says how to reach the registry, and as whom.
func registryOptions(
	ctx context.Context, username string, password *dagger.Secret, registry *dagger.Service,
) (image.Registry, error) {
	options := image.Registry{Username: username}
	if (username == "") != (password == nil) {
		return options, errors.New("--username and --password go together")
	}
	if password != nil {
		plain, err := password.Plaintext(ctx)
		if err != nil {
			return options, fmt.Errorf("the registry's password: %w", err)
		}
		options.Password = plain
	}
	if registry != nil {
		started, err := registry.Start(ctx)
		if err != nil {
			return options, fmt.Errorf("the registry: %w", err)
		}
		endpoint, err := started.Endpoint(ctx)
		if err != nil {
			return options, fmt.Errorf("the registry: %w", err)
		}
		if options.Network, err = dial.To(endpoint); err != nil {
			return options, fmt.Errorf("the registry: %w", err)
		}
	}
	return options, nil
}

// push sends the tarball, by way of a file: its blobs are read in the order that the registry asks for.
func push(ctx context.Context, tarball *dagger.File, repository string, tags []string, registry image.Registry) (string, error) {
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "image.tar")
	if _, err := tarball.Export(ctx, file); err != nil {
		return "", err
	}
	result, err := image.Push(report.With(ctx, report.NewPlain(os.Stderr, true)),
		image.Options{Tarball: file, Repository: repository, Tags: tags, Registry: registry})
	if err != nil {
		return "", err
	}
	return result.Image, nil
}
