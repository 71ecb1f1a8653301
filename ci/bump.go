package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/aksflow/aksflow/ci/internal/dagger"
)

// Set the image in the manifests of an environment, as changes to the files that you call from
//
// Kustomizations that the change reaches are rendered: each must give the new image, or nothing is changed. What changes has
// to be below the current directory, where Dagger applies it. deliver --target=pull commits such a change to git instead.
//
// +cache="session"
func (m *AksFlow) Bump(
	ctx context.Context,

	// The reference to set, HOST/REPOSITORY@sha256:…
	image string,

	// The environment of aksflow.yaml whose manifests are changed
	// +optional
	env string,

	// The directory to change instead, from the root of the repository
	// +optional
	manifests string,

	// Set it where these repositories stand. Without them: the image's own
	// +optional
	replace []string,

	// Change nothing when something cannot be verified, such as a kustomization with a remote base, or when a template of a chart
	// names the image
	// +optional
	strict bool,
) (*dagger.Changeset, error) {
	if manifests == "" {
		cfg, err := m.config(ctx, env)
		if err != nil {
			return nil, err
		}
		if env == "" {
			return nil, errors.New("which manifests? Name an environment with --env, or a directory with --manifests")
		}
		manifests = cfg.Abs(cfg.Environments[env].GitOps.Path)
	}
	c, err := m.prepare(ctx, "")
	if err != nil {
		return nil, err
	}
	args := flags("--image", image, "--manifests", path.Clean(manifests), "--env", env)
	for _, name := range replace {
		args = append(args, "--replace", name)
	}
	out, err := c.run(ctx, "bump", append(args, given("--strict", strict)...)...)
	if err != nil {
		return nil, err
	}
	return m.changes(ctx, c.container.Directory(repositoryPath), out.container.Directory(repositoryPath))
}

// changes returns what differs in the repository, from the current directory on: that is where the dagger command applies
// a change, and it knows no repository.
func (m *AksFlow) changes(ctx context.Context, before, after *dagger.Directory) (*dagger.Changeset, error) {
	here, err := m.Workspace.Path(ctx)
	if err != nil {
		return nil, err
	}
	here = path.Clean(here)
	all := after.Changes(before)
	if here == "." {
		return all, nil
	}
	changed, err := all.ModifiedPaths(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range changed {
		if !strings.HasPrefix(name, here+"/") {
			return nil, fmt.Errorf("%s would change, and is not below the current directory %s: call from the root of the repository", name, here)
		}
	}
	return after.Directory(here).Changes(before.Directory(here)), nil
}
