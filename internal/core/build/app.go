// Package build holds the container work of a delivery as Dagger graphs: build an image from a Dockerfile, and test it.
//
// It gets a [dagger.Client] and does not know who answers: a Dagger engine or the embedded one. Graphs are lazy; only
// what the doc comment says so talks to the engine.
package build

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dagger.io/dagger"
)

// App is what is built: a directory with a Dockerfile in it. All stages (the image, its tests, the services that the
// tests need) are built from the same source with the same arguments.
type App struct {
	// Source is the build context. Who makes it from a host directory leaves out what .dockerignore names.
	Source *dagger.Directory
	// Dockerfile is its path inside Source. Empty: "Dockerfile".
	Dockerfile string
	// Target is the stage that becomes the image. Empty: the last one.
	Target string
	// BuildArgs are the values of the Dockerfile's ARG instructions. They end up in the image's history: no secrets.
	BuildArgs map[string]string
	// Secrets are mounted at /run/secrets/NAME for RUN --mount=type=secret, under the names they were set with.
	Secrets []*dagger.Secret
	// Platform is what the image is built for, as in "linux/arm64". Empty: the engine's own.
	Platform dagger.Platform
}

// Build returns the image as a container.
func (a App) Build() *dagger.Container { return a.stage(a.Target) }

// Tarball returns the image as an OCI image layout in a tar archive: the unit that is tested, handed from one job to the
// next, and pushed.
func (a App) Tarball() *dagger.File { return a.Build().AsTarball() }

// stage returns the Dockerfile's stage of that name, the last one for "".
func (a App) stage(target string) *dagger.Container {
	opts := dagger.DirectoryDockerBuildOpts{
		Dockerfile: a.Dockerfile,
		Target:     target,
		Platform:   a.Platform,
		Secrets:    a.Secrets,
	}
	// Sorted, so that the same app is the same query.
	for _, name := range slices.Sorted(maps.Keys(a.BuildArgs)) {
		opts.BuildArgs = append(opts.BuildArgs, dagger.BuildArg{Name: name, Value: a.BuildArgs[name]})
	}
	return a.Source.DockerBuild(opts)
}

// Explain adds to the error of a build what the command that failed wrote: the engine's own text has no more than its
// exit code.
func Explain(err error) error {
	var failed *dagger.ExecError
	if !errors.As(err, &failed) {
		return err
	}
	return fmt.Errorf("%w\n%s", err, strings.TrimRight(output(failed.Stdout, failed.Stderr), "\n"))
}
