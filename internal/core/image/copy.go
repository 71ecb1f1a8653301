package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/aksflow/aksflow/internal/core/report"
)

// Copy brings the image with a digest from one repository to another, with all that is attached to it and with tags, which
// must not stand for another image there. What is there already is not sent. Afterwards everything is looked up there.
func Copy(ctx context.Context, from, to *Repository, digest string, tags ...string) (copied bool, err error) {
	if _, err := from.existing(ctx, digest); err != nil {
		return false, err
	}
	if copied, err = copyImage(ctx, from, to, digest); err != nil {
		return copied, err
	}
	referrers, err := from.Referrers(ctx, digest)
	if err != nil {
		return copied, err
	}
	present, err := to.Referrers(ctx, digest)
	if err != nil {
		return copied, err
	}
	missing := lackingReferrers(referrers, present)
	if len(missing) > 0 {
		copied = true
		if err := copyReferrers(ctx, from, to, digest, missing); err != nil {
			return copied, err
		}
		if present, err = to.Referrers(ctx, digest); err != nil {
			return copied, err
		}
	}
	if lost := lackingReferrers(referrers, present); len(lost) > 0 {
		return copied, fmt.Errorf("%s took %s, which is attached to %s, and does not list it: the image is not complete there", to.Name(), lost[0].Digest, digest)
	}
	if len(tags) > 0 {
		tagged, err := to.Tag(ctx, digest, TagOptions{Tags: tags, Fixed: tags})
		return copied || tagged, err
	}
	return copied, nil
}

// lackingReferrers returns those of the first list that the second one does not have.
func lackingReferrers(all, present []Referrer) []Referrer {
	return slices.DeleteFunc(slices.Clone(all), func(r Referrer) bool {
		return slices.ContainsFunc(present, func(p Referrer) bool { return p.Digest == r.Digest })
	})
}

// copyImage copies the manifest with all that it names.
func copyImage(ctx context.Context, from, to *Repository, digest string) (copied bool, err error) {
	if _, there, err := to.Digest(ctx, digest); err != nil || there {
		return false, err
	}
	source, err := from.puller.Get(ctx, from.client.repo.Digest(digest))
	if err != nil {
		return false, from.client.explain(ctx, fmt.Sprintf("read %s@%s", from.Name(), digest), err)
	}
	report.Progressf(ctx, to.Name(), "copying %s from %s", digest, from.Name())
	if err := to.pusher.Push(ctx, to.client.repo.Digest(digest), source); err != nil {
		return false, to.client.explain(ctx, fmt.Sprintf("copy %s@%s to %s", from.Name(), digest, to.Name()), err)
	}
	is, there, err := to.Digest(ctx, digest)
	if err == nil && (!there || is != digest) {
		err = fmt.Errorf("%s took the image %s and does not have it: try again", to.Name(), digest)
	}
	return true, err
}

// copyReferrers copies the manifests of referrers byte for byte, so that their digests and signatures stay.
func copyReferrers(ctx context.Context, from, to *Repository, digest string, referrers []Referrer) error {
	subject, err := v1.NewHash(digest)
	if err != nil {
		return err
	}
	doing := fmt.Sprintf("copy what is attached to %s from %s to %s", digest, from.Name(), to.Name())
	var added []v1.Descriptor
	listed := true
	for _, r := range referrers {
		got, err := from.puller.Get(ctx, from.client.repo.Digest(r.Digest))
		if err != nil {
			return from.client.explain(ctx, doing, err)
		}
		desc, err := describeReferrer(got.Manifest, got.MediaType, digest, r)
		if err != nil {
			return from.client.explain(ctx, doing, err)
		}
		if err := copyBlobs(ctx, from, to, got.Manifest, doing); err != nil {
			return err
		}
		header, err := to.putManifest(ctx, r.Digest, got.MediaType, got.Manifest)
		if err != nil {
			return to.client.explain(ctx, doing, err)
		}
		added = append(added, desc)
		listed = listed && header.Get("OCI-Subject") == digest
	}
	if !listed {
		if listed, err = to.listedByAPI(ctx, subject, added); err != nil {
			return to.client.explain(ctx, doing, err)
		}
	}
	if !listed {
		err = to.addToTag(ctx, subject, added)
	}
	return to.client.explain(ctx, doing, err)
}

// describeReferrer is the entry of a referrer in a list.
func describeReferrer(raw []byte, mediaType types.MediaType, digest string, r Referrer) (v1.Descriptor, error) {
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return v1.Descriptor{}, err
	}
	if m.Subject == nil || m.Subject.Digest.String() != digest {
		return v1.Descriptor{}, errors.New(r.Digest + " does not refer to this image")
	}
	hash, err := v1.NewHash(r.Digest)
	return v1.Descriptor{MediaType: mediaType, Size: int64(len(raw)), Digest: hash, ArtifactType: r.Type, Annotations: m.Annotations}, err
}

func copyBlobs(ctx context.Context, from, to *Repository, raw []byte, doing string) error {
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return from.client.explain(ctx, doing, err)
	}
	for _, d := range append(slices.Clone(m.Layers), m.Config) {
		blob, err := from.puller.Layer(ctx, from.client.repo.Digest(d.Digest.String()))
		if err != nil {
			return from.client.explain(ctx, doing, err)
		}
		if err := to.pusher.Upload(ctx, to.client.repo, blob); err != nil {
			return to.client.explain(ctx, doing, err)
		}
	}
	return nil
}
