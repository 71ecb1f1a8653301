// Package image moves OCI images between a tarball and a registry. It pushes what was built and tested, byte for byte, and
// returns the digest under which the registry has it.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
)

// jobs is how many blobs travel at once.
const jobs = 4

// Options say what to push where.
type Options struct {
	Tarball    string   // an OCI tarball with one image
	Repository string   // HOST/PATH: "myregistry.azurecr.io/vote", "localhost:5000/vote"
	Tags       []string // may be empty: the image is then known by its digest only
	Registry   Registry
}

// Result says what is in the registry now, and what it took.
type Result struct {
	Image  string   // REPOSITORY@sha256:…
	Digest string   // sha256:…
	Tags   []string // that point to it now

	Uploaded      int   // blobs that were sent
	UploadedBytes int64 // of blobs, what went over the wire, repeated attempts included
	Skipped       int   // blobs that the repository had already

	// Unchanged is true when digest and tags were as wanted before: nothing was written to the registry.
	Unchanged bool
}

// Push puts the image of a tarball into a repository and points the tags to it. Blobs that the repository has are not
// sent, nor is anything when the image is there under all its tags. A tag appears when the image is complete, so a
// push that fails half-way leaves no tag on half an image.
func Push(ctx context.Context, o Options) (*Result, error) {
	repo, err := o.Registry.parse(o.Repository)
	if err != nil {
		return nil, err
	}
	tags, err := parseTags(repo, o.Tags)
	if err != nil {
		return nil, err
	}
	a, err := Open(o.Tarball)
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.Close() }()
	c, err := o.Registry.connect(ctx, repo, transport.PushScope)
	if err != nil {
		return nil, err
	}
	for pause, left := c.pause, attempts; ; pause, left = 2*pause, left-1 {
		p, err := newPush(a, c, o)
		if err != nil {
			return nil, err
		}
		err = p.run(ctx, tags)
		if left > 1 && lacksBlobs(err) {
			report.Info(ctx, "the registry says that it lacks parts of the image that it has just taken, as a registry with replicas may: pushing again in %s", report.Span(pause))
			err = sleep(ctx, pause)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return nil, c.explain(ctx, fmt.Sprintf("push %s to %s", o.Tarball, o.Repository), err)
		}
		return &p.result, nil
	}
}

// lacksBlobs reports whether a registry refused a manifest because it does not know the blobs that it names. They were sent
// before it: a geo-replicated registry may have taken them at another replica.
// https://learn.microsoft.com/azure/container-registry/container-registry-geo-replication#considerations-for-high-availability
func lacksBlobs(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && slices.ContainsFunc(answer.Errors, func(d transport.Diagnostic) bool {
		return d.Code == transport.ManifestBlobUnknownErrorCode || d.Code == transport.BlobUnknownErrorCode
	})
}

// sleep waits, unless the context ends before.
func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tagGrammar is that of the OCI distribution specification.
var tagGrammar = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// parseTags checks the tags and drops repeated ones.
func parseTags(repo name.Repository, tags []string) ([]name.Tag, error) {
	var parsed []name.Tag
	for _, t := range tags {
		if !tagGrammar.MatchString(t) {
			return nil, fault.Usagef("tag %q: want letters, digits, '_', '.' and '-', 128 at most, and no '.' or '-' first", t)
		}
		if tag := repo.Tag(t); !slices.Contains(parsed, tag) {
			parsed = append(parsed, tag)
		}
	}
	return parsed, nil
}

type push struct {
	archive *Archive
	client  *client
	puller  *remote.Puller
	pusher  *remote.Pusher
	result  Result
	sent    atomic.Int64
}

func newPush(a *Archive, c *client, o Options) (*push, error) {
	puller, err := remote.NewPuller(c.opts...)
	if err != nil {
		return nil, err
	}
	pusher, err := remote.NewPusher(c.opts...)
	if err != nil {
		return nil, err
	}
	digest := a.Digest().String()
	return &push{
		archive: a, client: c, puller: puller, pusher: pusher,
		result: Result{Image: o.Repository + "@" + digest, Digest: digest},
	}, nil
}

