// Package build holds the container work of a delivery as Dagger graphs: build an image from a Dockerfile, and test it.
//
// Its functions take a [dagger.Client] and work with each engine that answers Dagger's API: a Dagger engine or the
// embedded one. Graphs are lazy: a function talks to the engine only if its comment says so.
package build

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"dagger.io/dagger"

	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/canonical"
	"github.com/aksflow/aksflow/internal/core/report"
)

// App is what is built: a directory with a Dockerfile in it. All stages (the image, its tests, the services that the
// tests need) are built from the same source with the same arguments.
type App struct {
	// Client is the connection that Source and Secrets belong to.
	Client *dagger.Client
	// Name is the application's name. Cache volumes of the tests are named after it.
	Name string
	// Source is the build context. The times of its files make no difference.
	Source *dagger.Directory
	// Dockerfile is its path inside Source. Empty: "Dockerfile".
	Dockerfile string
	// Target is the stage that becomes the image. Empty: the last one.
	Target string
	// BuildArgs are the values of the Dockerfile's ARG instructions. They are part of the image's history, so they must
	// not be secret.
	BuildArgs map[string]string
	// Secrets are mounted at /run/secrets/NAME for RUN --mount=type=secret, under the names they were set with.
	Secrets []*dagger.Secret
	// SSH is the socket of an SSH agent for RUN --mount=type=ssh. Nil: there is none.
	SSH *dagger.Socket
	// Platform is what the image is built for, as in "linux/arm64". Empty: the engine's own.
	Platform dagger.Platform

	text       []byte // of the Dockerfile
	cache      string // a directory for layers
	generation string
}

// Inputs are what an app is built from beside its configuration.
type Inputs struct {
	// Client is the connection that Dir, Secrets and SSH belong to.
	Client *dagger.Client
	// Dir is the build context.
	Dir *dagger.Directory
	// Dockerfile is the text of the Dockerfile.
	Dockerfile []byte
	// Source is what is known about the commit of Dir.
	Source delivery.Source
	// Args are build arguments that win over those of the configuration.
	Args map[string]string
	// Secrets are those that the configuration names, with their values.
	Secrets []*dagger.Secret
	// SSH is the socket of an SSH agent, or nil.
	SSH *dagger.Socket
	// Cache is a directory that keeps the layers that Export wrote, so that it compresses them once; "" keeps none.
	Cache string
	// Generation is raised to run again what an engine remembers. "" runs what changed.
	Generation string
}

// Build arguments that are set from the commit, for Dockerfiles that declare them.
const (
	argRevision = "REVISION"
	// argGeneration is added to each stage, so that its instructions run again.
	argGeneration = "AKSFLOW_GENERATION"
	argEpoch      = "SOURCE_DATE_EPOCH" // in seconds since 1970; see https://reproducible-builds.org/docs/source-date-epoch/
)

// New returns the app that cfg describes. The command and the Dagger module both call it, so that they send the same
// graph and get the same image.
//
// An image holds nothing of the commit by default, so that a merge that changes no source makes no new image. A
// Dockerfile that declares ARG REVISION gets the commit's hash, and one that declares ARG SOURCE_DATE_EPOCH its time;
// both are part of the cache key of the instructions that follow the declaration. Arguments of the configuration and of
// in win over these.
func New(cfg *config.Config, in Inputs) App {
	if !bytes.Contains(in.Dockerfile, []byte("type=ssh")) {
		in.SSH = nil // so that the graph is the same with and without an agent
	}
	return App{
		Client:     in.Client,
		Name:       cfg.App,
		Source:     in.Dir,
		Dockerfile: cfg.Build.Dockerfile,
		Target:     cfg.Build.Target,
		BuildArgs:  arguments(cfg, in.Dockerfile, in.Source, in.Args),
		Secrets:    in.Secrets,
		SSH:        in.SSH,
		Platform:   dagger.Platform(cfg.Build.Platform),
		text:       in.Dockerfile,
		cache:      in.Cache,
		generation: in.Generation,
	}
}

// CommitArgs returns which build arguments New sets from the commit for a Dockerfile, sorted: with one of them, each commit
// makes another image of the same source.
func CommitArgs(cfg *config.Config, text []byte) []string {
	declared := dockerfile.Parse(text).Declared()
	var names []string
	for _, name := range []string{argRevision, argEpoch} {
		if _, set := cfg.Build.Args[name]; declared[name] && !set {
			names = append(names, name)
		}
	}
	return names
}

// commitArgs returns the build arguments that say which commit is built, as far as they are declared and known.
func commitArgs(declared map[string]bool, source delivery.Source) map[string]string {
	args := map[string]string{}
	if source.Commit == "" {
		return args
	}
	if declared[argRevision] {
		args[argRevision] = source.Revision()
	}
	if declared[argEpoch] && !source.Time.IsZero() {
		args[argEpoch] = strconv.FormatInt(source.Time.Unix(), 10)
	}
	return args
}

