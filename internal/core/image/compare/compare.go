// Package compare finds the files in which two images that were built from one Dockerfile differ.
package compare

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image"
)

// Layer is a layer in which the images differ.
type Layer struct {
	// Number counts the layers from 0, and Own those that the Dockerfile made itself; Own is -1 for one of the base image.
	Number int
	Own    int
	Files  []delivery.DifferentFile
}

// Tarballs compares the images of two OCI tarballs, layer by layer. own is how many layers the Dockerfile made: the last
// ones. Images that are the same have no layers to return.
func Tarballs(ctx context.Context, one, other string, own int) ([]Layer, error) {
	var images [2]*layers
	for i, file := range []string{one, other} {
		opened, err := open(file)
		if err != nil {
			return nil, err
		}
		defer opened.archive.Close()
		images[i] = opened
	}
	a, b := images[0], images[1]
	if len(a.digests) != len(b.digests) {
		return nil, fmt.Errorf("the images have %d and %d layers, so they are not of one Dockerfile", len(a.digests), len(b.digests))
	}
	var found []Layer
	for i := range a.digests {
		if a.digests[i] == b.digests[i] {
			continue
		}
		files, err := difference(ctx, a, b, i)
		if err != nil {
			return nil, err
		}
		found = append(found, Layer{Number: i, Own: max(-1, i-(len(a.digests)-own)), Files: files})
	}
	return found, nil
}

// layers are those of an image.
type layers struct {
	archive *image.Archive
	digests []v1.Hash
	blobs   map[v1.Hash]func() (io.ReadCloser, error)
}

const maxManifest = 4 << 20

func open(file string) (*layers, error) {
	archive, err := image.Open(file)
	if err != nil {
		return nil, err
	}
	l := &layers{archive: archive, blobs: map[v1.Hash]func() (io.ReadCloser, error){}}
	err = archive.Each(func(d v1.Descriptor, open func() (io.ReadCloser, error)) error {
		l.blobs[d.Digest] = open
		return nil
	})
	if err == nil && !archive.Root().MediaType.IsImage() {
		err = errors.New("it has images for several platforms: build it for one, with build.platform in aksflow.yaml")
	}
	var manifest v1.Manifest
	if err == nil {
		err = l.document(archive.Digest(), &manifest)
	}
	if err != nil {
		_ = archive.Close()
		return nil, fmt.Errorf("image tarball %s: %w", file, err)
	}
	for _, layer := range manifest.Layers {
		l.digests = append(l.digests, layer.Digest)
	}
	return l, nil
}

func (l *layers) document(digest v1.Hash, into any) error {
	blob, err := l.blobs[digest]()
	if err != nil {
		return err
	}
	defer blob.Close()
	return json.NewDecoder(io.LimitReader(blob, maxManifest)).Decode(into)
}

// entry is what a layer says of a path.
type entry struct {
	header  tar.Header
	content [sha256.Size]byte
}

// each visits the entries of a layer. It ends when visit returns an error.
func (l *layers) each(ctx context.Context, layer int, visit func(name string, h *tar.Header, content io.Reader) error) error {
	blob, err := l.blobs[l.digests[layer]]()
	if err != nil {
		return err
	}
	defer blob.Close()
	content, done, err := decompressed(blob)
	if err != nil {
		return fmt.Errorf("layer %s: %w", l.digests[layer], err)
	}
	defer done()
	for entries := tar.NewReader(content); ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("layer %s: %w", l.digests[layer], err)
		}
		if err := visit(path.Clean("/"+h.Name), h, entries); err != nil {
			return err
		}
	}
}

// decompressed reads a layer in whichever form it is.
func decompressed(blob io.Reader) (content io.Reader, done func(), err error) {
	magic := make([]byte, 4)
	n, err := io.ReadFull(blob, magic)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil, err
	}
	whole := io.MultiReader(bytes.NewReader(magic[:n]), blob)
	switch {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		r, err := gzip.NewReader(whole)
		return r, func() {}, err
	case bytes.Equal(magic, []byte("\x28\xb5\x2f\xfd")):
		r, err := zstd.NewReader(whole, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	}
	return whole, func() {}, nil
}

func (l *layers) entries(ctx context.Context, layer int) (map[string]entry, error) {
	found := map[string]entry{}
	return found, l.each(ctx, layer, func(name string, h *tar.Header, content io.Reader) error {
		sum := sha256.New()
		if _, err := io.Copy(sum, content); err != nil {
			return err
		}
		found[name] = entry{*h, [sha256.Size]byte(sum.Sum(nil))}
		return nil
	})
}