func (p *push) run(ctx context.Context, tags []name.Tag) error {
	repo := p.client.repo
	root := p.archive.manifests[len(p.archive.manifests)-1]
	complete := false
	var missing []name.Tag
	for _, tag := range tags {
		p.result.Tags = append(p.result.Tags, tag.TagStr())
		is, err := p.digest(ctx, tag)
		if err != nil {
			return err
		}
		if is == root.desc.Digest.String() {
			complete = true
			continue
		}
		if is != "" {
			report.Info(ctx, "tag %s moves from %s", tag, is)
		}
		missing = append(missing, tag)
	}
	if !complete {
		var err error
		if complete, err = p.has(ctx, repo.Digest(root.desc.Digest.String())); err != nil {
			return err
		}
	}
	if complete {
		p.result.Skipped = len(p.archive.blobs)
		p.result.Unchanged = len(missing) == 0
	} else if err := p.upload(ctx); err != nil {
		return err
	}
	for _, tag := range missing {
		if err := p.pusher.Put(ctx, tag, root); err != nil {
			return fmt.Errorf("tag %s: %w", tag.TagStr(), err)
		}
	}
	if !complete && len(missing) == 0 {
		return p.putByDigest(ctx, root)
	}
	return nil
}

func (p *push) putByDigest(ctx context.Context, m manifest) error {
	if err := p.pusher.Put(ctx, p.client.repo.Digest(m.desc.Digest.String()), m); err != nil {
		return fmt.Errorf("manifest %s: %w", m.desc.Digest, err)
	}
	return nil
}

// upload sends all but the root: blobs, then manifests, each after those that it names.
func (p *push) upload(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	var uploaded atomic.Int64
	for _, d := range p.archive.blobs {
		g.Go(func() error {
			b := &blob{ctx: gctx, desc: d, archive: p.archive, sent: &p.sent}
			layer, err := partial.CompressedToLayer(b)
			if err != nil {
				return err
			}
			if err := p.pusher.Upload(gctx, p.client.repo, layer); err != nil {
				return fmt.Errorf("blob %s: %w", d.Digest, err)
			}
			if b.opened.Load() {
				uploaded.Add(1)
				report.Donef(gctx, short(d.Digest), "pushed, %s", size(d.Size))
			} else {
				report.Donef(gctx, short(d.Digest), "is there already")
			}
			return nil
		})
	}
	err := g.Wait()
	p.result.Uploaded = int(uploaded.Load())
	p.result.Skipped = len(p.archive.blobs) - p.result.Uploaded
	p.result.UploadedBytes = p.sent.Load()
	if err != nil {
		return err
	}
	for _, m := range p.archive.manifests[:len(p.archive.manifests)-1] {
		if err := p.putByDigest(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (p *push) has(ctx context.Context, ref name.Digest) (bool, error) {
	digest, err := p.digest(ctx, ref)
	return digest != "", err
}

// digest returns the digest that a reference points to, "" if there is none. Push credentials may lack pull rights, and some
// registries answer 401 or 403 for what does not exist, so both mean "not found": the upload reports real permission
// errors.
func (p *push) digest(ctx context.Context, ref name.Reference) (string, error) {
	d, err := p.puller.Head(ctx, ref)
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden:
			return "", nil
		}
	}
	if err != nil {
		return "", err
	}
	return d.Digest.String(), nil
}

// blob is a config or a layer of the archive on its way. It implements partial.CompressedLayer.
type blob struct {
	ctx     context.Context // for progress: a layer is read without one
	desc    v1.Descriptor
	archive *Archive
	sent    *atomic.Int64
	opened  atomic.Bool
}

func (b *blob) Digest() (v1.Hash, error)            { return b.desc.Digest, nil }
func (b *blob) Size() (int64, error)                { return b.desc.Size, nil }
func (b *blob) MediaType() (types.MediaType, error) { return b.desc.MediaType, nil }
func (b *blob) Descriptor() (*v1.Descriptor, error) { return &b.desc, nil }

// Compressed is called when the blob is about to be sent, and again for a further attempt.
func (b *blob) Compressed() (io.ReadCloser, error) {
	b.opened.Store(true)
	rc, err := b.archive.open(b.desc)
	if err != nil {
		return nil, err
	}
	return &counted{ReadCloser: rc, blob: b, at: time.Now()}, nil
}

// counted reports how far a blob has come.
type counted struct {
	io.ReadCloser
	blob    *blob
	n       int64
	percent int64 // at the last report
	at      time.Time
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	c.blob.sent.Add(int64(n))
	// Neither floods a plain log nor speaks of what is over in a moment.
	percent := c.n * 100 / max(c.blob.desc.Size, 1)
	if percent >= c.percent+5 && time.Since(c.at) >= time.Second {
		c.percent, c.at = percent, time.Now()
		report.Progressf(c.blob.ctx, short(c.blob.desc.Digest), "%d%% of %s", percent, size(c.blob.desc.Size))
	}
	return n, err
}

func short(h v1.Hash) string { return h.Hex[:12] }

func size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%d B", n)
	}
}
