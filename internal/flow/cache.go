package flow

import (
	"cmp"
	"context"
	"slices"

	"dagger.io/dagger"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/gitflow"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/git"
)

// client connects to the engine that builds and tests.
func (d *Delivery) client(ctx context.Context) (*dagger.Client, error) {
	cache, err := d.buildCache(ctx)
	if err != nil {
		return nil, err
	}
	return d.Client(outliving(ctx), delivery.Session{Cache: cache})
}

// buildCache returns where the results of builds are kept in a registry; nil if nowhere. Results come from the branch that
// is built, then from those that environments are delivered from. They are written for a branch only: a pull request may
// come from anybody, and a tag is built once.
func (d *Delivery) buildCache(ctx context.Context) (*delivery.BuildCache, error) {
	if d.config.Build.Cache != config.CacheRegistry {
		return nil, nil
	}
	env := d.cacheEnvironment()
	if env == nil {
		report.Warn(ctx, "build.cache: no environment of %s has a registry that is known here, so nothing is kept", d.config.Path())
		return nil, nil
	}
	head, _, err := git.Head(d.config.Dir())
	if err != nil {
		return nil, err
	}
	tag := func(branch string) string { return env.Repository + ":" + gitflow.Tag("cache-"+branch) }
	cache := &delivery.BuildCache{Host: ref.Read(env.Repository).Host(), Login: env.RegistryLogin}
	if branch, ok := gitflow.Branch(cmp.Or(d.Ref, head)); ok {
		cache.Export = tag(branch)
		cache.Imports = append(cache.Imports, cache.Export)
	}
	for _, branch := range d.config.FixedBranches() {
		if from := tag(branch); !slices.Contains(cache.Imports, from) {
			cache.Imports = append(cache.Imports, from)
		}
	}
	return cache, nil
}

// cacheEnvironment returns the environment whose repository keeps the results: the one of this delivery, else the first one
// that has a registry. It returns nil if there is none.
func (d *Delivery) cacheEnvironment() *delivery.Environment {
	if d.env != nil && d.env.Repository != "" {
		return d.env
	}
	for _, name := range d.config.Names() {
		lookup, local, err := d.variables(name)
		if err != nil {
			continue
		}
		expanded, err := d.config.Expand(name, lookup)
		if err != nil {
			continue
		}
		env := &delivery.Environment{Environment: *expanded.Environments[name]}
		if local != nil {
			env.Registry = local.Registry
		}
		if env.Registry != "" {
			env.Repository = env.Registry + "/" + d.config.Image
			return env
		}
	}
	return nil
}
