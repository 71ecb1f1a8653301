package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/delivery"
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

	// The environment of aksflow.yaml whose registry it goes to. It is tagged with the commit then
	// +optional
	env string,

	// Where to instead: HOST/REPOSITORY, as in myregistry.azurecr.io/vote
	// +optional
	repository string,

	// What to call it there, beside its digest
	// +optional
	tags []string,

	// The image that was tested, an OCI tarball. Without it, one is built and tested first
	// +optional
	image *dagger.File,
) (string, error) {
	if env != "" {
		c, err := m.prepare(ctx, env)
		if err != nil {
			return "", err
		}
		p, err := c.plan(ctx, flags("--env", env))
		if err != nil {
			return "", err
		}
		if repository == "" {
			repository = p.Repository
		}
		tags = append(commitTag(p.Source), tags...)
	}
	if repository == "" {
		return "", errors.New("where to? Name an environment with --env, or a repository with --repository=HOST/REPOSITORY")
	}
	if image == nil {
		var err error
		if image, err = m.tested(ctx, env); err != nil {
			return "", err
		}
	}
	return m.push(ctx, image, repository, tags)
}

// commitTag returns the tag that names an image by its commit, none for changes that are not committed.
func commitTag(source delivery.Source) []string {
	if source.Commit == "" || source.Dirty {
		return nil
	}
	return []string{source.Commit[:12]}
}

// tested builds the image as a tarball, and returns it if its tests say so.
func (m *AksFlow) tested(ctx context.Context, env string) (*dagger.File, error) {
	d, err := m.define(ctx, env)
	if err != nil {
		return nil, err
	}
	image, _, err := d.image(ctx)
	if err != nil {
		return nil, err
	}
	if d.config.Test.Unit != nil || d.config.Test.Integration != nil {
		if _, err := d.test(ctx, image, false); err != nil {
			return nil, fmt.Errorf("nothing was pushed: %w", err)
		}
	}
	return image, nil
}

// registry says how to reach the registry, and as whom.
func (m *AksFlow) registry(ctx context.Context) (image.Registry, error) {
	options := image.Registry{Username: m.RegistryUsername}
	if m.RegistryPassword != nil {
		plain, err := m.RegistryPassword.Plaintext(ctx)
		if err != nil {
			return options, fmt.Errorf("the registry's password: %w", err)
		}
		options.Password = plain
	}
	if m.RegistryServer == nil {
		return options, nil
	}
	started, err := m.RegistryServer.Start(ctx)
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
	return options, nil
}

// push sends the tarball, by way of a file: its blobs are read in the order that the registry asks for.
func (m *AksFlow) push(ctx context.Context, tarball *dagger.File, repository string, tags []string) (string, error) {
	registry, err := m.registry(ctx)
	if err != nil {
		return "", err
	}
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
