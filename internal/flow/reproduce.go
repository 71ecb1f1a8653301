package flow

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/compare"
	"github.com/aksflow/aksflow/internal/core/report"
)

// Reproduce builds the image twice without the results of earlier builds, and says which instructions of the Dockerfile made
// something else the second time. It is an error that they did.
func (d *Delivery) Reproduce(ctx context.Context) (*delivery.Reproduced, error) {
	if err := d.checkBuild(ctx); err != nil {
		return nil, err
	}
	source, err := d.source(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "aksflow-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the images: %w", err)
	}
	defer os.RemoveAll(dir)
	files := [2]string{filepath.Join(dir, "first.tar"), filepath.Join(dir, "second.tar")}
	found := &delivery.Reproduced{}
	var app build.App
	for i, file := range files {
		report.Info(ctx, "build %d of 2, without a cache", i+1)
		client, err := d.Client(ctx, delivery.Session{NoCache: true})
		if err != nil {
			return nil, err
		}
		if app, err = d.appOn(ctx, client, source); err != nil {
			return nil, err
		}
		digest, err := app.Export(ctx, file, nil)
		if err != nil {
			return nil, err
		}
		found.Digests = append(found.Digests, digest)
	}
	if found.Same = found.Digests[0] == found.Digests[1]; found.Same {
		return found, nil
	}
	made, err := app.Layers()
	if err != nil {
		return nil, err
	}
	layers, err := compare.Tarballs(ctx, files[0], files[1], len(made))
	if err != nil {
		return nil, err
	}
	count := 0
	for _, layer := range layers {
		found.Instructions = append(found.Instructions, d.irreproducible(layer, made))
		count += len(layer.Files)
	}
	return found, fmt.Errorf("two builds of the same source made two images, which differ in %s", report.Count(count, "file"))
}

// irreproducible says which instruction made a layer that differs.
func (d *Delivery) irreproducible(layer compare.Layer, made []dockerfile.Instruction) delivery.Irreproducible {
	if layer.Own < 0 || layer.Own >= len(made) {
		return delivery.Irreproducible{
			Place: d.config.Build.Dockerfile, Files: layer.Files,
			Instruction: "FROM: the tag of the base image moved between the two builds, so name it by its digest",
		}
	}
	i := made[layer.Own]
	return delivery.Irreproducible{
		Place: fmt.Sprintf("%s:%d", d.config.Build.Dockerfile, i.Line), Instruction: i.String(), Files: layer.Files,
	}
}
