// Package baseimage makes the two public images that the sample application starts from, debian:trixie-slim and redis:8,
// out of Debian packages. A closed network has a Debian mirror more often than a public image registry, and the platform
// and the tests must come up there too.
//
// The images are OCI images in one OCI image layout, made once and kept in the user's cache directory. Their root file
// systems hold what the public ones of the same name hold; their digests are their own.
package baseimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/aksflow/aksflow/internal/core/report"
)

// The images, as repository and tag below a registry's host.
const (
	Debian = "library/debian:trixie-slim"
	Redis  = "library/redis:8"
)

// refName is the annotation in index.json that tells the images of a layout apart.
const refName = "org.opencontainers.image.ref.name"

// Layouts is where the images are.
type Layouts struct {
	Dir string // an OCI image layout; index.json names each image by its annotation org.opencontainers.image.ref.name
}

// CacheDir is where Ensure keeps images when it is given no directory: aksflow/baseimage below the user's cache directory.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place to keep base images: %w; set HOME or XDG_CACHE_HOME", err)
	}
	return filepath.Join(dir, "aksflow", "baseimage"), nil
}

// Ensure makes the images unless cacheDir holds them already. An empty cacheDir is [CacheDir].
//
// Images are kept by the recipe that made them, apt's sources included. Two callers at once make them once: the second
// waits for the first. Making takes about half a minute and wants Debian's mmdebstrap; finding takes milliseconds.
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
	defer func() { _ = lock.Close() }() // closing unlocks; the file stays, so that nobody locks a removed one
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
	// The layout appears under its name whole or not at all.
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

// Push puts the images into the registry at host ("localhost:5000"). Layers that are there already are not sent.
func (l Layouts) Push(ctx context.Context, host string) error {
	pusher, err := remote.NewPusher()
	if err != nil {
		return err
	}
	for _, ref := range []string{Debian, Redis} {
		img, err := l.Image(ref)
		if err != nil {
			return err
		}
		dst, err := name.ParseReference(host + "/" + ref)
		if err != nil {
			return err
		}
		report.Progressf(ctx, dst.String(), "pushing")
		if err := pusher.Push(ctx, dst, img); err != nil {
			return fmt.Errorf("push the base image %s: %w", dst, err)
		}
	}
	return nil
}

// Serve ensures the images in the default cache directory and serves them from a registry in this process, on a free port
// of 127.0.0.1. Anything may be pushed to it; that stays in memory. Call stop when done, also to free the port.
func Serve(ctx context.Context) (host string, stop func(), err error) {
	l, err := Ensure(ctx, "")
	if err != nil {
		return "", nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("serve base images: %w", err)
	}
	srv := &http.Server{
		Handler:           registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(newBlobs(l))),
		ReadHeaderTimeout: 10 * time.Second,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // it returns when stop closes it
	}()
	stop = func() { _ = srv.Close(); <-done }
	// The layers are in the layout, so this sends the manifests only.
	if err := l.Push(ctx, ln.Addr().String()); err != nil {
		stop()
		return "", nil, err
	}
	return ln.Addr().String(), stop, nil
}

// memory is the registry's own blob store, with all its optional parts.
type memory interface {
	registry.BlobHandler
	registry.BlobStatHandler
	registry.BlobPutHandler
}

// blobs serves a layout's blobs without copying them, and keeps what is pushed in memory, so that no test writes into the
// cache that it shares with others.
type blobs struct {
	memory
	dir string
}

func newBlobs(l Layouts) *blobs {
	return &blobs{memory: registry.NewInMemoryBlobHandler().(memory), dir: filepath.Join(l.Dir, "blobs")}
}

func (b *blobs) path(h v1.Hash) string { return filepath.Join(b.dir, h.Algorithm, h.Hex) }

// Stat implements registry.BlobStatHandler.
func (b *blobs) Stat(ctx context.Context, repo string, h v1.Hash) (int64, error) {
	fi, err := os.Stat(b.path(h))
	if errors.Is(err, fs.ErrNotExist) {
		return b.memory.Stat(ctx, repo, h)
	}
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// Get implements registry.BlobHandler.
func (b *blobs) Get(ctx context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	f, err := os.Open(b.path(h))
	if errors.Is(err, fs.ErrNotExist) {
		return b.memory.Get(ctx, repo, h)
	}
	return f, err
}
