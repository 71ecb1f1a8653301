package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

// LayersOf returns the layers of the image in a tarball, as [Archive.Layers] does.
func LayersOf(tarball string) ([]delivery.Layer, error) {
	archive, err := Open(tarball)
	if err != nil {
		return nil, err
	}
	found, err := archive.Layers()
	return found, errors.Join(err, archive.Close())
}

// Layers returns the layers of the archive's image, the base's first, each with the command that made it where the image's
// history says one. For several platforms it is those of the first.
func (a *Archive) Layers() ([]delivery.Layer, error) {
	i := slices.IndexFunc(a.manifests, func(m manifest) bool { return m.desc.MediaType.IsImage() })
	if i < 0 {
		return nil, fmt.Errorf("%s names no image", a.root.Digest)
	}
	var image v1.Manifest
	if err := json.Unmarshal(a.manifests[i].raw, &image); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", a.manifests[i].desc.Digest, err)
	}
	content, err := a.open(image.Config)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", image.Config.Digest, err)
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", image.Config.Digest, err)
	}
	made := slices.DeleteFunc(config.History, func(h v1.History) bool { return h.EmptyLayer })
	layers := make([]delivery.Layer, 0, len(image.Layers))
	for i, l := range image.Layers {
		layer := delivery.Layer{Digest: l.Digest.String(), Size: l.Size}
		if len(made) == len(image.Layers) { // else nobody knows which made which
			layer.CreatedBy = made[i].CreatedBy
		}
		layers = append(layers, layer)
	}
	return layers, nil
}
