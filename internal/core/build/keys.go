package build

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
	"github.com/aksflow/aksflow/internal/core/build/key"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/canonical"
)

// The versions of how an image is built and of how it is tested. A change that makes another image of the same source, or
// that gives tests another meaning, raises them.
const (
	buildVersion = "1"
	testVersion  = "1"
)

// KeyInputs are what keys are made from beside the configuration.
type KeyInputs struct {
	// Context lists the files of the build context, and Dockerfile is the text of the Dockerfile.
	Context    *key.Context
	Dockerfile []byte
	// Source, Args and SSH are as in Inputs; SSH reports whether there is an agent.
	Source delivery.Source
	Args   map[string]string
	SSH    bool
	// Generation is raised to build again what did not change.
	Generation string
	// Resolve returns the digest of an image of a registry.
	Resolve func(ctx context.Context, image string) (string, error)
}

// Platform returns what an image is built for where the configuration names nothing: the platform of an engine on this machine.
func Platform(cfg *config.Config) string {
	if cfg.Build.Platform != "" {
		return cfg.Build.Platform
	}
	return "linux/" + runtime.GOARCH
}

// HasStage reports whether a Dockerfile has a stage.
func HasStage(text []byte) bool { return len(dockerfile.Parse(text).Stages) > 0 }

// ImageKey returns the key of the image that New describes for the same configuration and inputs.
func ImageKey(ctx context.Context, cfg *config.Config, in KeyInputs) (key.Key, error) {
	return in.stage(ctx, cfg, cfg.Build.Target, in.Generation)
}

func (in KeyInputs) stage(ctx context.Context, cfg *config.Config, target, generation string) (key.Key, error) {
	return key.Of(ctx, key.Inputs{
		Context: in.Context, Dockerfile: in.Dockerfile, Target: target, Platform: Platform(cfg),
		Args:    arguments(cfg, in.Dockerfile, in.Source, in.Args),
		Secrets: slices.Sorted(maps.Keys(cfg.Build.Secrets)), SSH: in.SSH,
		Recipe: buildVersion + ", canonical form " + canonical.Version, Generation: generation, Resolve: in.Resolve,
	})
}

// TestKey returns the key of the tests that NewTests describes: an image that passed them need not be tested by them again.
func TestKey(ctx context.Context, cfg *config.Config, in KeyInputs) (key.Key, error) {
	d, err := in.definition(ctx, cfg)
	if err != nil {
		return key.Key{}, err
	}
	return d.Key(ctx)
}

// Sources names what the files of a work tree bring to an image and to each suite of its tests. Where a name is the same,
// nothing is to be built or tested again, as far as it is up to the files.
type Sources struct {
	// Image is the source key of the image. Unit and Integration are "" for a suite that is not configured; the image under
	// test is no part of Integration.
	Image, Unit, Integration string
	// Files are the files of the build context that the stages of these can see.
	Files map[string]bool
}

// SourcesOf returns the sources of the image and of the tests. It asks no registry: in.Resolve is not called.
func SourcesOf(ctx context.Context, cfg *config.Config, in KeyInputs) (Sources, error) {
	in.Resolve = func(context.Context, string) (string, error) { return "not asked", nil }
	image, err := ImageKey(ctx, cfg, in)
	if err != nil {
		return Sources{}, err
	}
	out := Sources{Image: image.Source, Files: map[string]bool{}}
	out.see(image)
	unit, integration := *cfg, *cfg
	unit.Test.Integration, integration.Test.Unit = nil, nil
	if cfg.Test.Unit != nil {
		if out.Unit, err = out.suite(ctx, &unit, in); err != nil {
			return Sources{}, err
		}
	}
	if cfg.Test.Integration != nil {
		out.Integration, err = out.suite(ctx, &integration, in)
	}
	return out, err
}

// suite returns the name of the only suite of cfg.
func (s *Sources) suite(ctx context.Context, cfg *config.Config, in KeyInputs) (string, error) {
	d, err := in.definition(ctx, cfg)
	if err != nil {
		return "", err
	}
	for name, stage := range d.Stages {
		s.see(stage)
		stage.Build, stage.Moving = stage.Source, nil
		d.Stages[name] = stage
	}
	k, err := d.Key(ctx)
	return k.Build, err
}

// see adds the files of a stage.
func (s *Sources) see(k key.Key) {
	for _, e := range k.Entries {
		if e.Kind == key.File {
			s.Files[e.Name] = true
		}
	}
}

// definition is how the tests of a configuration are defined.
func (in KeyInputs) definition(ctx context.Context, cfg *config.Config) (key.Definition, error) {
	d := key.Definition{Stages: map[string]key.Key{}, Settings: map[string]string{}, Recipe: testVersion, Resolve: in.Resolve}
	s := settings{d.Settings}
	targets := map[string]string{}
	suite := func(name string, suite *config.Suite) {
		if suite == nil {
			return
		}
		targets[name] = suite.Target
		s.set(name, "command", suite.Command)
		s.set(name, "reports", suite.Reports)
		s.set(name, "cache", suite.Cache)
		s.set(name, "env", suite.Env)
		d.Secrets = append(d.Secrets, secretNames(name, suite.Secrets)...)
	}
	test := cfg.Test
	suite(Unit, test.Unit)
	suite(Integration, test.Integration)
	if test.Integration != nil {
		s.set("app", "name", test.App.Name)
		s.set("app", "port", test.App.Port)
		s.set("app", "env", test.App.Env)
		d.Secrets = append(d.Secrets, secretNames("app", test.App.Secrets)...)
		for i, service := range test.Services {
			at := fmt.Sprintf("services.%d", i)
			if service.Target != "" {
				targets[at] = service.Target
			} else {
				d.Images = append(d.Images, service.Image)
			}
			s.set(at, "name", service.Name)
			s.set(at, "image", service.Image)
			s.set(at, "args", service.Args)
			s.set(at, "env", service.Env)
			s.set(at, "ports", service.Ports)
			d.Secrets = append(d.Secrets, secretNames(at, service.Secrets)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		stage, err := in.stage(ctx, cfg, targets[name], "")
		if err != nil {
			return d, err
		}
		d.Stages[name] = stage
	}
	return d, nil
}

// settings are parts of the configuration by their paths, as JSON.
type settings struct{ values map[string]string }

// set adds a part unless it is empty, so that a key that is added to the configuration changes nothing where it is not used.
func (s settings) set(at, name string, value any) {
	text, err := json.Marshal(value)
	if err != nil || slices.Contains([]string{"null", `""`, "0", "{}", "[]"}, string(text)) {
		return
	}
	s.values[at+"."+name] = string(text)
}

func secretNames(at string, secrets map[string]config.Secret) []string {
	var names []string
	for name := range secrets {
		names = append(names, at+"."+name)
	}
	return names
}

// arguments are the build arguments: those of the commit, those of the configuration, and those that are given.
func arguments(cfg *config.Config, text []byte, source delivery.Source, given map[string]string) map[string]string {
	args := commitArgs(dockerfile.Parse(text).Declared(), source)
	maps.Copy(args, cfg.Build.Args)
	maps.Copy(args, given)
	return args
}