// NeedsCommit reports whether a Dockerfile declares an argument that is set from the commit.
func NeedsCommit(text []byte) bool {
	declared := dockerfile.Parse(text).Declared()
	return declared[argRevision] || declared[argEpoch]
}

// FileSecret returns the secret called name whose value is the content of a file on the host. The API carries texts
// only, so an engine reads a file that is not UTF-8 itself. Only the embedded engine does so for Dockerfiles: it mounts
// the secret under its cache key.
func FileSecret(client *dagger.Client, name, file string, content []byte) *dagger.Secret {
	if utf8.Valid(content) {
		return client.SetSecret(name, string(content))
	}
	return client.Secret("file://"+file, dagger.SecretOpts{CacheKey: name})
}

// Build returns the image as a container. It asks the engine for the base image of a Dockerfile with arguments.
func (a App) Build(ctx context.Context) (*dagger.Container, error) { return a.container(ctx, a.Target) }

// Sync builds the image, and writes no file.
func (a App) Sync(ctx context.Context) error {
	c, err := a.Build(ctx)
	if err == nil {
		_, err = c.Sync(ctx)
	}
	return Explain(err)
}

// Export builds the image and writes it to a file, an OCI image layout in a tar archive: the unit that is tested, handed
// from one job to the next, and pushed. The image is in its canonical form, so that each engine and each machine make the
// same of the same source; see package canonical. The index of the file says the annotations about the image, which has the same
// digest without them. It returns the digest.
func (a App) Export(ctx context.Context, file string, annotations map[string]string) (digest string, err error) {
	raw, err := os.CreateTemp(filepath.Dir(file), ".image-*.tar")
	if err != nil {
		return "", fmt.Errorf("making a file for the image: %w", err)
	}
	defer os.Remove(raw.Name())
	if err := raw.Close(); err != nil {
		return "", err
	}
	tarball, err := a.Tarball(ctx)
	if err != nil {
		return "", Explain(err)
	}
	if _, err := tarball.Export(ctx, raw.Name()); err != nil {
		return "", Explain(err)
	}
	form := a.Form(a.cache)
	form.Annotations = annotations
	finished, err := Finish(ctx, raw.Name(), file, form)
	if finished.Warning != "" {
		report.Warn(ctx, "%s", finished.Warning)
	}
	return finished.Digest, err
}

// Finished is what Finish made.
type Finished struct {
	Digest string `json:"digest"`
	// Warning says why the image is not in its canonical form; "" if it is.
	Warning string `json:"warning,omitempty"`
}

