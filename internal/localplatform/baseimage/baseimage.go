// Package baseimage makes the two public images that the sample application starts from, debian:trixie-slim and redis:8,
// from Debian packages. A closed network often has a Debian mirror but no public image registry, and the platform and the
// tests must work there, too.
//
// The images are OCI images in one OCI image layout, made once and kept in the user's cache directory. Their root file
// systems have the same content as the public images of the same name, but their digests differ.
package baseimage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/aksflow/aksflow/internal/core/report"
)

// The images, as repository and tag below a registry's host.
const (
	Debian = "library/debian:trixie-slim"
	Redis  = "library/redis:8"
)

// refName is the annotation in index.json that names each image of a layout.
const refName = "org.opencontainers.image.ref.name"

// Layouts is a directory with the images.
type Layouts struct {
	Dir string // an OCI image layout; index.json names each image by its annotation org.opencontainers.image.ref.name
}

// CacheDir returns the directory where Ensure keeps images by default: aksflow/baseimage below the user's cache directory.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place to keep base images: %w; set HOME or XDG_CACHE_HOME", err)
	}
	return filepath.Join(dir, "aksflow", "baseimage"), nil
}

// Ensure makes the images unless cacheDir holds them already. An empty cacheDir is [CacheDir].
//
// The cache's key is a hash of the recipe, apt's sources included. If two callers need the images at once, the second waits
// for the first. Making them takes about half a minute and needs Debian's mmdebstrap; finding them takes milliseconds.
func Ensure(ctx context.Context, cacheDir string) (Layouts, error) {
	if cacheDir == "" {
		dir, err := CacheDir()
		if err != nil {
			return Layouts{}, err
		}
		cacheDir = dir
	}
	key, err := recipeKey()
	if err != nil {
		return Layouts{}, err
	}
	made := Layouts{Dir: filepath.Join(cacheDir, key)}
	if made.exist() {
		return made, nil
	}

	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return Layouts{}, fmt.Errorf("keep base images: %w", err)
	}
	lock := flock.New(filepath.Join(cacheDir, "lock"))
	if locked, err := lock.TryLock(); err != nil {
		return Layouts{}, fmt.Errorf("lock the base images' cache: %w", err)
	} else if !locked {
		report.Info(ctx, "another process makes the base images in %s; waiting for it", cacheDir)
		if _, err := lock.TryLockContext(ctx, 200*time.Millisecond); err != nil {
			return Layouts{}, fmt.Errorf("wait for another process that makes the base images in %s: %w", cacheDir, err)
		}
	}
	defer func() { _ = lock.Close() }() // closing unlocks it; the file stays, so that nobody locks a removed one
	if made.exist() {
		return made, nil
	}

	work, err := os.MkdirTemp(cacheDir, "making-")
	if err != nil {
		return Layouts{}, fmt.Errorf("make base images: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := build(ctx, work); err != nil {
		return Layouts{}, err
	}
	// Renaming makes the layout visible only when it is complete.
	if err := os.Rename(filepath.Join(work, layoutDir), made.Dir); err != nil {
		return Layouts{}, fmt.Errorf("keep base images: %w", err)
	}
	return made, nil
}

func (l Layouts) exist() bool {
	_, err := os.Stat(filepath.Join(l.Dir, "index.json"))
	return err == nil
}

// Image opens one of the images; ref is [Debian] or [Redis].
func (l Layouts) Image(ref string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(l.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the base images in %s: %w", l.Dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("open the base images in %s: %w", l.Dir, err)
	}
	for _, d := range manifest.Manifests {
		if d.Annotations[refName] == ref {
			return index.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("no image %s in %s", ref, l.Dir)
}
