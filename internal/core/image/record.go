package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
)

// Resolve returns the digest ("sha256:…") that an image has in its registry now. A name without a registry is one of Docker
// Hub.
func (r Registry) Resolve(ctx context.Context, image string) (string, error) {
	var opts []name.Option
	if r.Insecure {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(image, opts...)
	if err != nil {
		return "", fault.Usagef("image %q: %w", image, err)
	}
	c, err := r.connect(ctx, ref.Context(), transport.PullScope)
	if err != nil {
		return "", err
	}
	d, err := remote.Head(ref, append(c.opts, remote.WithContext(ctx))...)
	if err != nil {
		return "", c.explain(ctx, "look up "+image, err)
	}
	return d.Digest.String(), nil
}

// OnBuild reports whether an image of a registry has instructions for the builds that start from it.
func (r Registry) OnBuild(ctx context.Context, image string) (bool, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return false, fault.Usagef("image %q: %w", image, err)
	}
	c, err := r.connect(ctx, ref.Context(), transport.PullScope)
	if err != nil {
		return false, err
	}
	img, err := remote.Image(ref, append(c.opts, remote.WithContext(ctx))...)
	if err != nil {
		return false, c.explain(ctx, "read "+image, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return false, c.explain(ctx, "read "+image, err)
	}
	return len(config.Config.OnBuild) > 0, nil
}

// settle is how long Record waits before it reads back what it wrote. It writes within half of that after it found nothing
// there, so that every client that found nothing has written when the first of them reads.
const settle = 2 * time.Second

// recordAttempts bounds how often Record starts again because the registry was too slow.
const recordAttempts = 5

// Record points a tag to an image of the repository unless the tag is there already, and returns the digest that the tag
// stands for. Registries cannot compare and swap. So of several clients that record at once the last one wins, and all of
// them return what it wrote.
func (r *Repository) Record(ctx context.Context, tag, digest string) (recorded string, err error) {
	for range recordAttempts {
		began := time.Now()
		is, ok, err := r.Digest(ctx, tag)
		if err != nil || ok {
			return is, err
		}
		putting, cancel := context.WithDeadline(ctx, began.Add(settle/2))
		err = r.point(putting, tag, digest)
		cancel()
		if err != nil && ctx.Err() == nil && putting.Err() != nil {
			// The registry may still be about to write it.
			if err := sleep(ctx, settle); err != nil {
				return "", err
			}
			continue
		}
		if err != nil {
			return "", err
		}
		if err := sleep(ctx, settle); err != nil {
			return "", err
		}
		is, ok, err = r.Digest(ctx, tag)
		if err != nil || ok {
			return is, err
		}
	}
	return "", fmt.Errorf("%s does not keep the tag %s: it took longer than %s to write it, or the tag is gone; try again", r.Name(), tag, report.Span(settle/2))
}

// point writes a tag.
func (r *Repository) point(ctx context.Context, tag, digest string) error {
	target, err := r.puller.Get(ctx, r.client.repo.Digest(digest))
	if err != nil {
		return r.client.explain(ctx, fmt.Sprintf("read %s@%s", r.Name(), digest), err)
	}
	if err := r.pusher.Put(ctx, r.client.repo.Tag(tag), target); err != nil {
		return r.client.explain(ctx, fmt.Sprintf("write the tag %s of %s", tag, r.Name()), err)
	}
	return nil
}

// TagOptions say what an image is called.
type TagOptions struct {
	Tags []string
	// Keep are those of Tags whose former image, if there is another one, gets the tag TAG-DIGEST before the tag moves: it
	// may be running, and registries delete images without a tag.
	Keep []string
	// Fixed are those of Tags that must not move: that they stand for another image is an error.
	Fixed []string
}

// Tag points tags to an image of the repository. changed reports whether one was written.
func (r *Repository) Tag(ctx context.Context, digest string, o TagOptions) (changed bool, err error) {
	parsed, err := parseTags(r.client.repo, o.Tags)
	if err != nil {
		return false, err
	}
	missing := map[string]string{}
	for _, tag := range parsed {
		is, ok, err := r.Digest(ctx, tag.TagStr())
		if err != nil {
			return false, err
		}
		if !ok {
			is = ""
		}
		if is != digest {
			missing[tag.TagStr()] = is
		}
	}
	for _, tag := range o.Fixed {
		if is := missing[tag]; is != "" {
			return false, fmt.Errorf("%s:%s is the image %s, and this is %s: the tag of a release does not move; give this source another version, or deploy the image of the release with --image %s@%s", r.Name(), tag, is, digest, r.Name(), is)
		}
	}
	for _, tag := range parsed {
		is, ok := missing[tag.TagStr()]
		if !ok {
			continue
		}
		if is != "" {
			report.Info(ctx, "tag %s moves from %s", tag, is)
			if slices.Contains(o.Keep, tag.TagStr()) {
				_, hex, _ := strings.Cut(is, ":")
				if err := r.point(ctx, tag.TagStr()+"-"+hex[:12], is); err != nil {
					return changed, err
				}
			}
		}
		if err := r.point(ctx, tag.TagStr(), digest); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// azureRegistry is how the hosts of Azure Container Registry end.
const azureRegistry = ".azurecr.io"

// Lock makes a tag of an Azure registry read-only. locked is false for other registries, and for a login without the right to
// write metadata.
// https://learn.microsoft.com/azure/container-registry/container-registry-image-lock
func (r Registry) Lock(ctx context.Context, repository, tag string) (locked bool, err error) {
	repo, err := r.parse(repository)
	if err != nil || !strings.HasSuffix(repo.RegistryStr(), azureRegistry) {
		return false, err
	}
	c, err := r.connect(ctx, repo, "metadata_read,metadata_write")
	if err != nil {
		return false, nil // a login that may push need not have these rights
	}
	address := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/acr/v1/" + repo.RepositoryStr() + "/_tags/" + tag}
	body := []byte(`{"writeEnabled":false}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, address.String(), bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Transport: c.transport}).Do(req)
	if err != nil {
		return false, c.explain(ctx, "lock the tag "+tag, err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxManifest))
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return true, nil
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return false, nil
	}
	return false, c.explain(ctx, "lock the tag "+tag, errors.New(resp.Status))
}
