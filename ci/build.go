package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	sdk "dagger.io/dagger"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
)

// Build the image from the application's Dockerfile: an OCI tarball, which test, publish and deliver take
//
// +cache="session"
func (m *AksFlow) Build(
	ctx context.Context,

	// The environment whose variables the build arguments may use
	// +optional
	env string,
) (*dagger.File, error) {
	d, err := m.define(ctx, env, "")
	if err != nil {
		return nil, err
	}
	file, _, err := d.image(ctx)
	return file, err
}

// Build the image as a container, to look into: dagger call container terminal
//
// +cache="session"
func (m *AksFlow) Container(
	ctx context.Context,

	// The environment whose variables the build arguments may use
	// +optional
	env string,
) (*dagger.Container, error) {
	d, err := m.define(ctx, env, "")
	if err != nil {
		return nil, err
	}
	image, err := d.app.Build(ctx)
	if err != nil {
		return nil, build.Explain(err)
	}
	return fromSDK[*dagger.Container](ctx, image)
}

// definition is the application and its tests, as the configuration describes them.
type definition struct {
	client *sdk.Client
	config *config.Config
	app    build.App
	tests  build.Tests
}

// define reads the configuration for an environment; "" stands for none. A generation makes the engine run again what it
// remembers of an earlier one.
func (m *AksFlow) define(ctx context.Context, env, generation string) (d definition, err error) {
	if d.config, err = m.config(ctx, env); err != nil {
		return d, err
	}
	if d.config.Build.Unset != nil {
		return d, errors.New(here(d.config.Build.Unset.Error()))
	}
	if err := notGiven("build", d.config.Build.Secrets, m.BuildSecretNames, "with-build-secret"); err != nil {
		return d, err
	}
	if d.client, err = sdk.Connect(ctx); err != nil {
		return d, err
	}
	in, err := m.inputs(ctx, d.client, d.config)
	if err != nil {
		return d, err
	}
	in.Generation = generation
	secrets := map[string]*sdk.Secret{}
	for i, name := range m.TestSecretNames {
		if secrets[name], err = toSDK[*sdk.Secret](ctx, d.client, m.TestSecrets[i]); err != nil {
			return d, err
		}
	}
	d.app, d.tests = build.New(d.config, in), build.NewTests(d.config.Test, secrets)
	return d, nil
}

// defineTested is define for those who also test: what the tests lack is found before anything is built.
func (m *AksFlow) defineTested(ctx context.Context, env, generation string) (definition, error) {
	d, err := m.define(ctx, env, generation)
	if err != nil || !d.hasTests() {
		return d, err
	}
	if d.config.Test.Unset != nil {
		return d, errors.New(here(d.config.Test.Unset.Error()))
	}
	named, err := d.config.Test.Secrets()
	if err != nil {
		return d, err
	}
	return d, notGiven("test", named, m.TestSecretNames, "with-test-secret")
}

// notGiven returns an error for a secret of aksflow.yaml that the caller did not give: it names the function that does. A module
// has none of the caller's variables and files.
func notGiven(what string, named map[string]config.Secret, given []string, function string) error {
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if slices.Contains(given, name) {
			continue
		}
		value := "file:" + named[name].File
		if variable := named[name].Env; variable != "" {
			value = "env:" + variable
		}
		return fmt.Errorf("the %s needs the secret %s of aksflow.yaml: add `%s --name=%s --value=%s`", what, name, function, name, value)
	}
	return nil
}

func (d definition) hasTests() bool {
	return d.config.Test.Unit != nil || d.config.Test.Integration != nil
}

// inputs returns what the application is built from.
func (m *AksFlow) inputs(ctx context.Context, client *sdk.Client, cfg *config.Config) (in build.Inputs, err error) {
	in.Client = client
	if in.Args, err = pairs("build-args", m.BuildArgs); err != nil {
		return in, err
	}
	dir := path.Join("/", cfg.Abs(cfg.Build.Context))
	source := m.Workspace.Directory(dir)
	dockerfile, err := source.File(cfg.Build.Dockerfile).Contents(ctx)
	if err != nil {
		return in, fmt.Errorf("there is no Dockerfile at %s: set build.context and build.dockerfile in %s: %w",
			path.Join(dir, cfg.Build.Dockerfile), cfg.Path(), err)
	}
	in.Dockerfile = []byte(dockerfile)
	if build.NeedsCommit(in.Dockerfile) {
		if in.Source, err = m.source(ctx); err != nil {
			return in, err
		}
	}
	if in.Dir, err = toSDK[*sdk.Directory](ctx, client, source); err != nil {
		return in, err
	}
	for _, s := range m.BuildSecrets {
		secret, err := toSDK[*sdk.Secret](ctx, client, s)
		if err != nil {
			return in, err
		}
		in.Secrets = append(in.Secrets, secret)
	}
	if m.SSHAgent != nil {
		in.SSH, err = toSDK[*sdk.Socket](ctx, client, m.SSHAgent)
	}
	return in, err
}

// source returns the commit that is built from. It is empty without git.
func (m *AksFlow) source(ctx context.Context) (source delivery.Source, err error) {
	history, err := m.hasHistory(ctx)
	if err != nil || !history {
		return source, err
	}
	c, err := m.prepare(ctx, "")
	if err != nil {
		return source, err
	}
	p, err := m.plan(ctx, c, flags("--ref", m.Ref))
	return p.Source, err
}
