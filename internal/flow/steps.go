package flow

import (
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
	"github.com/aksflow/aksflow/internal/core/build/files"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/gitflow"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
)

// imageSteps are the steps that make the image, in their order: build and test, and publish where there is an
// environment to publish for.
func (d *Delivery) imageSteps() []delivery.Step {
	steps := []delivery.Step{
		{Name: "build", Check: d.checkBuild, Run: d.build},
		{Name: "test", Needs: []string{"build"}, Check: d.checkTest, Run: d.test},
	}
	if d.env != nil {
		steps = append(steps, delivery.Step{
			Name: "publish", Needs: []string{"build", "test"}, Changes: true, Check: d.checkPublish, Run: d.publish,
		})
	}
	return steps
}

func (d *Delivery) checkBuild(context.Context) error {
	_, err := d.dockerfile()
	return errors.Join(err, d.config.Build.Unset)
}

// checkTest looks at what the build of the tests' stages needs, too.
func (d *Delivery) checkTest(ctx context.Context) error {
	if !d.hasTests() {
		return nil
	}
	return errors.Join(d.checkBuild(ctx), d.config.Test.Unset)
}

func (d *Delivery) hasTests() bool {
	return d.config.Test.Unit != nil || d.config.Test.Integration != nil
}

// dockerfile returns the text of the Dockerfile.
func (d *Delivery) dockerfile() ([]byte, error) {
	path := filepath.Join(d.config.Abs(d.config.Build.Context), d.config.Build.Dockerfile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Usagef("there is no Dockerfile at %s: set build.context and build.dockerfile in %s", path, d.config.Path())
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	return text, nil
}

// build builds the image, and writes it to the state's tarball unless that is "".
func (d *Delivery) build(ctx context.Context, s *delivery.State) (delivery.Outcome, error) {
	app, err := d.app(ctx, s.Release.Source)
	if err != nil {
		return delivery.Outcome{}, err
	}
	built := &delivery.Built{Tarball: d.Tarball, Revision: s.Release.Source.Revision(), Source: s.Release.Source}
	if s.Tarball == "" {
		_, err = app.Build().Sync(ctx)
		return delivery.Outcome{Summary: d.config.App, Detail: built}, build.Explain(err)
	}
	if err := os.MkdirAll(filepath.Dir(s.Tarball), 0o755); err != nil {
		return delivery.Outcome{}, fmt.Errorf("making the folder for the image: %w", err)
	}
	if built.Digest, err = app.Export(ctx, s.Tarball); err != nil {
		return delivery.Outcome{}, err
	}
	return delivery.Outcome{Summary: built.Digest, Detail: built}, nil
}

// app returns what the configuration builds.
func (d *Delivery) app(ctx context.Context, source delivery.Source) (build.App, error) {
	dockerfile, err := d.dockerfile()
	if err != nil {
		return build.App{}, err
	}
	client, err := d.Client(outliving(ctx))
	if err != nil {
		return build.App{}, err
	}
	b := d.config.Build
	var agent *dagger.Socket
	if socket, _ := d.Variables("SSH_AUTH_SOCK"); socket != "" {
		agent = client.Host().UnixSocket(socket)
	}
	var secrets []*dagger.Secret
	for _, name := range slices.Sorted(maps.Keys(b.Secrets)) {
		secret, err := d.secret(ctx, client, name, b.Secrets[name])
		if err != nil {
			return build.App{}, err
		}
		secrets = append(secrets, secret)
	}
	if d.context == "" {
		if d.context, d.removeContext, err = files.Canonical(ctx, d.config.Abs(b.Context), b.Dockerfile); err != nil {
			return build.App{}, err
		}
	}
	return build.New(d.config, build.Inputs{
		Client: client, Dir: client.Host().Directory(d.context), Dockerfile: dockerfile,
		Source: source, Args: d.BuildArgs, Secrets: secrets, SSH: agent, Cache: d.Layers,
	}), nil
}

func (d *Delivery) secret(ctx context.Context, client *dagger.Client, name string, from config.Secret) (*dagger.Secret, error) {
	if from.Env != "" {
		value, ok := d.Variables(from.Env)
		if !ok {
			return nil, fault.Usagef("the secret %s comes from the environment variable %s, which is not set", name, from.Env)
		}
		d.warnOfShort(ctx, name, value)
		return client.SetSecret(name, value), nil
	}
	file, err := filepath.Abs(d.config.Abs(from.File))
	if err != nil {
		return nil, err
	}
	value, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("the secret %s: %w", name, err))
	}
	d.warnOfShort(ctx, name, string(value))
	return build.FileSecret(client, name, file, value), nil
}

