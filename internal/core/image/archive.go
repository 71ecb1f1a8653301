package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// maxManifest bounds what is read into memory at once. Registries accept manifests of up to 4 MiB.
const maxManifest = 4 << 20

// Archive is an OCI image layout in a tar file, as Dagger's asTarball and BuildKit's oci exporter write it, with one image
// in it, for one platform or several. Nothing is unpacked: blobs are read from where they lie in the file.
type Archive struct {
	file      *os.File
	entries   map[string]extent // by path in the tar
	root      v1.Descriptor
	manifests []manifest      // every manifest and index once, each after those that it names; the root is the last
	blobs     []v1.Descriptor // every config and layer once
}

// extent is where the content of a tar entry lies in the file.
type extent struct{ offset, size int64 }

// manifest is an image manifest or an index. It implements remote.Taggable.
type manifest struct {
	desc v1.Descriptor
	raw  []byte
}

func (m manifest) RawManifest() ([]byte, error)        { return m.raw, nil }
func (m manifest) MediaType() (types.MediaType, error) { return m.desc.MediaType, nil }

// Open reads the table of an OCI tarball and its manifests. All that they name must be there in the right size; a blob's
// content is checked against its digest when it is read.
func Open(file string) (*Archive, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Usagef("image tarball %s does not exist: build makes it with -o", file)
	}
	if err != nil {
		return nil, fmt.Errorf("open image tarball: %w", err)
	}
	a := &Archive{file: f}
	if err := a.load(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("image tarball %s: %w", file, err)
	}
	return a, nil
}

// Close closes the file. Blobs cannot be read afterwards.
func (a *Archive) Close() error { return a.file.Close() }

// Digest is the image's: of its manifest, or of its index when it is for several platforms.
func (a *Archive) Digest() v1.Hash { return a.root.Digest }

// DigestOf returns the digest of the image in a tarball.
func DigestOf(tarball string) (string, error) {
	archive, err := Open(tarball)
	if err != nil {
		return "", err
	}
	return archive.Digest().String(), archive.Close()
}

// Annotations are what the index of the archive says about the image. They are no part of it.
func (a *Archive) Annotations() map[string]string { return a.root.Annotations }

// Root describes the image's manifest, or its index when it is for several platforms. It has no annotations: these say
// when and how the archive was written.
func (a *Archive) Root() v1.Descriptor {
	return v1.Descriptor{MediaType: a.root.MediaType, Size: a.root.Size, Digest: a.root.Digest}
}

// Each calls visit with each layer, configuration and manifest of the image once, each after those that it names; open
// reads its content. It stops at the first error.
func (a *Archive) Each(visit func(d v1.Descriptor, open func() (io.ReadCloser, error)) error) error {
	for _, d := range a.blobs {
		if err := visit(d, func() (io.ReadCloser, error) { return a.open(d) }); err != nil {
			return err
		}
	}
	for _, m := range a.manifests {
		if err := visit(m.desc, func() (io.ReadCloser, error) { return a.open(m.desc) }); err != nil {
			return err
		}
	}
	return nil
}

func (a *Archive) load() error {
	if err := a.list(); err != nil {
		return err
	}
	index, err := a.index()
	if err != nil {
		return err
	}
	a.root = index.Manifests[0]
	for _, d := range index.Manifests[1:] {
		// An exporter that was given two names for an image lists it twice.
		if d.Digest != a.root.Digest {
			return fault.Usagef("index.json names %d images and only one can be published: %s, %s, …", len(index.Manifests), a.root.Digest, d.Digest)
		}
	}
	return a.walk(a.root, map[v1.Hash]bool{})
}

// list notes where each file of the tar begins.
func (a *Archive) list() error {
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	a.entries = map[string]extent{}
	// The reader has no buffer and seeks over contents, so after Next the file stands at the entry's content.
	for tr := tar.NewReader(a.file); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fault.Usage(fmt.Errorf("not a tar file, or a damaged one: %w", err))
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		offset, err := a.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if offset+h.Size > info.Size() {
			return fmt.Errorf("it ends in the middle of %s: it was cut short when it was written or copied", h.Name)
		}
		a.entries[path.Clean(h.Name)] = extent{offset, h.Size}
	}
}

