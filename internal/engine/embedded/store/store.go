// Package store holds the blobs of images that go into the embedded engine and come out of it, as an OCI content store
// in a directory that several processes share.
package store

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/gofrs/flock"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aksflow/aksflow/internal/core/image"
)

// keep is how long a blob stays that no image uses.
const keep = 7 * 24 * time.Hour

// Store holds blobs. BuildKit is sent, and sends, only those that are not there yet.
type Store struct {
	content.Store
	dir  string
	lock *flock.Flock // while blobs are written: other processes use the directory too
	turn chan struct{}
}

// Open opens the store in a directory, which is made if need be.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s, err := contentlocal.NewStore(dir)
	if err != nil {
		return nil, err
	}
	return &Store{Store: s, dir: dir, lock: flock.New(filepath.Join(dir, "lock")), turn: make(chan struct{}, 1)}, nil
}

// Writing runs f while no other process or goroutine writes.
func (s *Store) Writing(ctx context.Context, f func() error) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if _, err := s.lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return fmt.Errorf("waiting for the engine's image store: %w", err)
	}
	defer s.lock.Unlock() //nolint:errcheck // closing a file that only locks
	return f()
}

// Sweep removes blobs that were not used for a week.
func (s *Store) Sweep() error {
	oldest := time.Now().Add(-keep)
	dir := filepath.Join(s.dir, "blobs")
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.ModTime().Before(oldest) {
			return os.Remove(path)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// touch says that a blob was used.
func (s *Store) touch(d digest.Digest) {
	now := time.Now()
	_ = os.Chtimes(s.path(d), now, now) // it may be swept early, and is then sent again
}

func (s *Store) path(d digest.Digest) string {
	return filepath.Join(s.dir, "blobs", d.Algorithm().String(), d.Encoded())
}

// Image returns the manifest for a platform, where desc may be an index of several, and the image's configuration.
func (s *Store) Image(ctx context.Context, desc ocispecs.Descriptor, p ocispecs.Platform) (ocispecs.Descriptor, []byte, error) {
	manifest := desc
	if images.IsIndexType(desc.MediaType) {
		var index ocispecs.Index
		if err := s.decode(ctx, desc, &index); err != nil {
			return desc, nil, err
		}
		want := platforms.Only(p)
		i := slices.IndexFunc(index.Manifests, func(m ocispecs.Descriptor) bool { return m.Platform == nil || want.Match(*m.Platform) })
		if i < 0 {
			return desc, nil, fmt.Errorf("the image has nothing for %s", platforms.Format(p))
		}
		manifest = index.Manifests[i]
	}
	var m ocispecs.Manifest
	if err := s.decode(ctx, manifest, &m); err != nil {
		return desc, nil, err
	}
	config, err := content.ReadBlob(ctx, s, m.Config)
	if err != nil {
		return desc, nil, fmt.Errorf("image configuration: %w", err)
	}
	manifest.Platform = nil
	return manifest, config, nil
}

func (s *Store) decode(ctx context.Context, desc ocispecs.Descriptor, to any) error {
	data, err := content.ReadBlob(ctx, s, desc)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	return json.Unmarshal(data, to)
}

// WriteTarball writes an image as an OCI image layout in a tar archive. The same image is the same bytes.
func (s *Store) WriteTarball(ctx context.Context, w io.Writer, desc ocispecs.Descriptor) error {
	layout, err := json.Marshal(ocispecs.ImageLayout{Version: ocispecs.ImageLayoutVersion})
	if err != nil {
		return err
	}
	index, err := json.Marshal(ocispecs.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispecs.MediaTypeImageIndex,
		Manifests: []ocispecs.Descriptor{desc},
	})
	if err != nil {
		return err
	}
	blobs := map[digest.Digest]bool{}
	if err := s.collect(ctx, desc, blobs); err != nil {
		return err
	}
	t := tar.NewWriter(w)
	write := func(name string, size int64, from io.Reader) error {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Format: tar.FormatPAX}); err != nil {
			return err
		}
		_, err := io.Copy(t, from)
		return err
	}
	if err := write(ocispecs.ImageLayoutFile, int64(len(layout)), bytes.NewReader(layout)); err != nil {
		return err
	}
	if err := write(ocispecs.ImageIndexFile, int64(len(index)), bytes.NewReader(index)); err != nil {
		return err
	}
	for _, d := range sortedKeys(blobs) {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		s.touch(d)
		blob, err := os.Open(s.path(d))
		if err != nil {
			return err
		}
		info, err := blob.Stat()
		if err == nil {
			err = write(blobPrefix+d.Algorithm().String()+"/"+d.Encoded(), info.Size(), blob)
		}
		if err := errors.Join(err, blob.Close()); err != nil {
			return err
		}
	}
	return t.Close()
}

// collect adds an image's blobs, those of all images if it is an index.
func (s *Store) collect(ctx context.Context, desc ocispecs.Descriptor, blobs map[digest.Digest]bool) error {
	blobs[desc.Digest] = true
	if images.IsIndexType(desc.MediaType) {
		var index ocispecs.Index
		if err := s.decode(ctx, desc, &index); err != nil {
			return err
		}
		for _, m := range index.Manifests {
			if err := s.collect(ctx, m, blobs); err != nil {
				return err
			}
		}
		return nil
	}
	var m ocispecs.Manifest
	if err := s.decode(ctx, desc, &m); err != nil {
		return err
	}
	for _, b := range append([]ocispecs.Descriptor{m.Config}, m.Layers...) {
		blobs[b.Digest] = true
	}
	return nil
}

// Index puts an index of images for several platforms into the store, and returns it.
func (s *Store) Index(ctx context.Context, manifests []ocispecs.Descriptor) (ocispecs.Descriptor, error) {
	data, err := json.Marshal(ocispecs.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispecs.MediaTypeImageIndex,
		Manifests: manifests,
	})
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageIndex, Digest: digest.FromBytes(data), Size: int64(len(data))}
	err = s.Writing(ctx, func() error {
		return s.add(ctx, desc, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	})
	return desc, err
}

const blobPrefix = ocispecs.ImageBlobsDir + "/"

func sortedKeys(m map[digest.Digest]bool) []digest.Digest {
	keys := make([]digest.Digest, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// ReadTarball brings the blobs of an image's tarball into the store, and returns the image.
func (s *Store) ReadTarball(ctx context.Context, file string) (ocispecs.Descriptor, error) {
	archive, err := image.Open(file)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	defer archive.Close()
	if err := s.Writing(ctx, func() error {
		return archive.Each(func(d v1.Descriptor, open func() (io.ReadCloser, error)) error {
			return s.add(ctx, descriptor(d), open)
		})
	}); err != nil {
		return ocispecs.Descriptor{}, err
	}
	return descriptor(archive.Root()), nil
}

// add brings a blob into the store, unless it is there.
func (s *Store) add(ctx context.Context, d ocispecs.Descriptor, open func() (io.ReadCloser, error)) error {
	if info, err := os.Stat(s.path(d.Digest)); err == nil && info.Size() == d.Size {
		s.touch(d.Digest)
		return nil
	}
	blob, err := open()
	if err != nil {
		return err
	}
	defer blob.Close()
	err = content.WriteBlob(ctx, s, "import-"+d.Digest.String(), blob, d)
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	return nil
}

// descriptor turns a descriptor of one library into that of the other.
func descriptor(d v1.Descriptor) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size}
}
