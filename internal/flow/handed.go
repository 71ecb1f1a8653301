package flow

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/report"
)

// The annotations of an image in a tarball that say what it was built of. They are no part of the image, and its digest does
// not depend on them.
const (
	keyAnnotation        = "dev.aksflow.build.key"
	generationAnnotation = "dev.aksflow.build.generation"
)

// annotations are what a tarball says about an image of the key; nil for an image that must not be used again.
func (k *known) annotations() map[string]string {
	if k.buildKey() == "" {
		return nil
	}
	return map[string]string{keyAnnotation: k.image.Build, generationAnnotation: k.generation}
}

// annotations are what a tarball says about the image that is built. The key is computed for a file only that another job may
// publish. A build does not fail for want of it.
func (d *Delivery) annotations(ctx context.Context, source delivery.Source) map[string]string {
	if d.known != nil || d.Tarball == "" || d.Rebuild || d.config.Path() == "" {
		return d.known.annotations()
	}
	ctx, cancel := context.WithTimeout(ctx, planLimit)
	defer cancel()
	k, err := d.keys(ctx, source)
	if err != nil || k == nil || k.notReused(source) != "" {
		return nil
	}
	return k.annotations()
}

// handed returns the key of an image that another job built and wrote into the tarball, if that is the key of what is checked
// out here. If not, it says why the image is not remembered, and returns nil.
func (d *Delivery) handed(ctx context.Context, source delivery.Source) (*known, error) {
	if d.config.Path() == "" || !d.mayRecord() {
		return nil, nil
	}
	k, err := d.keyOfTarball(ctx, source)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		report.Info(ctx, "the image is not remembered for its source, and the next delivery builds it again: %v", err)
		return nil, nil
	}
	return k, nil
}

// keyOfTarball returns the key that the tarball's image was built of. It is an error where that is not known, and where the
// image must not be used again.
func (d *Delivery) keyOfTarball(ctx context.Context, source delivery.Source) (*known, error) {
	archive, err := image.Open(d.Tarball)
	if err != nil {
		return nil, err
	}
	said := archive.Annotations()
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if said[keyAnnotation] == "" {
		return nil, fmt.Errorf("%s does not say what it was built of, as a file of `aksflow build -o FILE` does", filepath.Base(d.Tarball))
	}
	k, err := d.keys(ctx, source)
	if err != nil {
		return nil, err
	}
	if k == nil {
		return nil, errNoStage
	}
	if why := k.notReused(source); why != "" {
		return nil, errors.New(why)
	}
	k.generation = said[generationAnnotation]
	k.image = k.image.At(k.generation)
	if k.image.Build != said[keyAnnotation] {
		return nil, fmt.Errorf("%s was built of another source, base or build arguments than are here (its key is %.12s, and here it is %.12s)", filepath.Base(d.Tarball), said[keyAnnotation], k.image.Build)
	}
	k.tag = keyTag + k.image.Build
	return k, nil
}

// errNoStage is the error of a Dockerfile that makes nothing.
var errNoStage = errors.New("the Dockerfile has no stage")

// notReused says why an image of the key is not used again; "" when it may be.
func (k *known) notReused(source delivery.Source) string {
	if source.Dirty {
		return "the work tree has changes that are not committed"
	}
	return strings.Join(k.image.Moving, "; ")
}
