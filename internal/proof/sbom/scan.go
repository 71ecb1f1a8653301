package sbom

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/aksflow/aksflow/internal/core/image"
)

const (
	// maxFile bounds a file that is read whole: a database, or a program.
	maxFile = 512 << 20
	// minProgram is less than any Go program has.
	minProgram = 512 << 10
)

// files are those of an image that name packages.
type files struct {
	content map[string][]byte    // of databases and metadata, by path
	inside  map[string][]Package // of programs, by path
	unread  map[string]bool
}

// scan reads the layers of an image, from the lowest to the highest.
func scan(tarball string) (*files, error) {
	archive, err := image.Open(tarball)
	if err != nil {
		return nil, err
	}
	defer func() { _ = archive.Close() }()
	layers, err := layersOf(archive)
	if err != nil {
		return nil, err
	}
	open := map[v1.Hash]func() (io.ReadCloser, error){}
	if err := archive.Each(func(d v1.Descriptor, read func() (io.ReadCloser, error)) error {
		open[d.Digest] = read
		return nil
	}); err != nil {
		return nil, err
	}
	found := &files{content: map[string][]byte{}, inside: map[string][]Package{}, unread: map[string]bool{}}
	for _, layer := range layers {
		read := open[layer.Digest]
		if read == nil {
			continue // it is not in the tarball, since it must not be distributed
		}
		content, err := read()
		if err != nil {
			return nil, err
		}
		err = found.layer(content)
		if err := errors.Join(err, content.Close()); err != nil {
			return nil, fmt.Errorf("layer %s: %w", layer.Digest, err)
		}
	}
	return found, nil
}

// layersOf returns the layers of the first image.
func layersOf(archive *image.Archive) (layers []v1.Descriptor, err error) {
	err = archive.Each(func(d v1.Descriptor, open func() (io.ReadCloser, error)) error {
		if !d.MediaType.IsImage() || layers != nil {
			return nil
		}
		content, err := open()
		if err != nil {
			return err
		}
		var m v1.Manifest
		err = json.NewDecoder(content).Decode(&m)
		layers = m.Layers
		return errors.Join(err, content.Close())
	})
	return layers, err
}

// decompress finds out how a layer is compressed.
func decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReader(r)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d, err := zstd.NewReader(buffered)
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// layer lays a layer over what was found in those below.
func (f *files) layer(compressed io.Reader) error {
	content, err := decompress(compressed)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	// What a layer hides is of the layers below, wherever it stands in the layer.
	here := &files{content: map[string][]byte{}, inside: map[string][]Package{}, unread: map[string]bool{}}
	for tr := tar.NewReader(content); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "/"))
		dir, base := path.Split(name)
		if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
			if base == ".wh..wh..opq" {
				hidden = ""
			}
			f.hide(path.Join(dir, hidden), hidden == "")
			continue
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		f.hide(name, false)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := here.file(name, h, tr); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, c := range here.content {
		f.content[name] = c
	}
	for name, p := range here.inside {
		f.inside[name] = p
	}
	for name := range here.unread {
		f.unread[name] = true
	}
	return nil
}

// hide forgets a file, or a directory with all that is in it; with only, what is in it alone.
func (f *files) hide(name string, only bool) {
	if !only {
		delete(f.content, name)
		delete(f.inside, name)
	}
	if name == "." {
		clear(f.content)
		clear(f.inside)
		return
	}
	for _, below := range f.below(name) {
		delete(f.content, below)
		delete(f.inside, below)
	}
}

func (f *files) below(dir string) []string {
	var names []string
	for name := range f.content {
		if strings.HasPrefix(name, dir+"/") {
			names = append(names, name)
		}
	}
	for name := range f.inside {
		if strings.HasPrefix(name, dir+"/") {
			names = append(names, name)
		}
	}
	return names
}

// file reads a file that names packages.
func (f *files) file(name string, h *tar.Header, content io.Reader) error {
	switch {
	case strings.HasPrefix(name, "var/lib/rpm/") || strings.HasPrefix(name, "usr/lib/sysimage/rpm/"):
		f.unread["RPM"] = true
	case h.Size > maxFile:
	case metadata(name):
		raw, err := io.ReadAll(content)
		f.content[name] = raw
		return err
	case h.Mode&0o111 != 0 && h.Size >= minProgram:
		packages, err := program(name, h.Size, content)
		if len(packages) > 0 {
			f.inside[name] = packages
		}
		return err
	}
	return nil
}
