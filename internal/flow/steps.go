package flow

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	"github.com/aksflow/aksflow/internal/flow/resolve"
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

// build builds the image, and writes it to the state's tarball unless that is "". An image that the registry has for the
// source is not built.
func (d *Delivery) build(ctx context.Context, s *delivery.State) (delivery.Outcome, error) {
	k, err := d.lookUp(ctx)
	if err != nil {
		return delivery.Outcome{}, err
	}
	if k.found() {
		return d.take(ctx, s, k)
	}
	if k != nil && k.why != "" {
		report.Info(ctx, "this source is built, whatever the registry has: %s", k.why)
	}
	s.Release.Source.Key = k.sourceKey()
	built := &delivery.Built{Tarball: d.Tarball, Revision: s.Release.Source.Revision(), Source: s.Release.Source}
	if s.Tarball != "" {
		if err := os.MkdirAll(filepath.Dir(s.Tarball), 0o755); err != nil {
			return delivery.Outcome{}, fmt.Errorf("making the folder for the image: %w", err)
		}
	}
	if built.Digest, err = d.engine.build(ctx, s.Release.Source, s.Tarball, d.annotations(ctx, s.Release.Source)); err != nil {
		return delivery.Outcome{}, err
	}
	if s.Tarball != "" {
		if built.Layers, err = image.LayersOf(s.Tarball); err != nil {
			return delivery.Outcome{}, err
		}
	}
	return delivery.Outcome{Summary: cmp.Or(built.Digest, d.config.App), Detail: built}, nil
}

// containers is the work that an engine does. A Delivery does it with the engine that the request connects to.
type containers interface {
	// build builds the image and writes it to a tarball unless that is "". The tarball says the annotations about the image. It
	// returns the digest of what it wrote.
	build(ctx context.Context, source delivery.Source, tarball string, annotations map[string]string) (digest string, err error)
	// test tests the image in a tarball; without one, the image that is built now. The results may be there also with an error.
	test(ctx context.Context, source delivery.Source, tarball string) (*build.Results, error)
}

// onEngine is the work of a delivery's own engine.
type onEngine struct{ *Delivery }

func (d onEngine) build(ctx context.Context, source delivery.Source, tarball string, annotations map[string]string) (digest string, err error) {
	app, err := d.app(ctx, source)
	if err != nil {
		return "", err
	}
	if tarball == "" {
		return "", app.Sync(ctx)
	}
	return app.Export(ctx, tarball, annotations)
}

// app returns what the configuration builds.
func (d *Delivery) app(ctx context.Context, source delivery.Source) (build.App, error) {
	client, err := d.client(ctx)
	if err != nil {
		return build.App{}, err
	}
	return d.appOn(ctx, client, source)
}

// appOn is app in a session.
func (d *Delivery) appOn(ctx context.Context, client *dagger.Client, source delivery.Source) (build.App, error) {
	dockerfile, err := d.dockerfile()
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
		Source: source, Args: d.BuildArgs, Secrets: secrets, SSH: agent, Cache: d.Layers, Generation: d.known.engineGeneration(d.Rebuild),
	}), nil
}

func (d *Delivery) secret(ctx context.Context, client *dagger.Client, name string, from config.Secret) (*dagger.Secret, error) {
	value, file, err := d.outside().Value(name, from, d.config.Abs)
	if err != nil {
		return nil, err
	}
	d.warnOfShort(ctx, name, string(value))
	d.hide(string(value))
	if file == "" {
		return client.SetSecret(name, string(value)), nil
	}
	return build.FileSecret(client, name, file, value), nil
}

// hide makes Hide hide a secret, and what XML makes of it.
func (d *Delivery) hide(value string) {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(value)) // writing to a string does not fail
	d.secrets = report.NewScrubber(append(d.secrets.Secrets, value, escaped.String()))
}

// Hide returns a text without the secrets of the build, of the tests, and of what the delivery logs in with.
func (d *Delivery) Hide(text string) string { return d.secrets.Text(text) }

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
	tarball, done, err := d.toTest(ctx, s)
	if err != nil || done != nil {
		return *cmp.Or(done, &delivery.Outcome{}), err
	}
	results, err := d.engine.test(ctx, s.Release.Source, tarball)
	if results == nil {
		return delivery.Outcome{}, err
	}
	if err == nil {
		err = d.noteTests(ctx, s, results)
	}
	return d.tested(ctx, results, err)
}

func (d onEngine) test(ctx context.Context, source delivery.Source, tarball string) (*build.Results, error) {
	app, err := d.app(ctx, source)
	if err != nil {
		return nil, err
	}
	client, err := d.client(ctx)
	if err != nil {
		return nil, err
	}
	tests, err := d.tests(ctx, client)
	if err != nil {
		return nil, err
	}
	var img *dagger.File
	if tarball != "" {
		if _, err := os.Stat(tarball); err != nil {
			return nil, fault.Usage(fmt.Errorf("the image to test: %w; `aksflow build -o FILE` makes one", err))
		}
		img = client.Host().File(tarball)
	}
	return build.Test(ctx, client, app, img, tests)
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
	tests.NoCache, tests.Hide = d.Retest, d.Hide
	return d.only(tests), nil
}

