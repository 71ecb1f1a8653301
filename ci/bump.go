package main

import (
	"context"
	"errors"
	"path"

	"github.com/aksflow/aksflow/ci/internal/dagger"
)

// Set the image in the manifests of an environment, as changes to the files that you call from
//
// Kustomizations that the change reaches are rendered: each must give the new image, or nothing is changed. The changes
// stand where the files are in the repository, so call from its root. deliver --target=pull commits such a change to git.
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

	// Change nothing when something cannot be verified, such as a kustomization with a remote base
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
		gitops := cfg.Environments[env].GitOps
		manifests = cfg.Abs(gitops.Path)
		replace = append(replace, gitops.Replace...)
	}
	c, err := m.prepare(ctx, "")
	if err != nil {
		return nil, err
	}
	args := flags("--image", image, "--manifests", path.Clean(manifests))
	for _, name := range replace {
		args = append(args, "--replace", name)
	}
	out, err := c.run(ctx, "bump", append(args, given("--strict", strict)...)...)
	if err != nil {
		return nil, err
	}
	return out.container.Directory(repositoryPath).Changes(c.container.Directory(repositoryPath)), nil
}