func (a *Archive) index() (*v1.IndexManifest, error) {
	e, found := a.entries[indexFile]
	if !found {
		if _, docker := a.entries["manifest.json"]; docker {
			return nil, fault.Usagef("it is in Docker's format and has no index.json: write it as an OCI tarball (docker buildx build --output type=oci)")
		}
		return nil, fault.Usagef("it has no index.json: it is not an OCI image layout")
	}
	raw, err := a.read(e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	if len(index.Manifests) == 0 {
		return nil, fmt.Errorf("%s names no image", indexFile)
	}
	return &index, nil
}

const indexFile = "index.json"

func (a *Archive) read(e extent) ([]byte, error) {
	if e.size > maxManifest {
		return nil, fmt.Errorf("%d bytes are more than a manifest may have", e.size)
	}
	return io.ReadAll(io.NewSectionReader(a.file, e.offset, e.size))
}

// walk collects what d names, then d itself.
func (a *Archive) walk(d v1.Descriptor, seen map[v1.Hash]bool) error {
	if seen[d.Digest] {
		return nil
	}
	seen[d.Digest] = true

	e, err := a.find(d)
	if err != nil {
		return err
	}
	if !d.MediaType.IsIndex() && !d.MediaType.IsImage() {
		a.blobs = append(a.blobs, d)
		return nil
	}
	raw, err := a.read(e)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	if sum := sha256.Sum256(raw); fmt.Sprintf("%x", sum) != d.Digest.Hex {
		return fmt.Errorf("manifest %s has other content: the tarball is damaged", d.Digest)
	}
	// An image manifest has config and layers, an index has manifests.
	var m struct {
		Manifests []v1.Descriptor `json:"manifests"`
		Config    *v1.Descriptor  `json:"config"`
		Layers    []v1.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, child := range m.Manifests {
		if err := a.walk(child, seen); err != nil {
			return err
		}
	}
	for _, blob := range m.Layers {
		// A layer that must not be distributed stays where its URL says; no tarball and no push has it.
		if !blob.MediaType.IsDistributable() && blob.MediaType.IsLayer() {
			continue
		}
		// Whatever its media type says, a registry keeps what an image names as a blob.
		blob.MediaType = blobType(blob.MediaType)
		if err := a.walk(blob, seen); err != nil {
			return err
		}
	}
	a.manifests = append(a.manifests, manifest{d, raw})
	return nil
}

func blobType(t types.MediaType) types.MediaType {
	if t.IsIndex() || t.IsImage() {
		return "application/octet-stream"
	}
	return t
}

func (a *Archive) find(d v1.Descriptor) (extent, error) {
	if d.Digest.Algorithm != "sha256" {
		return extent{}, fmt.Errorf("digest %q: only sha256 is in use", d.Digest)
	}
	e, found := a.entries[path.Join("blobs", d.Digest.Algorithm, d.Digest.Hex)]
	if !found {
		return extent{}, fmt.Errorf("blob %s is missing: the tarball is damaged", d.Digest)
	}
	if e.size != d.Size {
		return extent{}, fmt.Errorf("blob %s has %d bytes, its descriptor says %d: the tarball is damaged", d.Digest, e.size, d.Size)
	}
	return e, nil
}

// open reads a blob. At its end, content that does not have the digest is an error.
func (a *Archive) open(d v1.Descriptor) (io.ReadCloser, error) {
	e, err := a.find(d)
	if err != nil {
		return nil, err
	}
	return &verified{Reader: io.NewSectionReader(a.file, e.offset, e.size), hash: sha256.New(), want: d.Digest}, nil
}

// errDamaged is final: no retry makes a file whole.
var errDamaged = errors.New("has other content: the tarball is damaged")

type verified struct {
	io.Reader
	hash hash.Hash
	want v1.Hash
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.Reader.Read(p)
	v.hash.Write(p[:n])
	if errors.Is(err, io.EOF) && fmt.Sprintf("%x", v.hash.Sum(nil)) != v.want.Hex {
		return n, fmt.Errorf("blob %s %w", v.want, errDamaged)
	}
	return n, err
}

func (v *verified) Close() error { return nil }
