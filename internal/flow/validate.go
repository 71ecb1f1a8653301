package flow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow/resolve"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// anyDigest stands for the digest of an image that is not built yet.
const anyDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// anyLocalPlatform stands for a local platform where none is asked.
func anyLocalPlatform() (*resolve.LocalPlatform, error) {
	return &resolve.LocalPlatform{Registry: "localhost:5000"}, nil
}

// Validate renders the manifests of every environment, or of the one that r.Env names, with the image set. It needs no
// cluster, no registry and no engine: a chart's lookup finds nothing, and variables of the local platform have a stand-in.
// The result is there also when environments failed.
func Validate(ctx context.Context, r Request) (*delivery.Validated, error) {
	cfg, err := config.Load(r.Config)
	if err != nil {
		return nil, err
	}
	names := cfg.Names()
	if r.Env != "" {
		names = []string{r.Env}
	}
	r.ByRef = false
	r.Local = anyLocalPlatform
	out := &delivery.Validated{Environments: []delivery.ValidEnvironment{}}
	var failures []error
	for _, name := range names {
		r.Env = name
		stepCtx, end := report.Start(ctx, name)
		count, err := validate(stepCtx, r)
		end(report.Count(count, "object"), err)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", name, err))
			continue
		}
		out.Environments = append(out.Environments, delivery.ValidEnvironment{Name: name, Objects: count})
	}
	return out, errors.Join(failures...)
}

// validate renders the manifests of one environment, and returns the number of objects.
func validate(ctx context.Context, r Request) (int, error) {
	d, err := Open(ctx, r)
	if err != nil {
		return 0, err
	}
	if _, err := os.Stat(d.env.Manifests); errors.Is(err, fs.ErrNotExist) && d.env.GitOps.Repo != "" {
		return 0, nil // they stand in the repository that the operator follows
	}
	release := d.release(delivery.Source{})
	// Other names of the image, and keys that hold a part of it, are for a bump to find.
	if named := d.config.Environments[r.Env].GitOps; d.env.Repository != "" && len(named.Replace) == 0 && len(named.Images) == 0 {
		release.Image = ref.Ref{Repository: d.env.Repository, Digest: anyDigest}
	}
	return cluster.Validate(ctx, release, d.Options)
}
