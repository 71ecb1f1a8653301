package embedded

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	commonexptypes "github.com/moby/buildkit/exporter/exptypes"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

// storeID is the name under which BuildKit reads the store.
const storeID = "aksflow"

// tarball brings a container's image into the store, once a session, and returns its manifest.
func (e *Engine) tarball(ctx context.Context, n *api.Node) (ocispecs.Descriptor, error) {
	return e.images.Once(ctx, e.base, n.ID, func(ctx context.Context) (ocispecs.Descriptor, error) {
		var none ocispecs.Descriptor
		var stored *ocispecs.Descriptor
		var response map[string]string
		exports := []bkclient.ExportEntry{{
			Type:        bkclient.ExporterOCI,
			Attrs:       map[string]string{"tar": "false"},
			OutputStore: e.store,
		}}
		find := func(ctx context.Context, b *build) (*result, error) {
			c, err := b.container(ctx, n)
			if err != nil {
				return nil, err
			}
			if stored = c.stored; stored != nil {
				return nil, nil
			}
			return b.image(ctx, c)
		}
		// First without the store's lock: what takes long is not its affair.
		if _, err := e.run(ctx, nil, find); err != nil {
			return none, err
		}
		if stored != nil {
			return *stored, nil
		}
		err := e.store.Writing(ctx, func() (err error) {
			response, err = e.run(ctx, exports, find)
			if err != nil {
				return err
			}
			return e.store.Sweep()
		})
		if err != nil {
			return none, err
		}
		data, err := base64.StdEncoding.DecodeString(response[exptypes.ExporterImageDescriptorKey])
		if err != nil {
			return none, fmt.Errorf("export: %w", err)
		}
		var desc ocispecs.Descriptor
		if err := json.Unmarshal(data, &desc); err != nil {
			return none, fmt.Errorf("export: %w", err)
		}
		desc.Annotations = nil // when it was exported; the same image is to be the same tarball
		return desc, nil
	})
}

// image is a container as BuildKit exports it.
func (b *build) image(ctx context.Context, c *container) (*result, error) {
	ref, err := b.solve(ctx, c.root, c.platform)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(c.config)
	if err != nil {
		return nil, err
	}
	meta := map[string][]byte{exptypes.ExporterImageConfigKey: config}
	if len(c.epoch) > 0 {
		meta[commonexptypes.ExporterEpochKey] = c.epoch
		if len(c.base) > 0 {
			meta[exptypes.ExporterImageBaseConfigKey] = c.base
		}
	}
	return &result{ref: ref, meta: meta}, nil
}