// warnOfShort says once that a secret's value is not hidden in output.
func (d *Delivery) warnOfShort(ctx context.Context, name, value string) {
	if value == "" || report.Maskable(value) || d.warned[name] {
		return
	}
	if d.warned == nil {
		d.warned = map[string]bool{}
	}
	d.warned[name] = true
	report.Warn(ctx, "the value of the secret %s is too short to be hidden: output that holds it is shown as it is", name)
}

// test tests the image in the state's tarball, or one that is built now if there is none. The detail is there also when
// tests failed.
func (d *Delivery) test(ctx context.Context, s *delivery.State) (delivery.Outcome, error) {
	if !d.hasTests() {
		return delivery.Outcome{Status: delivery.Unchanged, Summary: "no tests are configured"}, nil
	}
	app, err := d.app(ctx, s.Release.Source)
	if err != nil {
		return delivery.Outcome{}, err
	}
	client, err := d.Client(outliving(ctx))
	if err != nil {
		return delivery.Outcome{}, err
	}
	tests, err := d.tests(ctx, client)
	if err != nil {
		return delivery.Outcome{}, err
	}
	var img *dagger.File
	if s.Tarball != "" {
		if _, err := os.Stat(s.Tarball); err != nil {
			return delivery.Outcome{}, fault.Usage(fmt.Errorf("the image to test: %w; `aksflow build -o FILE` makes one", err))
		}
		img = client.Host().File(s.Tarball)
	}
	results, err := build.Test(ctx, client, app, img, tests)
	if results == nil {
		return delivery.Outcome{}, err
	}
	return d.tested(ctx, results, err)
}

// tests returns the tests that the configuration describes.
func (d *Delivery) tests(ctx context.Context, client *dagger.Client) (build.Tests, error) {
	named, err := d.config.Test.Secrets()
	if err != nil {
		return build.Tests{}, err
	}
	secrets := map[string]*dagger.Secret{}
	for name, from := range named {
		if secrets[name], err = d.secret(ctx, client, name, from); err != nil {
			return build.Tests{}, err
		}
	}
	tests := build.NewTests(d.config.Test, secrets)
	tests.NoCache = d.NoCache
	return tests, nil
}

// tested writes the reports and says which tests failed.
func (d *Delivery) tested(ctx context.Context, results *build.Results, err error) (delivery.Outcome, error) {
	detail := &delivery.Tested{Summary: results.Summary(), Tests: []delivery.Test{}, Reports: []string{}}
	for _, c := range results.Cases() {
		detail.Tests = append(detail.Tests, delivery.Test{
			Suite: c.Suite, Name: c.String(), Status: string(c.Status), Seconds: c.Elapsed.Seconds(), Message: c.Message,
		})
	}
	var reasons []delivery.Reason
	for _, c := range results.Failed() {
		file := d.sourceFile(c.File)
		report.Emit(ctx, report.Event{Kind: report.Fault, Object: c.String(), Message: c.Message, File: file, Line: c.Line})
		reasons = append(reasons, delivery.Reason{Object: c.String(), Reason: string(c.Status), Message: c.Message, File: file, Line: c.Line})
	}
	err = delivery.WithReasons(err, reasons)
	if d.Reports != "" {
		paths, writing := results.Write(d.Reports)
		detail.Reports, err = append(detail.Reports, paths...), errors.Join(err, writing)
	}
	return delivery.Outcome{Summary: detail.Summary, Detail: detail}, err
}