// Finish writes the image that an engine exported to the file from in its canonical form. An image that has none keeps the
// form that the engine gave it.
func Finish(ctx context.Context, from, to string, o canonical.Options) (f Finished, err error) {
	f.Digest, err = canonical.Write(ctx, from, to, o)
	if !errors.Is(err, canonical.ErrUnknownLayers) {
		return f, err
	}
	f.Warning = canonical.ErrUnknownLayers.Error() +
		": it keeps the form that the engine gave it, and another machine or engine may make another digest of the same source"
	archive, err := image.Open(from)
	if err != nil {
		return f, err
	}
	defer archive.Close()
	f.Digest = archive.Digest().String()
	return f, copyFile(from, to)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Form returns what Finish needs to know of the Dockerfile. Layers are kept in the directory cache; "" keeps none.
func (a App) Form(cache string) canonical.Options {
	o := canonical.Options{Cache: cache}
	instructions, err := dockerfile.Parse(a.built()).History(a.Target)
	if err != nil {
		return o // an engine says so when it builds
	}
	for _, i := range instructions {
		_, modes := i.Flag("chmod")
		o.Instructions = append(o.Instructions, canonical.Instruction{
			Text: i.String(), Parts: layersOf(i), Context: i.FromContext(), Modes: modes,
			Unrecorded: i.Name == "ARG" && strings.HasPrefix(i.Rest, argGeneration+"="),
		})
	}
	if epoch, err := strconv.ParseInt(a.BuildArgs[argEpoch], 10, 64); err == nil {
		o.Epoch = epoch
	}
	return o
}

// built is the Dockerfile that the engine builds: with the generation as an argument of each stage, where one is set.
func (a App) built() []byte {
	if a.generation == "" {
		return a.text
	}
	return dockerfile.Parse(a.text).WithArg(a.text, argGeneration, a.generation)
}

// layersOf is how many layers an engine may make of an instruction; see [canonical.Instruction].
func layersOf(i dockerfile.Instruction) int {
	if i.Name == "RUN" || i.Name == "WORKDIR" && i.Rest != "/" {
		return 1
	}
	return i.Sources()
}

// Layers returns the instructions that made the layers of an image in its canonical form, those of the base image aside.
func (a App) Layers() ([]dockerfile.Instruction, error) {
	instructions, err := dockerfile.Parse(a.text).History(a.Target)
	return slices.DeleteFunc(instructions, func(i dockerfile.Instruction) bool { return layersOf(i) == 0 }), err
}

// Tarball returns the image as an OCI image layout in a tar archive, in the form that the engine gives it. It asks the engine
// as Build does.
func (a App) Tarball(ctx context.Context) (*dagger.File, error) {
	c, err := a.Build(ctx)
	if err != nil {
		return nil, err
	}
	return c.AsTarball(), nil
}

// container returns a stage without the values of ARG instructions in its environment. The Dockerfile reference says that an
// image does not have them (https://docs.docker.com/reference/dockerfile/#arg); a Dagger engine leaves them there, seen with
// v0.21.8. A variable that the base image has stays.
func (a App) container(ctx context.Context, target string) (*dagger.Container, error) {
	c := a.stage(target)
	names, base, err := dockerfile.Parse(a.built()).Arguments(target, a.BuildArgs, string(a.Platform))
	if err != nil || len(names) == 0 {
		return c, nil // an engine says what is wrong when it builds
	}
	var variables []struct{ Name string }
	if base != "" {
		image := a.Client.Container(dagger.ContainerOpts{Platform: a.Platform}).From(base)
		err := a.Client.QueryBuilder().Select("node").Arg("id", image).InlineFragment("Container").
			Select("envVariables").Select("name").Bind(&variables).Execute(ctx)
		if err != nil {
			// The build needs the image, too, and says more of what is wrong. An image that was not looked at must not pass.
			_, failed := c.Sync(ctx)
			return nil, cmp.Or(failed, fmt.Errorf("reading the environment of %s: %w", base, err))
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(variables, func(v struct{ Name string }) bool { return v.Name == name }) {
			c = c.WithoutEnvVariable(name)
		}
	}
	return c, nil
}

// stage returns the Dockerfile's stage of that name, the last one for "".
func (a App) stage(target string) *dagger.Container {
	source := a.Source
	if a.generation != "" {
		source = source.WithNewFile(cmp.Or(a.Dockerfile, "Dockerfile"), string(a.built()))
	}
	// A program that a stage compiles may name the time of its source.
	source = source.WithTimestamps(canonical.ContextTime)
	opts := dagger.DirectoryDockerBuildOpts{
		Dockerfile: a.Dockerfile,
		Target:     target,
		Platform:   a.Platform,
		Secrets:    a.Secrets,
		SSH:        a.SSH,
	}
	// Sorted, so that the same app is the same query.
	for _, name := range slices.Sorted(maps.Keys(a.BuildArgs)) {
		opts.BuildArgs = append(opts.BuildArgs, dagger.BuildArg{Name: name, Value: a.BuildArgs[name]})
	}
	if slices.ContainsFunc(opts.BuildArgs, func(arg dagger.BuildArg) bool { return arg.Value == "" }) {
		return a.dockerBuild(source, opts)
	}
	return source.DockerBuild(opts)
}

// dockerBuild is Directory.DockerBuild for build arguments that are empty. The SDK leaves empty strings out of input
// objects, and an engine refuses a build argument without a value, so the query is put together here.
func (a App) dockerBuild(source *dagger.Directory, opts dagger.DirectoryDockerBuildOpts) *dagger.Container {
	var buildArgs []map[string]string
	for _, arg := range opts.BuildArgs {
		buildArgs = append(buildArgs, map[string]string{"name": arg.Name, "value": arg.Value})
	}
	q := a.Client.QueryBuilder().Select("node").Arg("id", source).InlineFragment("Directory").
		Select("dockerBuild").Arg("buildArgs", buildArgs)
	for name, value := range map[string]string{
		"dockerfile": opts.Dockerfile, "target": opts.Target, "platform": string(opts.Platform),
	} {
		if value != "" {
			q = q.Arg(name, value)
		}
	}
	if len(opts.Secrets) > 0 {
		q = q.Arg("secrets", opts.Secrets)
	}
	if opts.SSH != nil {
		q = q.Arg("ssh", opts.SSH)
	}
	return new(dagger.Container).WithGraphQLQuery(q)
}

// maxOutput bounds how much of a failed command's output an error shows, in lines.
const maxOutput = 40

// Explain adds to the error of a build the end of what the failed command wrote, unless the engine's message has it
// already: a Dagger engine's message has no more than the exit code.
func Explain(err error) error {
	var failed *dagger.ExecError
	if !errors.As(err, &failed) {
		return err
	}
	written := lastLines(output(failed.Stdout, failed.Stderr), maxOutput)
	if written == "" || strings.Contains(failed.Message(), lastLine(written)) {
		return err
	}
	return fmt.Errorf("%w\n%s", err, written)
}
