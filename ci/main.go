// Deliver an application to Azure Kubernetes Service: build its image, test it against what it needs, publish what was
// tested.
//
// What is built and how it is tested stands in the application's aksflow.yaml. The aksflow command reads the same file
// and runs the same code, without a Dagger engine too.
package main

import (
	"context"
	"fmt"
	"strings"

	sdk "dagger.io/dagger"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/config"
)

// configFile is what errors call the configuration, wherever it came from.
const configFile = "aksflow.yaml"

// Deliver an application to Azure Kubernetes Service
type AksFlow struct {
	// +private
	Source *dagger.Directory
	// +private
	Config *dagger.File
	// +private
	Variables []string
	// +private
	BuildArgs []string
	// +private
	BuildSecrets []*dagger.Secret
}

func New(
	// The directory with the Dockerfile, without what its .dockerignore names
	// +defaultPath="/app"
	// +ignore=["**/.git", "**/__pycache__", "**/.pytest_cache", "**/.venv", "**/node_modules"]
	source *dagger.Directory,

	// What is built and how it is tested
	// +defaultPath="/aksflow.yaml"
	config *dagger.File,

	// Values of variables in aksflow.yaml: NAME=VALUE
	// +optional
	variables []string,

	// Values of the Dockerfile's ARG instructions, before those of aksflow.yaml: REVISION=$(git rev-parse HEAD)
	// +optional
	buildArgs []string,
) *AksFlow {
	return &AksFlow{Source: source, Config: config, Variables: variables, BuildArgs: buildArgs}
}

// Let the build read a secret, as RUN --mount=type=secret,id=NAME does
func (m *AksFlow) WithBuildSecret(
	ctx context.Context,
	// Its id in the Dockerfile
	name string,
	// Its value: env:NAME, file:PATH, …
	value *dagger.Secret,
) (*AksFlow, error) {
	plain, err := value.Plaintext(ctx)
	if err != nil {
		return nil, fmt.Errorf("the build secret %s: %w", name, err)
	}
	with := *m
	with.BuildSecrets = append(append([]*dagger.Secret(nil), m.BuildSecrets...), dag.SetSecret(name, plain))
	return &with, nil
}

// definition is the application as package pipeline wants it.
func (m *AksFlow) definition(ctx context.Context) (client *sdk.Client, app build.App, tests build.Tests, err error) {
	cfg, err := m.config(ctx)
	if err != nil {
		return nil, app, tests, err
	}
	args, err := pairs("build-args", m.BuildArgs)
	if err != nil {
		return nil, app, tests, err
	}
	if client, err = sdk.Connect(ctx); err != nil {
		return nil, app, tests, err
	}
	source, err := toSDK[*sdk.Directory](ctx, client, m.Source)
	if err != nil {
		return nil, app, tests, err
	}
	app, tests = build.NewApp(cfg.Build, source, args), build.NewTests(cfg.Test)
	for _, s := range m.BuildSecrets {
		secret, err := toSDK[*sdk.Secret](ctx, client, s)
		if err != nil {
			return nil, app, tests, err
		}
		app.Secrets = append(app.Secrets, secret)
	}
	return client, app, tests, nil
}

// config reads aksflow.yaml.
func (m *AksFlow) config(ctx context.Context) (*config.Config, error) {
	text, err := m.Config.Contents(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Parse(configFile, []byte(text))
	if err != nil {
		return nil, err
	}
	variables, err := pairs("variables", m.Variables)
	if err != nil {
		return nil, err
	}
	return cfg.Expand("", func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	})
}

// pairs splits NAME=VALUE.
func pairs(flag string, list []string) (map[string]string, error) {
	values := map[string]string{}
	for _, pair := range list {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--%s %q: want NAME=VALUE", flag, pair)
		}
		values[name] = value
	}
	return values, nil
}
