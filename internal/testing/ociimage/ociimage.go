// Package ociimage reads and writes the images of OCI tarballs, for tests that look at what was built.
package ociimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/aksflow/aksflow/internal/core/image"
)

// Read returns the image of a tarball, which has to be for one platform. All of it is read into memory.
func Read(file string) (v1.Image, error) {
	archive, err := image.Open(file)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	r := &read{root: archive.Root(), blobs: map[v1.Hash][]byte{}, descriptors: map[v1.Hash]v1.Descriptor{}}
	if err := archive.Each(func(d v1.Descriptor, open func() (io.ReadCloser, error)) error {
		content, err := open()
		if err != nil {
			return err
		}
		defer content.Close()
		r.descriptors[d.Digest] = d
		r.blobs[d.Digest], err = io.ReadAll(content)
		return err
	}); err != nil {
		return nil, err
	}
	return partial.CompressedToImage(r)
}

// Write writes an image as an OCI tarball into a directory of the test, and returns the file.
func Write(t testing.TB, img v1.Image) string {
	t.Helper()
	fail := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	fail(err)
	fail(p.AppendImage(img))
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	fail(tw.AddFS(os.DirFS(dir)))
	fail(tw.Close())
	file := filepath.Join(t.TempDir(), "image.tar")
	fail(os.WriteFile(file, buf.Bytes(), 0o600))
	return file
}

// Layer makes a layer of files: their content by path. A path that ends with ! is executable.
func Layer(t testing.TB, files map[string]string) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path, executable := strings.CutSuffix(name, "!")
		mode := int64(0o644)
		if executable {
			mode = 0o755
		}
		if err := tw.WriteHeader(&tar.Header{Name: path, Mode: mode, Size: int64(len(files[name])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// read implements partial.CompressedImageCore.
type read struct {
	root        v1.Descriptor
	blobs       map[v1.Hash][]byte
	descriptors map[v1.Hash]v1.Descriptor
}

func (r *read) RawManifest() ([]byte, error)        { return r.blobs[r.root.Digest], nil }
func (r *read) MediaType() (types.MediaType, error) { return r.root.MediaType, nil }

func (r *read) RawConfigFile() ([]byte, error) {
	manifest, err := v1.ParseManifest(bytes.NewReader(r.blobs[r.root.Digest]))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", r.root.Digest, err)
	}
	return r.blobs[manifest.Config.Digest], nil
}

func (r *read) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	return layer{r.descriptors[digest], r.blobs[digest]}, nil
}

// layer implements partial.CompressedLayer.
type layer struct {
	v1.Descriptor
	content []byte
}

func (l layer) Digest() (v1.Hash, error)            { return l.Descriptor.Digest, nil }
func (l layer) Size() (int64, error)                { return l.Descriptor.Size, nil }
func (l layer) MediaType() (types.MediaType, error) { return l.Descriptor.MediaType, nil }
func (l layer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.content)), nil
}