// tested writes the reports and says which tests failed.
func (d *Delivery) tested(ctx context.Context, results *build.Results, err error) (delivery.Outcome, error) {
	detail := &delivery.Tested{Summary: results.Summary(), Tests: []delivery.Test{}, Reports: []string{}}
	for _, c := range results.Cases() {
		t := delivery.Test{
			Suite: c.Suite, Name: c.String(), Status: string(c.Status), Seconds: c.Elapsed.Seconds(), Message: c.Message,
		}
		if c.Status == build.Failed || c.Status == build.Error {
			t.Detail, t.File, t.Line = c.Detail, c.File, c.Line
		}
		detail.Tests = append(detail.Tests, t)
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
		// A file that is no image needs no registry to be refused.
		if _, err := image.LayersOf(d.Tarball); err != nil {
			return err
		}
	}
	if _, err := d.registry(ctx); err != nil {
		return err
	}
	if d.env.Sign == nil || d.Tarball != "" || !d.mayRecord() {
		return nil
	}
	if k, err := d.lookUp(ctx); err != nil || k == nil || k.found() || d.builtFrom.Dirty {
		return err // nothing will be signed
	}
	return d.checkSigner(ctx)
}

// RegistryLogin returns Azure's login for a registry's host; nil where it has none, or where Docker's own goes before it.
func RegistryLogin(ctx context.Context, azure resolve.Azure, host string) delivery.Credentials {
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

// publish brings the image to the environment's repository: it pushes the state's tarball, unless the registry has the image
// of this source. The tags that people read move last.
func (d *Delivery) publish(ctx context.Context, s *delivery.State) (delivery.Outcome, error) {
	repository, err := d.open(ctx, image.ReadWrite)
	if err != nil {
		return delivery.Outcome{}, err
	}
	digest, attached, unchanged := s.Release.Image.Digest, []string(nil), true
	if s.Release.Published {
		err = d.stillRecorded(ctx, repository, digest)
	} else {
		digest, attached, unchanged, err = d.push(ctx, s, repository)
	}
	if err != nil {
		return delivery.Outcome{}, err
	}
	tags := d.tags(s.Release.Source, strings.TrimPrefix(digest, "sha256:"))
	var fixed []string
	if gitflow.IsRelease(d.gitRef, s.Release.Version) {
		fixed = append(fixed, gitflow.Tag(s.Release.Version))
	}
	moved, err := repository.Tag(ctx, digest, image.TagOptions{Tags: tags, Keep: commitTags(s.Release.Source), Fixed: fixed})
	if err != nil {
		return delivery.Outcome{}, err
	}
	published := ref.Ref{Repository: d.env.Repository, Digest: digest}
	s.Release.Image, s.Release.Published = published, true
	// The version is for readers of the manifests, and for charts, which label their objects with the tag. The digest
	// decides what runs.
	if version := gitflow.Tag(s.Release.Version); slices.Contains(tags, version) {
		s.Release.Image.Tag = version
	}
	out := delivery.Outcome{Summary: published.String(), Detail: &delivery.Published{
		Image: published.String(), Digest: digest, Tags: append([]string{}, tags...), Unchanged: unchanged && !moved, Attached: attached,
	}}
	switch {
	case len(attached) > 0 && unchanged && !moved:
		out.Summary = "the registry has it; attached: " + strings.Join(attached, ", ")
	case unchanged && !moved:
		out.Status, out.Summary = delivery.Unchanged, "nothing to push: the registry has it"
	}
	return out, nil
}

// commitTags are the tags that stay with a commit. A second image of the commit moves them, and the first may be running.
func commitTags(source delivery.Source) []string {
	if source.Dirty || source.Commit == "" {
		return nil
	}
	return []string{source.Commit[:12]}
}

// tags are what the image is called in the registry: by its commit, by its git ref, and as the caller says. An image
// of no commit, or with changes that are not committed, is called by its digest, in hex, in place of the commit: the other
// tags move with the next such image, and registries delete digests without a tag, which may be running.
func (d *Delivery) tags(source delivery.Source, digest string) []string {
	if d.WorkTree {
		return d.Tags
	}
	tags := commitTags(source)
	switch {
	case source.Dirty:
		tags = append(tags, "dirty-"+digest[:12])
	case source.Commit == "":
		tags = append(tags, "image-"+digest[:12])
	}
	return append(append(tags, d.Decision.Tags...), d.Tags...)
}
