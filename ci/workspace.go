package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/config"
)

const configFile = "aksflow.yaml"

// Paths in a workspace are absolute from its root, which is that of the repository or, without git, the current directory.
// In this module they are relative to it, with slashes.

// configPath returns where the configuration is.
func (m *AksFlow) configPath(ctx context.Context) (string, error) {
	if m.Config != "" {
		here, err := m.Workspace.Path(ctx)
		if err != nil {
			return "", err
		}
		return strings.TrimPrefix(path.Join("/", here, m.Config), "/"), nil
	}
	found, err := m.Workspace.FindUp(ctx, configFile)
	if err != nil {
		return "", err
	}
	if found == "" {
		return "", errors.New("there is no " + configFile + " in this directory or above it: call from where it is, or name it with --config")
	}
	return strings.TrimPrefix(found, "/"), nil
}

// config reads aksflow.yaml for an environment; "" stands for none.
func (m *AksFlow) config(ctx context.Context, env string) (*config.Config, error) {
	cfg, err := m.parsed(ctx)
	if err != nil {
		return nil, err
	}
	if env != "" && cfg.Environments[env] == nil {
		return nil, fmt.Errorf("--env %s: %s has %s", env, cfg.Path(), strings.Join(cfg.Names(), ", "))
	}
	return m.expanded(cfg, env)
}

// parsed reads aksflow.yaml as it is written.
func (m *AksFlow) parsed(ctx context.Context) (*config.Config, error) {
	name, err := m.configPath(ctx)
	if err != nil {
		return nil, err
	}
	text, err := m.file("/" + name).Contents(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return config.Parse(name, []byte(text))
}

// file is a file of the workspace by itself. An engine uploads the whole directory of one that it is asked for by its path: for
// aksflow.yaml that is the repository with all that git ignores.
func (m *AksFlow) file(name string) *dagger.File {
	dir, base := path.Split(name)
	if isPattern(base) {
		return m.Workspace.File(name)
	}
	return m.Workspace.Directory(dir, dagger.WorkspaceDirectoryOpts{Include: []string{base}}).File(base)
}

// isPattern reports whether a name would mean other files where an engine is told which to include.
func isPattern(name string) bool {
	return strings.ContainsAny(name, `*?[]\!`) || strings.TrimSpace(name) != name
}

// expanded puts the values of variables into the configuration of an environment; "" stands for none.
func (m *AksFlow) expanded(cfg *config.Config, env string) (*config.Config, error) {
	variables, err := pairs("variables", m.Variables)
	if err != nil {
		return nil, err
	}
	expanded, err := cfg.Expand(env, func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	})
	if err != nil {
		return nil, errors.New(here(err.Error()))
	}
	return expanded, nil
}

// repository returns the files of the repository with its history. Files that git ignores are left out, unless they belong
// to the build context or to an environment's manifests.
func (m *AksFlow) repository(ctx context.Context, cfg *config.Config) (*dagger.Directory, error) {
	history, err := m.hasHistory(ctx)
	if err != nil {
		return nil, err
	}
	if !history {
		return m.Workspace.Directory("/", dagger.WorkspaceDirectoryOpts{Exclude: []string{".git"}}), nil
	}
	used := []string{path.Clean(cfg.Abs(cfg.Build.Context))}
	for _, env := range cfg.Environments {
		if env.Manifests != "" {
			used = append(used, path.Clean(cfg.Abs(env.Manifests)))
		}
	}
	if slices.ContainsFunc(used, func(name string) bool { return name == "." || isPattern(name) }) {
		return m.Workspace.Directory("/"), nil
	}
	slices.Sort(used) // the engine remembers what it is asked for in the same words
	return m.Workspace.Directory("/", dagger.WorkspaceDirectoryOpts{Gitignore: true}).
		WithDirectory("/", m.Workspace.Directory("/", dagger.WorkspaceDirectoryOpts{Include: slices.Compact(used)})), nil
}

// hasHistory reports whether the workspace is a git repository with its history. A linked work tree and a submodule have theirs
// elsewhere on the caller's machine, and are told so.
func (m *AksFlow) hasHistory(ctx context.Context) (bool, error) {
	git, err := m.Workspace.FindUp(ctx, ".git", dagger.WorkspaceFindUpOpts{From: "/"})
	if err != nil || git == "" {
		return false, err
	}
	// An engine answers a question about .git/HEAD with an error where .git is a file.
	const head = ".git/HEAD"
	found, err := m.Workspace.Directory("/", dagger.WorkspaceDirectoryOpts{Include: []string{head}}).Exists(ctx, head)
	if err == nil && !found {
		fmt.Fprintln(os.Stderr, "WARNING: .git is not a directory here, as in a linked work tree and a submodule: the commit is not known, and is recorded nowhere")
	}
	return found, err
}

// pairs splits NAME=VALUE.
func pairs(flag string, list []string) (map[string]string, error) {
	values := map[string]string{}
	for _, pair := range list {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--%[1]s %[2]q: want NAME=VALUE. A value with a comma wants quotes around the pair: --%[1]s='\"NAME=a,b\"'", flag, pair)
		}
		values[name] = value
	}
	return values, nil
}
