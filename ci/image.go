package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	sdk "dagger.io/dagger"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/image/canonical"
	"github.com/aksflow/aksflow/internal/core/report"
)

// An engine exports an image in a form of its own. The canonical form, which is the same on each engine, is written in a
// container: the engine remembers the result, and the layers that it is made of are kept in a cache volume. The program in
// that container is this module's own, under another name, so that nothing has to be fetched or compiled for it.

// finisher is the name that this module's program writes a canonical image under.
const finisher = "aksflow-finish-image"

// Where things are in its container.
const (
	finisherPath = "/" + finisher
	exportedPath = "/exported.tar"
	formPath     = "/form.json"
	layersPath   = "/layers"
	finishedPath = "/image.tar"
)

func init() {
	if filepath.Base(os.Args[0]) != finisher {
		return
	}
	if err := finish(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// finish writes the canonical image in the container, and prints what it made.
func finish(ctx context.Context) error {
	text, err := os.ReadFile(formPath)
	if err != nil {
		return err
	}
	var form canonical.Options
	if err := json.Unmarshal(text, &form); err != nil {
		return fmt.Errorf("%s: %w", formPath, err)
	}
	made, err := build.Finish(report.With(ctx, report.NewPlain(os.Stderr, true)), exportedPath, finishedPath, form)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(made)
}

// image builds the image, and returns it as a tarball, with its digest.
func (d definition) image(ctx context.Context) (file *dagger.File, digest string, err error) {
	program, err := d.self(ctx)
	if err != nil {
		return nil, "", err
	}
	form, err := json.Marshal(d.app.Form(layersPath))
	if err != nil {
		return nil, "", err
	}
	exported, err := d.app.Tarball(ctx)
	if err != nil {
		return nil, "", build.Explain(err)
	}
	ended := d.client.Container().
		WithFile(finisherPath, program, sdk.ContainerWithFileOpts{Permissions: 0o755}).
		WithNewFile(formPath, string(form)).
		WithMountedFile(exportedPath, exported).
		WithMountedCache(layersPath, d.client.CacheVolume("aksflow-layers")).
		WithEnvVariable("DAGGER_SESSION_PORT", "0"). // generated code wants a session before anything runs; nothing is sent there
		WithEnvVariable("DAGGER_SESSION_TOKEN", "none").
		WithExec([]string{finisherPath})
	text, err := ended.Stdout(ctx)
	if err != nil {
		return nil, "", build.Explain(err)
	}
	var made build.Finished
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		return nil, "", fmt.Errorf("reading what %s made: %w", finisher, err)
	}
	if made.Warning != "" {
		report.Warn(report.With(ctx, report.NewPlain(os.Stderr, true)), "%s", made.Warning)
	}
	file, err = fromSDK[*dagger.File](ctx, ended.File(finishedPath))
	return file, made.Digest, err
}

// self returns the program of this module as a file.
func (d definition) self(ctx context.Context) (*sdk.File, error) {
	name, err := os.Executable()
	if err != nil {
		return nil, err
	}
	in, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.Create(finisher) // in the working directory, which is this module's own
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return nil, err
	}
	return toSDK[*sdk.File](ctx, d.client, dag.CurrentModule().WorkdirFile(finisher))
}
