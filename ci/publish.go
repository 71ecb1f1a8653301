package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
)

// Push the image that was tested, and print its reference by digest
//
// What the registry has already is not sent again. An image that the environment's registry has for this source is not built
// again, and tests that it passed do not run again.
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

	// Build the image again, without what an engine remembers, though the registry has one of this source
	// +optional
	rebuild bool,

	// Run the tests again, though the image passed them
	// +optional
	retest bool,
) (string, error) {
	if env != "" && repository == "" && image == nil {
		return m.publish(ctx, env, tags, again{rebuild, retest})
	}
	if env != "" {
		c, err := m.prepare(ctx, env)
		if err != nil {
			return "", err
		}
		p, err := m.plan(ctx, c, flags("--env", env))
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
		if image, err = m.tested(ctx, env, again{rebuild, retest}); err != nil {
			return "", err
		}
	}
	if m.AzureClient != "" && m.RegistryPassword == nil {
		return m.pushAs(ctx, image, env, repository, tags)
	}
	return m.push(ctx, image, repository, tags)
}

// publish brings the image of this source to an environment's registry, as far as it is not there.
func (m *AksFlow) publish(ctx context.Context, env string, tags []string, again again) (string, error) {
	c, err := m.prepare(ctx, env)
	if err != nil {
		return "", err
	}
	p, err := m.plan(ctx, c, flags("--env", env))
	if err != nil {
		return "", err
	}
	if err := m.unreachable(p); err != nil {
		return "", err
	}
	var made *made
	if p.From == "" { // else the command refuses
		if made, err = m.make(ctx, p, again); err != nil {
			return "", fmt.Errorf("nothing was pushed: %w", err)
		}
	}
	return c.publish(ctx, tags, slices.Concat(flags("--env", env), m.login(), m.arguments(), again.flags(), made.give(c)))
}

// publish runs the verb of that name, and returns the reference that it prints.
func (c *command) publish(ctx context.Context, tags, args []string) (string, error) {
	for _, tag := range tags {
		args = append(args, "--tag", tag)
	}
	out, err := c.run(ctx, "publish", args...)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(out.text), nil
}

// pushAs lets the aksflow program push, which knows how Azure's registries are logged in to.
func (m *AksFlow) pushAs(ctx context.Context, image *dagger.File, env, repository string, tags []string) (string, error) {
	c, err := m.prepare(ctx, env, ref.Read(repository).Host())
	if err != nil {
		return "", err
	}
	if err := m.unreachable(planned{Repository: repository}); err != nil {
		return "", err
	}
	c.container = c.container.WithMountedFile(imagePath, image)
	return c.publish(ctx, tags, flags("--env", env, "--repository", repository, "--image", imagePath))
}

// commitTag returns the tag that names an image by its commit, none for changes that are not committed.
func commitTag(source delivery.Source) []string {
	if source.Commit == "" || source.Dirty {
		return nil
	}
	return []string{source.Commit[:12]}
}

// tested builds the image as a tarball, and returns it if its tests say so.
func (m *AksFlow) tested(ctx context.Context, env string, again again) (*dagger.File, error) {
	d, err := m.defineTested(ctx, env, again.generation(planned{}))
	if err != nil {
		return nil, err
	}
	image, _, err := d.image(ctx)
	if err != nil {
		return nil, err
	}
	if d.hasTests() {
		if _, err := d.test(ctx, image, again.retest); err != nil {
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