// sourceFile returns the path of the file that a test names relative to where it ran; "" if the source has no such file.
func (d *Delivery) sourceFile(name string) string {
	if name == "" {
		return ""
	}
	path := filepath.Join(d.config.Abs(d.config.Build.Context), name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

func (d *Delivery) checkPublish(ctx context.Context) error {
	if d.Tarball != "" {
		if _, err := os.Stat(d.Tarball); err != nil {
			return fault.Usage(fmt.Errorf("the image to push: %w; `aksflow build -o FILE` makes one", err))
		}
	}
	_, err := d.registry(ctx)
	return err
}

// RegistryLogin returns Azure's login for a registry's host; nil where it has none, or where Docker's own goes before it.
func RegistryLogin(ctx context.Context, azure Azure, host string) delivery.Credentials {
	login, ambient := azure.Registry(host)
	if login == nil || ambient && image.HasDockerLogin(ctx, host) {
		return nil
	}
	return login
}

func (d *Delivery) registry(ctx context.Context) (image.Registry, error) {
	r := image.Registry{Network: d.env.Network}
	login := d.env.RegistryLogin
	if login == nil && d.Azure != nil {
		login = RegistryLogin(ctx, d.Azure, ref.Read(d.env.Repository).Host())
	}
	if login == nil {
		return r, nil
	}
	if advises, ok := login.(interface{ Refused() string }); ok {
		r.Refused = advises.Refused()
	}
	var err error
	r.Username, r.Password, err = login.Login(ctx)
	return r, err
}

// publish pushes the image in the state's tarball to the environment's repository.
func (d *Delivery) publish(ctx context.Context, s *delivery.State) (delivery.Outcome, error) {
	registry, err := d.registry(ctx)
	if err != nil {
		return delivery.Outcome{}, err
	}
	archive, err := image.Open(s.Tarball)
	if err != nil {
		return delivery.Outcome{}, err
	}
	digest := archive.Digest().Hex
	if err := archive.Close(); err != nil {
		return delivery.Outcome{}, err
	}
	pushed, err := image.Push(ctx, image.Options{
		Tarball: s.Tarball, Repository: d.env.Repository, Tags: d.tags(s.Release.Source, digest), Registry: registry,
	})
	if err != nil {
		return delivery.Outcome{}, err
	}
	if s.Release.Image, err = ref.Parse(pushed.Image); err != nil {
		return delivery.Outcome{}, err
	}
	s.Release.Published = true
	// The version is for readers of the manifests, and for charts, which label their objects with the tag. The digest
	// decides what runs.
	if version := gitflow.Tag(s.Release.Version); slices.Contains(pushed.Tags, version) {
		s.Release.Image.Tag = version
	}
	out := delivery.Outcome{Summary: pushed.Image, Detail: &delivery.Published{
		Image: pushed.Image, Digest: pushed.Digest, Tags: append([]string{}, pushed.Tags...), Unchanged: pushed.Unchanged,
	}}
	if pushed.Unchanged {
		out.Status, out.Summary = delivery.Unchanged, "nothing to push: the registry has it"
	}
	return out, nil
}

// tags are what the image is called in the registry: by its commit, by its git ref, and as the caller says. An image
// with changes that are not committed is called by its digest, in hex, in place of the commit: the other tags move with the
// next such image, and registries delete digests without a tag, which may be running.
func (d *Delivery) tags(source delivery.Source, digest string) []string {
	var tags []string
	switch {
	case source.Dirty:
		tags = append(tags, "dirty-"+digest[:12])
	case source.Commit != "":
		tags = append(tags, source.Commit[:12])
	}
	return append(append(tags, d.Decision.Tags...), d.Tags...)
}
