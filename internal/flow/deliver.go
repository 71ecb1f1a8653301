// Package flow holds the order of the steps that bring one application to one environment. Each step is a method, so
// that `aksflow build` and the build in `aksflow deliver` are the same code; Run is all of them.
package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"dagger.io/dagger"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kustomize"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/target/cluster"
	"github.com/aksflow/aksflow/internal/target/gitops"
)

// Delivery is an application on its way to an environment.
type Delivery struct {
	// Config, with its variables expanded for Environment.
	Config *config.Config
	// Environment is where to. Build and Test need none.
	Environment *config.Environment
	// Client connects to the engine that builds and tests; it is called when the first container work is due, and may
	// be called again.
	Client func(context.Context) (*dagger.Client, error)

	// BuildArgs are added to those of the configuration, and win.
	BuildArgs map[string]string
	// NoCache runs tests again that ran on the same content before.
	NoCache bool

	// Registry is how the environment's registry is reached.
	Registry image.Registry
	// Tags are what the pushed image is called, beside the source revision's tag.
	Tags []string

	// GitUser and GitPassword are for the environment's repository.
	GitUser, GitPassword string
	// SetupRepo is the address that the environment's setup objects name in place of its repository's. Empty: the setup
	// is not this delivery's to make.
	SetupRepo string
	// RunURL is the page of the CI run, for records and commits. May be empty.
	RunURL string

	// Deploy holds what the caller decides about a push delivery. Its app, namespace, objects, image and source are
	// filled in here.
	Deploy cluster.Release
	// Force sets an image again that was rolled back on purpose.
	Force bool
	// Sync asks the operator for a sync where it is not automated.
	Sync bool
}

// Built is an image on disk.
type Built struct {
	Tarball string        // an OCI image layout in a tar archive; "" if none was asked for
	Digest  string        // of the image in Tarball, sha256:…; "" without one
	Source  gitops.Source // what it was built from
}

// Build builds the image, and writes it to tarball unless that is "".
func (d *Delivery) Build(ctx context.Context, tarball string) (*Built, error) {
	app, source, err := d.app(ctx)
	if err != nil {
		return nil, err
	}
	built := &Built{Tarball: tarball, Source: source}
	if tarball == "" {
		_, err = app.Build().Sync(ctx)
		return built, build.Explain(err)
	}
	if err := os.MkdirAll(filepath.Dir(tarball), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder for the image: %w", err)
	}
	if _, err := app.Tarball().Export(ctx, tarball); err != nil {
		return nil, build.Explain(err)
	}
	img, err := image.Open(tarball)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	built.Digest = img.Digest().String()
	return built, nil
}

// Test tests the image in tarball, or one that is built now if that is "". The results are there also when tests
// failed.
func (d *Delivery) Test(ctx context.Context, tarball string) (*build.Results, error) {
	app, _, err := d.app(ctx)
	if err != nil {
		return nil, err
	}
	client, err := d.Client(ctx)
	if err != nil {
		return nil, err
	}
	tests := build.NewTests(d.Config.Test)
	tests.NoCache = d.NoCache
	var img *dagger.File
	if tarball != "" {
		if _, err := os.Stat(tarball); err != nil {
			return nil, fault.Usage(fmt.Errorf("the image to test: %w; `aksflow build -o FILE` makes one", err))
		}
		img = client.Host().File(tarball)
	}
	results, err := build.Test(ctx, client, app, img, tests)
	if results != nil {
		for _, c := range results.Failed() {
			report.Emit(ctx, report.Event{Kind: report.Fault, Object: c.String(), Message: c.Message, File: d.sourceFile(c.File), Line: c.Line})
		}
	}
	return results, err
}

