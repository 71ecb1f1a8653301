package flow

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/build/key"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// What `aksflow dev` needs of a delivery of a work tree. Which parts it runs when is decided by package dev.

// WorkTreeEnvironment returns the environment of aksflow.yaml that a work tree is tried in where none is named: the first one
// on the local platform whose manifests aksflow applies itself.
func WorkTreeEnvironment(file string) (string, error) {
	cfg, err := config.Load(file)
	if err != nil {
		return "", err
	}
	for _, name := range cfg.Names() {
		e := cfg.Environments[name]
		if e.Platform == config.LocalPlatform && slices.ContainsFunc(targets(), func(t namedTarget) bool { return t.name == e.Target && appliesItself(t) }) {
			return name, nil
		}
	}
	return "", fault.Usagef("%s has no environment on the local platform (platform: local) that is not left to an operator: add one, or name one that has a cluster with --env, and a namespace of your own there with --namespace", cfg.Path())
}

// appliesItself reports whether a target applies manifests to a cluster.
func appliesItself(t namedTarget) bool {
	_, ok := t.Target.(cluster.Target)
	return ok
}

// Trial returns the release that a work tree is tried as, and its environment, or why it cannot be tried there.
func (d *Delivery) Trial() (delivery.Release, error) {
	env, err := d.Environment()
	switch {
	case err != nil:
		return delivery.Release{}, err
	case !appliesItself(namedTarget{Target: d.target}):
		return delivery.Release{}, fault.Usagef("the environment %s is delivered by %s: what runs there is an operator's, so name one with another target", env.Name, env.Target)
	case env.From != "":
		return delivery.Release{}, fault.Usagef("the environment %s takes only what %s proved (from: %s): name another", env.Name, env.From, env.From)
	case env.Verify.Asks():
		return delivery.Release{}, fault.Usagef("the environment %s runs only images with proofs (verify), and a build of a work tree has none: name another", env.Name)
	}
	return d.release(d.builtFrom), nil
}

// Part is a part of what makes an image.
type Part string

// The parts: steps, and the suites of the step test.
const (
	Build       Part = "build"
	Unit        Part = build.Unit
	Integration Part = build.Integration
	Publish     Part = "publish"
)

// Make runs parts of what makes an image, in their order. tarball is the file that build writes, and that the others read.
// The result is there also when one failed.
func (d *Delivery) Make(ctx context.Context, tarball string, parts ...Part) (*Result, error) {
	d.suites = parts
	steps := slices.DeleteFunc(d.imageSteps(), func(s delivery.Step) bool {
		if s.Name == "test" {
			return !slices.Contains(parts, Unit) && !slices.Contains(parts, Integration)
		}
		return !slices.Contains(parts, Part(s.Name))
	})
	return d.run(ctx, tarball, steps...)
}

// only leaves out the suites that are not to be run.
func (d *Delivery) only(tests build.Tests) build.Tests {
	if d.suites != nil && !slices.Contains(d.suites, Unit) {
		tests.Unit = nil
	}
	if d.suites != nil && !slices.Contains(d.suites, Integration) {
		tests.Integration = nil
	}
	return tests
}

// Sources names what the files bring to the image and its tests. A Dockerfile without a stage has a name of its own: an engine
// says in which line the mistake is.
func (d *Delivery) Sources(ctx context.Context) (build.Sources, error) {
	text, err := d.dockerfile()
	if err != nil {
		return build.Sources{}, err
	}
	if !build.HasStage(text) {
		return build.Sources{Image: fmt.Sprintf("Dockerfile %x", sha256.Sum256(text))}, nil
	}
	files, err := key.Read(d.config.Abs(d.config.Build.Context), d.config.Build.Dockerfile, d.Keys)
	if err != nil {
		return build.Sources{}, fmt.Errorf("reading the build context: %w", err)
	}
	return build.SourcesOf(ctx, d.config, build.KeyInputs{
		Context: files, Dockerfile: text, Source: d.builtFrom, Args: d.BuildArgs, SSH: d.outside().Variable("SSH_AUTH_SOCK") != "",
	})
}

// Context returns the directory that is built from, by its absolute path, and the path of the Dockerfile in it.
func (d *Delivery) Context() (dir, dockerfile string, err error) {
	dir, err = filepath.Abs(d.config.Abs(d.config.Build.Context))
	return dir, filepath.Clean(d.config.Build.Dockerfile), err
}

// Folders returns the directories that hold what a delivery is made of, by their absolute paths; none is below another.
func (d *Delivery) Folders() ([]string, error) {
	dirs := []string{d.config.Dir(), d.config.Abs(d.config.Build.Context)}
	if d.env != nil && d.env.Manifests != "" {
		dirs = append(dirs, d.env.Manifests)
	}
	var out []string
	for _, dir := range dirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(above string) bool { _, inside := Below(abs, above); return inside }) {
			out = append(out, abs)
		}
	}
	return out, nil
}

// Below returns the path of a file or directory in another directory, with slashes; ok is false where it is not in it.
func Below(path, dir string) (rel string, ok bool) {
	rel, err := filepath.Rel(dir, path)
	return filepath.ToSlash(rel), err == nil && filepath.IsLocal(rel)
}
