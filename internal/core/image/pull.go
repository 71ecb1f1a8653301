package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/renameio/v2"

	"github.com/aksflow/aksflow/internal/core/report"
)

// Pull writes an image of the repository into a file, an OCI image layout in a tar archive, as a whole or not at all. The
// image has the digest that it has in the registry, and the file's index says the annotations about it.
func (r *Repository) Pull(ctx context.Context, digest, file string, annotations map[string]string) (err error) {
	out, err := renameio.NewPendingFile(file, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("making a file for the image: %w", err)
	}
	defer func() { err = errors.Join(err, out.Cleanup()) }()
	p := &pulling{Repository: r, to: tar.NewWriter(out), has: map[v1.Hash]bool{}}
	root, err := p.manifest(ctx, digest)
	if err == nil {
		root.Annotations = annotations
		err = p.finish(root)
	}
	if err != nil {
		return r.client.explain(ctx, fmt.Sprintf("pull %s@%s", r.Name(), digest), err)
	}
	return out.CloseAtomicallyReplace()
}

// pulling is an image that is being written into a tarball.
type pulling struct {
	*Repository
	to  *tar.Writer
	has map[v1.Hash]bool
}

// manifest writes a manifest or an index, and all that it names.
func (p *pulling) manifest(ctx context.Context, digest string) (v1.Descriptor, error) {
	got, err := p.puller.Get(ctx, p.client.repo.Digest(digest))
	if err != nil {
		return v1.Descriptor{}, err
	}
	root := v1.Descriptor{MediaType: got.MediaType, Size: got.Size, Digest: got.Digest}
	if got.MediaType.IsIndex() {
		index, err := got.ImageIndex()
		if err != nil {
			return root, err
		}
		list, err := index.IndexManifest()
		if err != nil {
			return root, err
		}
		for _, child := range list.Manifests {
			if _, err := p.manifest(ctx, child.Digest.String()); err != nil {
				return root, err
			}
		}
		return root, p.bytes(blobFileName(got.Digest), got.Manifest, got.Digest)
	}
	img, err := got.Image()
	if err != nil {
		return root, err
	}
	if err := p.image(ctx, img); err != nil {
		return root, err
	}
	return root, p.bytes(blobFileName(got.Digest), got.Manifest, got.Digest)
}

// image writes the layers and the configuration of an image.
func (p *pulling) image(ctx context.Context, img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		if err := p.layer(ctx, layer); err != nil {
			return err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	name, err := img.ConfigName()
	if err != nil {
		return err
	}
	return p.bytes(blobFileName(name), config, name)
}

func (p *pulling) layer(ctx context.Context, layer v1.Layer) error {
	digest, err := layer.Digest()
	if err != nil {
		return err
	}
	media, err := layer.MediaType()
	if err != nil {
		return err
	}
	bytes, err := layer.Size()
	// A layer that must not be distributed stays where its URL says.
	if err != nil || p.has[digest] || !media.IsDistributable() {
		return err
	}
	report.Progressf(ctx, short(digest), "pulling %s", size(bytes))
	from, err := layer.Compressed() // it checks the digest at its end
	if err != nil {
		return err
	}
	defer from.Close()
	if err := p.begin(blobFileName(digest), bytes); err != nil {
		return err
	}
	p.has[digest] = true
	_, err = io.Copy(p.to, from)
	return err
}

func blobFileName(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }

func (p *pulling) begin(name string, size int64) error {
	return p.to.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size})
}

func (p *pulling) bytes(name string, content []byte, digest v1.Hash) error {
	if p.has[digest] {
		return nil
	}
	p.has[digest] = digest.Hex != ""
	if err := p.begin(name, int64(len(content))); err != nil {
		return err
	}
	_, err := p.to.Write(content)
	return err
}

// finish writes what makes an image layout of the blobs.
func (p *pulling) finish(root v1.Descriptor) error {
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{root}})
	if err != nil {
		return err
	}
	return errors.Join(p.bytes(indexFile, index, v1.Hash{}), p.bytes("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), v1.Hash{}), p.to.Close())
}