// difference returns the files in which a layer differs, by their paths. Directories count only for what they are
// themselves.
func difference(ctx context.Context, a, b *layers, layer int) ([]delivery.DifferentFile, error) {
	one, err := a.entries(ctx, layer)
	if err != nil {
		return nil, err
	}
	other, err := b.entries(ctx, layer)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(one)
	maps.Copy(all, other)
	var files []delivery.DifferentFile
	changed := map[string]bool{} // the content is another one
	for _, name := range slices.Sorted(maps.Keys(all)) {
		x, inOne := one[name]
		y, inOther := other[name]
		what := ""
		switch {
		case !inOther:
			what = "only in the first build"
		case !inOne:
			what = "only in the second build"
		case x.content != y.content:
			what, changed[name] = "its content differs", true
		default:
			what = headers(x.header, y.header)
		}
		if what != "" {
			files = append(files, delivery.DifferentFile{Path: name, What: what, Remedy: remedy(name)})
		}
	}
	if files == nil {
		return []delivery.DifferentFile{{Path: "/", What: "its files are the same, and stand in another order"}}, nil
	}
	return files, explain(ctx, a, b, layer, files, changed)
}

// headers says how the headers of two entries with the same content differ; "" if they do not.
func headers(a, b tar.Header) string {
	for _, field := range []struct {
		name string
		a, b any
	}{
		{"its type", string(a.Typeflag), string(b.Typeflag)},
		{"its target", a.Linkname, b.Linkname},
		{"its permissions", fmt.Sprintf("%#o", a.Mode), fmt.Sprintf("%#o", b.Mode)},
		{"its owner", fmt.Sprintf("%d:%d", a.Uid, a.Gid), fmt.Sprintf("%d:%d", b.Uid, b.Gid)},
		{"its time", a.ModTime.UTC().String(), b.ModTime.UTC().String()},
	} {
		if field.a != field.b {
			return fmt.Sprintf("%s: %v and %v", field.name, field.a, field.b)
		}
	}
	if !maps.Equal(a.PAXRecords, b.PAXRecords) {
		return "its extended attributes differ"
	}
	return ""
}

// Bounds of what is read to show where two files differ.
const (
	maxShown   = 40      // files
	maxContent = 1 << 20 // bytes of a file
	maxLine    = 60      // characters of a line
)

// explain adds to the files whose content differs where it does.
func explain(ctx context.Context, a, b *layers, layer int, files []delivery.DifferentFile, changed map[string]bool) error {
	wanted := map[string]bool{}
	for _, f := range files {
		if changed[f.Path] && len(wanted) < maxShown {
			wanted[f.Path] = true
		}
	}
	read := func(l *layers) (map[string][]byte, error) {
		contents := map[string][]byte{}
		return contents, l.each(ctx, layer, func(name string, h *tar.Header, content io.Reader) (err error) {
			if wanted[name] && h.Size <= maxContent {
				contents[name], err = io.ReadAll(content)
			}
			return err
		})
	}
	one, err := read(a)
	if err != nil {
		return err
	}
	other, err := read(b)
	if err != nil {
		return err
	}
	for i, f := range files {
		x, known := one[f.Path]
		y, alsoKnown := other[f.Path]
		if known && alsoKnown {
			files[i].What = cmp.Or(firstDifference(x, y), f.What)
		}
	}
	return nil
}

// firstDifference says in which line two texts differ first, or at which byte two other files do.
func firstDifference(a, b []byte) string {
	if !utf8.Valid(a) || !utf8.Valid(b) || bytes.IndexByte(a, 0) >= 0 {
		at := 0
		for at < min(len(a), len(b)) && a[at] == b[at] {
			at++
		}
		return fmt.Sprintf("it differs from byte %d on, of %d and %d", at, len(a), len(b))
	}
	x, y := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range max(len(x), len(y)) {
		lines := [2]string{"(nothing)", "(nothing)"}
		for j, text := range [][]string{x, y} {
			if i < len(text) {
				lines[j] = shortened(text[i])
			}
		}
		if i >= len(x) || i >= len(y) || x[i] != y[i] {
			return fmt.Sprintf("line %d is %q and %q", i+1, lines[0], lines[1])
		}
	}
	return ""
}

func shortened(line string) string {
	if r := []rune(line); len(r) > maxLine {
		return string(r[:maxLine]) + "…"
	}
	return line
}
