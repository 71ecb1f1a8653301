// Deliver an application to Azure Kubernetes Service: build its image, test it against what it needs, publish what was
// tested.
//
// The application's aksflow.yaml says what is built and how it is tested. The aksflow command reads the same file and
// runs the same code; it also works without a Dagger engine.
package main

import (
	"context"
	"fmt"
	"strings"
	"time"

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
	Commit string
	// +private
	CommitTime string
	// +private
	BuildSecrets []*dagger.Secret
	// +private
	TestSecretNames []string
	// +private
	TestSecrets []*dagger.Secret
	// +private
	SSHAgent *dagger.Socket
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

	// Values of the Dockerfile's ARG instructions, in place of those of aksflow.yaml: NAME=VALUE
	// +optional
	buildArgs []string,

	// What a Dockerfile that declares ARG REVISION gets: $(git log -1 --format=%H -- app)
	// +optional
	commit string,

	// What a Dockerfile that declares ARG SOURCE_DATE_EPOCH gets: $(git log -1 --format=%cI -- app)
	// +optional
	commitTime string,
) *AksFlow {
	return &AksFlow{
		Source: source, Config: config, Variables: variables, BuildArgs: buildArgs, Commit: commit, CommitTime: commitTime,
	}
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

// Let the tests read a secret as an environment variable, as secrets under test in aksflow.yaml name it
func (m *AksFlow) WithTestSecret(
	// The name of the variable
	name string,
	// Its value: env:NAME, file:PATH, …
	value *dagger.Secret,
) *AksFlow {
	with := *m
	with.TestSecretNames = append(append([]string(nil), m.TestSecretNames...), name)
	with.TestSecrets = append(append([]*dagger.Secret(nil), m.TestSecrets...), value)
	return &with
}

// Let the build use an SSH agent, as RUN --mount=type=ssh does
func (m *AksFlow) WithSshAgent(
	// The agent's socket: $SSH_AUTH_SOCK
	socket *dagger.Socket,
) *AksFlow {
	with := *m
	with.SSHAgent = socket
	return &with
}

// definition returns the application and its tests, as the configuration describes them.
func (m *AksFlow) definition(ctx context.Context) (client *sdk.Client, app build.App, tests build.Tests, err error) {
	cfg, err := m.config(ctx)
	if err != nil {
		return nil, app, tests, err
	}
	if client, err = sdk.Connect(ctx); err != nil {
		return nil, app, tests, err
	}
	in, err := m.inputs(ctx, client, cfg)
	if err != nil {
		return nil, app, tests, err
	}
	secrets := map[string]*sdk.Secret{}
	for i, name := range m.TestSecretNames {
		if secrets[name], err = toSDK[*sdk.Secret](ctx, client, m.TestSecrets[i]); err != nil {
			return nil, app, tests, err
		}
	}
	return client, build.New(cfg, in), build.NewTests(cfg.Test, secrets), nil
}

// inputs returns what the application is built from.
func (m *AksFlow) inputs(ctx context.Context, client *sdk.Client, cfg *config.Config) (in build.Inputs, err error) {
	in.Client = client
	if in.Args, err = pairs("build-args", m.BuildArgs); err != nil {
		return in, err
	}
	in.Source.Commit = m.Commit
	if m.CommitTime != "" {
		if in.Source.Time, err = time.Parse(time.RFC3339, m.CommitTime); err != nil {
			return in, fmt.Errorf("--commit-time %q: want a time such as 2026-01-31T12:00:00Z", m.CommitTime)
		}
	}
	dockerfile, err := m.Source.File(cfg.Build.Dockerfile).Contents(ctx)
	if err != nil {
		return in, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	in.Dockerfile = []byte(dockerfile)
	if in.Dir, err = toSDK[*sdk.Directory](ctx, client, m.Source); err != nil {
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