// sourceFile is the file that a test names relative to where it ran, if the source has such a one; else "".
func (d *Delivery) sourceFile(name string) string {
	if name == "" {
		return ""
	}
	path := filepath.Join(d.Config.Abs(d.Config.Build.Context), name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// Publish pushes the image in tarball to the environment's registry.
func (d *Delivery) Publish(ctx context.Context, tarball string, source gitops.Source) (*image.Result, error) {
	tags := d.Tags
	if tag := sourceTag(source); tag != "" {
		tags = append([]string{tag}, tags...)
	}
	return image.Push(ctx, image.Options{
		Tarball:    tarball,
		Repository: d.Environment.Registry + "/" + d.Config.Image,
		Tags:       tags,
		Registry:   d.Registry,
	})
}

// sourceTag is the tag that an image carries for the commit it was built from. Uncommitted changes have none.
func sourceTag(source gitops.Source) string {
	if source.Commit == "" || source.Dirty {
		return ""
	}
	return source.Commit[:12]
}

// Cluster connects to the environment's cluster.
func (d *Delivery) Cluster(ctx context.Context) (*cluster.Cluster, error) {
	return cluster.Connect(ctx, cluster.Options{
		Kubeconfig: d.kubeconfig(),
		Context:    d.Environment.Cluster.Context,
	})
}

func (d *Delivery) kubeconfig() string {
	if path := d.Environment.Cluster.Kubeconfig; path != "" {
		return d.Config.Abs(path)
	}
	return ""
}

// Namespace is where the app's objects are, unless their manifests say otherwise.
func (d *Delivery) Namespace() string { return cmp.Or(d.Environment.Namespace, "default") }

// Release is the environment's manifests with ref, a reference with its digest, as the image.
func (d *Delivery) Release(ctx context.Context, ref string, source gitops.Source) (cluster.Release, error) {
	release := d.Deploy
	release.App = d.Config.App
	release.Namespace = d.Namespace()
	release.Image, release.SourceRevision, release.RunURL = ref, source.Commit, d.RunURL
	if release.Strategy.Kind == "" {
		release.Strategy = strategy(d.Environment.Rollout, release.Strategy)
	}
	options := render.Options{}
	if ref != "" {
		options.Images = []render.Image{{Ref: ref}}
	}
	if d.Environment.Manifests == "" {
		return release, fault.Usagef("no manifests are named: say where they are with --manifests, or in aksflow.yaml")
	}
	objects, err := render.Render(ctx, d.Config.Abs(d.Environment.Manifests), options)
	release.Objects = objects
	return release, err
}

// strategy is the configured rollout; what the caller set of it wins.
func strategy(r config.Rollout, set cluster.Strategy) cluster.Strategy {
	out := cluster.Strategy{Kind: cluster.Kind(r.Strategy), Percent: r.Percent, Pause: r.Pause, Hold: r.Hold || set.Hold}
	if len(set.Percent) > 0 {
		out.Percent = set.Percent
	}
	if set.Pause != 0 {
		out.Pause = set.Pause
	}
	for _, s := range r.Smoke {
		out.Smoke = append(out.Smoke, cluster.Smoke(s))
	}
	return out
}

// Push applies the environment's manifests with the image ref and watches until the pods run it.
func (d *Delivery) Push(ctx context.Context, ref string, source gitops.Source) (*cluster.Result, error) {
	release, err := d.Release(ctx, ref, source)
	if err != nil {
		return nil, err
	}
	cluster, err := d.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	return cluster.Deploy(ctx, release)
}

// Bump writes ref into the environment's manifests in git.
func (d *Delivery) Bump(ctx context.Context, ref string, source gitops.Source) (*gitops.Result, error) {
	return gitops.Bump(ctx, d.BumpOptions(ref, source))
}

// BumpOptions is what Bump asks of package gitops.
func (d *Delivery) BumpOptions(ref string, source gitops.Source) gitops.BumpOptions {
	o := gitops.BumpOptions{
		Remote:         d.remote(),
		Branch:         d.Environment.GitOps.Branch,
		Path:           d.Environment.GitOps.Path,
		Target:         manifest.Target{Image: ref, Replace: d.Environment.GitOps.Replace, Keys: imageKeys(d.Environment.GitOps)},
		Check:          manifest.Options{Build: kustomize.Build},
		SourceRevision: source.Commit,
		PipelineRun:    d.RunURL,
		Force:          d.Force,
	}
	if d.Environment.GitOps.PullRequest {
		o.PullRequest = &gitops.PullRequest{}
	}
	return o
}

// imageKeys are the references whose keys the configuration names.
func imageKeys(g config.GitOps) []manifest.Keys {
	var keys []manifest.Keys
	for _, i := range g.Images {
		keys = append(keys, manifest.Keys(i))
	}
	return keys
}

func (d *Delivery) remote() gitops.Remote {
	return gitops.Remote{
		URL:  d.Environment.GitOps.Repo,
		Auth: gitops.Auth{Username: d.GitUser, Token: d.GitPassword},
	}
}

// Wait returns when the operator has applied commit and the pods run ref.
func (d *Delivery) Wait(ctx context.Context, commit, ref string) (*gitops.WaitResult, error) {
	g := d.Environment.GitOps
	remote := d.remote()
	return gitops.Wait(ctx, gitops.WaitOptions{
		Kubeconfig: d.kubeconfig(),
		Context:    d.Environment.Cluster.Context,
		Operator:   g.Operator,
		Namespace:  g.Namespace,
		Name:       g.Application,
		RepoURL:    g.Repo,
		Branch:     g.Branch,
		Path:       g.Path,
		Commit:     commit,
		Image:      ref,
		Sync:       d.Sync,
		Contains: func(ctx context.Context, revision, commit string) (bool, error) {
			return remote.Contains(ctx, g.Branch, revision, commit)
		},
	})
}

// app returns what the configuration builds, and the source that it is built from.
func (d *Delivery) app(ctx context.Context) (build.App, gitops.Source, error) {
	b := d.Config.Build
	dir := d.Config.Abs(b.Context)
	file := filepath.Join(dir, b.Dockerfile)
	dockerfile, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return build.App{}, gitops.Source{}, fault.Usagef("there is no Dockerfile at %s: set build.context and build.dockerfile in %s",
			file, d.Config.Path())
	}
	if err != nil {
		return build.App{}, gitops.Source{}, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	source, err := d.Source(ctx)
	if err != nil {
		return build.App{}, source, err
	}
	client, err := d.Client(ctx)
	if err != nil {
		return build.App{}, source, err
	}
	var secrets []*dagger.Secret
	for _, name := range slices.Sorted(maps.Keys(b.Secrets)) {
		secret, err := d.secret(client, name, b.Secrets[name])
		if err != nil {
			return build.App{}, source, err
		}
		secrets = append(secrets, secret)
	}
	return build.New(d.Config, build.Inputs{
		Client:     client,
		Dir:        client.Host().Directory(dir),
		Dockerfile: dockerfile,
		Source:     delivery.Source{Commit: source.Commit, Time: source.Time, Dirty: source.Dirty},
		Args:       d.BuildArgs,
		Secrets:    secrets,
	}), source, nil
}

func (d *Delivery) secret(client *dagger.Client, name string, from config.Secret) (*dagger.Secret, error) {
	if from.Env != "" {
		value, ok := os.LookupEnv(from.Env)
		if !ok {
			return nil, fault.Usagef("the build secret %s comes from the environment variable %s, which is not set", name, from.Env)
		}
		return client.SetSecret(name, value), nil
	}
	file, err := filepath.Abs(d.Config.Abs(from.File))
	if err != nil {
		return nil, err
	}
	value, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("the build secret %s: %w", name, err))
	}
	return build.FileSecret(client, name, file, value), nil
}

// Source is what the image is built from; nothing is known about it without an aksflow.yaml.
func (d *Delivery) Source(ctx context.Context) (gitops.Source, error) {
	if d.Config.Path() == "" {
		return gitops.Source{}, nil
	}
	dir := d.Config.Abs(d.Config.Build.Context)
	source, err := gitops.SourceRevision(ctx, dir)
	if err != nil {
		return source, fmt.Errorf("finding out which commit %s is at: %w", dir, err)
	}
	return source, nil
}
