package image

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// emptyType is the media type of emptyConfig, which artifacts have that need no configuration.
	emptyType   types.MediaType = "application/vnd.oci.empty.v1+json"
	emptyConfig string          = "{}"

	// maxReferrer bounds the content of a referrer that is read. An SBOM of an image has a few MiB.
	maxReferrer = 64 << 20

	// maxListPages bounds how many pages of a list of referrers are read.
	maxListPages = 1000
)

// Artifact is what is attached to an image: one blob.
type Artifact struct {
	// Type is its artifact type, and the media type of Content.
	Type        string
	Content     []byte
	Annotations map[string]string
}

// Referrer is a manifest whose subject is an image, as the registry lists it. Until it is read, only Digest is certain.
type Referrer struct {
	Digest      string // sha256:…
	Type        string // the artifact type
	Annotations map[string]string
	size        int64
}

// Attach attaches artifacts to the image with a digest, which stays as it is, and returns their referrers. An artifact that
// is attached again with the same content and annotations is there once.
//
// A registry without the referrers API has an index under a tag made of the digest instead, which clients write. Two clients
// that write it at once may overwrite each other, so Attach reads it again until it has kept what was added.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests-with-subject
func (r *Repository) Attach(ctx context.Context, digest string, artifacts ...Artifact) ([]Referrer, error) {
	subject, err := r.existing(ctx, digest)
	if err != nil {
		return nil, err
	}
	doing := fmt.Sprintf("attach to %s@%s", r.Name(), digest)
	subject = v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest}
	var added []v1.Descriptor
	listed := true // by the registry itself
	for _, a := range artifacts {
		desc, known, err := r.putArtifact(ctx, subject, a)
		if err != nil {
			return nil, r.client.explain(ctx, doing, err)
		}
		added = append(added, desc)
		listed = listed && known
	}
	if !listed {
		if listed, err = r.listedByAPI(ctx, subject.Digest, added); err != nil {
			return nil, r.client.explain(ctx, doing, err)
		}
	}
	if !listed {
		if err := r.addToTag(ctx, subject.Digest, added); err != nil {
			return nil, r.client.explain(ctx, doing, err)
		}
	}
	referrers := make([]Referrer, len(added))
	for i, d := range added {
		referrers[i] = referrerOf(d)
	}
	return referrers, nil
}

func referrerOf(d v1.Descriptor) Referrer {
	return Referrer{Digest: d.Digest.String(), Type: d.ArtifactType, Annotations: d.Annotations, size: d.Size}
}

// putArtifact uploads an artifact. listed reports whether the registry says that it lists the artifact as a referrer.
func (r *Repository) putArtifact(ctx context.Context, subject v1.Descriptor, a Artifact) (desc v1.Descriptor, listed bool, err error) {
	config, content := static.NewLayer([]byte(emptyConfig), emptyType), static.NewLayer(a.Content, types.MediaType(a.Type))
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: a.Type, Annotations: a.Annotations, Subject: &subject,
	}
	for _, blob := range []v1.Layer{config, content} {
		if err := r.pusher.Upload(ctx, r.client.repo, blob); err != nil {
			return desc, false, err
		}
	}
	if m.Config, err = describe(config); err != nil {
		return desc, false, err
	}
	layer, err := describe(content)
	if err != nil {
		return desc, false, err
	}
	m.Layers = []v1.Descriptor{layer}
	raw, err := json.Marshal(m)
	if err != nil {
		return desc, false, err
	}
	hash, size, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return desc, false, err
	}
	desc = v1.Descriptor{MediaType: m.MediaType, Size: size, Digest: hash, ArtifactType: a.Type, Annotations: a.Annotations}
	header, err := r.putManifest(ctx, hash.String(), m.MediaType, raw)
	return desc, header.Get("OCI-Subject") == subject.Digest.String(), err
}

func describe(l v1.Layer) (d v1.Descriptor, err error) {
	if d.MediaType, err = l.MediaType(); err != nil {
		return d, err
	}
	if d.Size, err = l.Size(); err != nil {
		return d, err
	}
	d.Digest, err = l.Digest()
	return d, err
}

// putManifest writes a manifest under a tag or its digest. It does not use remote.Pusher, which writes the tag of referrers
// by itself and does not return the answer's header.
func (r *Repository) putManifest(ctx context.Context, reference string, mediaType types.MediaType, raw []byte) (http.Header, error) {
	req, err := r.request(ctx, http.MethodPut, "manifests", reference, raw)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", string(mediaType))
	resp, err := r.do(req, http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	return resp.Header, resp.Body.Close()
}

// request makes a request to the repository's API.
func (r *Repository) request(ctx context.Context, method, kind, reference string, body []byte) (*http.Request, error) {
	repo := r.client.repo
	u := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + "/" + kind + "/" + reference}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), http.NoBody)
	if err == nil && body != nil {
		req.Body, req.ContentLength = repeatable{http.NoBody, body}, int64(len(body))
	}
	return req, err
}

// do sends a request. An answer with another status than those given is an error, and its body is closed.
func (r *Repository) do(req *http.Request, codes ...int) (*http.Response, error) {
	resp, err := (&http.Client{Transport: r.client.transport}).Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, codes...); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// Referrers lists what refers to the image with a digest: what the registry's API lists, and what the tag of the digest lists
// that clients write where there is no API. That both do not exist is the only way to an empty list: any other failure is an
// error.
func (r *Repository) Referrers(ctx context.Context, digest string) ([]Referrer, error) {
	subject, err := r.existing(ctx, digest)
	if err != nil {
		return nil, err
	}
	doing := fmt.Sprintf("list what is attached to %s@%s", r.Name(), digest)
	listed, _, err := r.listByAPI(ctx, subject.Digest)
	if err != nil {
		return nil, r.client.explain(ctx, doing, err)
	}
	tagged, err := r.listByTag(ctx, subject.Digest)
	if err != nil {
		return nil, r.client.explain(ctx, doing, err)
	}
	byDigest := map[v1.Hash]v1.Descriptor{}
	for _, d := range append(tagged.Manifests, listed...) {
		byDigest[d.Digest] = d
	}
	var referrers []Referrer
	for _, d := range slices.SortedFunc(maps.Values(byDigest), byDigestOrder) {
		referrers = append(referrers, referrerOf(d))
	}
	return referrers, nil
}

func byDigestOrder(a, b v1.Descriptor) int { return cmp.Compare(a.Digest.String(), b.Digest.String()) }

// listedByAPI reports whether the registry's API lists all of the referrers.
func (r *Repository) listedByAPI(ctx context.Context, subject v1.Hash, wanted []v1.Descriptor) (bool, error) {
	listed, ok, err := r.listByAPI(ctx, subject)
	return ok && hasAll(listed, wanted), err
}

func hasAll(list, wanted []v1.Descriptor) bool {
	return !slices.ContainsFunc(wanted, func(w v1.Descriptor) bool {
		return !slices.ContainsFunc(list, func(d v1.Descriptor) bool { return d.Digest == w.Digest })
	})
}

// nextPage is the Link header of a list that goes on.
var nextPage = regexp.MustCompile(`<([^>]+)>\s*;\s*rel="?next"?`)

// listByAPI asks the registry for referrers. ok is false where it has no such API: 404 is what the specification says, and
// the other codes are what servers answer to a path or a method that they do not know.
func (r *Repository) listByAPI(ctx context.Context, subject v1.Hash) (referrers []v1.Descriptor, ok bool, err error) {
	req, err := r.request(ctx, http.MethodGet, "referrers", subject.String(), nil)
	if err != nil {
		return nil, false, err
	}
	for range maxListPages {
		req.Header.Set("Accept", string(types.OCIImageIndex))
		resp, err := r.do(req, http.StatusOK, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable)
		if err != nil {
			return nil, false, err
		}
		if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), string(types.OCIImageIndex)) {
			return nil, false, resp.Body.Close()
		}
		raw, err := readBounded(resp.Body, maxManifest)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return nil, false, fmt.Errorf("the list of referrers: %w", err)
		}
		index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return nil, false, fmt.Errorf("the list of referrers: %w", err)
		}
		referrers = append(referrers, index.Manifests...)
		next := nextPage.FindStringSubmatch(resp.Header.Get("Link"))
		if next == nil {
			return referrers, true, nil
		}
		if req, err = follow(req, next[1]); err != nil {
			return nil, false, err
		}
	}
	return nil, false, fmt.Errorf("the list of referrers does not end after %d pages", maxListPages)
}

// follow makes the request for the next page, which must be at the same server.
func follow(req *http.Request, link string) (*http.Request, error) {
	u, err := req.URL.Parse(link)
	if err != nil {
		return nil, fmt.Errorf("the next page of the list of referrers: %w", err)
	}
	if u.Scheme != req.URL.Scheme || u.Host != req.URL.Host {
		return nil, fmt.Errorf("the next page of the list of referrers is at another server: %s", u.Host)
	}
	return http.NewRequestWithContext(req.Context(), http.MethodGet, u.String(), http.NoBody)
}

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("it has more than %s", size(limit))
	}
	return raw, err
}

// fallbackTag is where clients list referrers in registries without the API.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
func (r *Repository) fallbackTag(subject v1.Hash) name.Tag {
	return r.client.repo.Tag(fmt.Sprintf("%.32s-%.64s", subject.Algorithm, subject.Hex))
}

// listByTag reads the index under the fallback tag. It is empty where there is none. A registry that reads the tag as a digest
// (GitLab does) answers with the subject itself: that is none, too.
func (r *Repository) listByTag(ctx context.Context, subject v1.Hash) (*v1.IndexManifest, error) {
	none := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	tag := r.fallbackTag(subject)
	got, err := r.puller.Get(ctx, tag)
	if notFound(err) {
		return none, nil
	}
	if err != nil {
		return nil, err
	}
	if got.Digest == subject {
		return none, nil
	}
	if got.MediaType != types.OCIImageIndex {
		return nil, fmt.Errorf("the tag %s should be the list of referrers, and is of type %s: delete the tag", tag.TagStr(), got.MediaType)
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(got.Manifest))
	if err != nil {
		return nil, fmt.Errorf("the list of referrers under the tag %s: %w", tag.TagStr(), err)
	}
	return index, nil
}

// tagAttempts bounds how often the fallback tag is read and written.
const tagAttempts = 40

// addToTag adds referrers to the index under the fallback tag. There is no way to write it only if nobody else did, so
// what was added counts when it is there twice, with a pause between that is longer than a reading and a writing take.
func (r *Repository) addToTag(ctx context.Context, subject v1.Hash, added []v1.Descriptor) error {
	kept := false
	pause := r.client.pause / 3
	for range tagAttempts {
		began := time.Now()
		index, err := r.listByTag(ctx, subject)
		if err != nil {
			return err
		}
		switch has := hasAll(index.Manifests, added); {
		case has && kept:
			return nil
		case has:
			kept = true
		default:
			kept = false
			if err := r.putTag(ctx, subject, index, added); err != nil {
				return err
			}
		}
		// What this client took is a measure of what others take.
		pause = max(pause, 4*time.Since(began))
		if err := sleep(ctx, pause+rand.N(pause)); err != nil {
			return err
		}
	}
	return fmt.Errorf("the tag %s, which lists the referrers, was overwritten by others %d times", r.fallbackTag(subject).TagStr(), tagAttempts)
}

// putTag writes the index under the fallback tag with the referrers added.
func (r *Repository) putTag(ctx context.Context, subject v1.Hash, index *v1.IndexManifest, added []v1.Descriptor) error {
	for _, d := range added {
		if !hasAll(index.Manifests, []v1.Descriptor{d}) {
			index.Manifests = append(index.Manifests, d)
		}
	}
	index.MediaType = types.OCIImageIndex
	slices.SortFunc(index.Manifests, byDigestOrder)
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	tag := r.fallbackTag(subject).TagStr()
	if _, err := r.putManifest(ctx, tag, types.OCIImageIndex, raw); err != nil {
		return fmt.Errorf("the tag %s, which lists the referrers: %w", tag, err)
	}
	return nil
}

// Read returns the artifact of a referrer, with its content if its type is one of those given. It is an error where the
// registry does not have it any more, where its content is not what its digest says, and where it refers to another image.
func (r *Repository) Read(ctx context.Context, digest string, from Referrer, artifactTypes ...string) (Artifact, error) {
	a, err := r.read(ctx, digest, from, artifactTypes)
	if err != nil {
		return a, r.client.explain(ctx, fmt.Sprintf("read %s, which is attached to %s@%s", from.Digest, r.Name(), digest), err)
	}
	return a, nil
}

func (r *Repository) read(ctx context.Context, digest string, from Referrer, artifactTypes []string) (Artifact, error) {
	got, err := r.puller.Get(ctx, r.client.repo.Digest(from.Digest))
	if err != nil {
		return Artifact{}, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(got.Manifest))
	if err != nil {
		return Artifact{}, err
	}
	a := Artifact{Type: cmp.Or(m.ArtifactType, string(m.Config.MediaType)), Annotations: m.Annotations}
	if m.Subject == nil || m.Subject.Digest.String() != digest {
		return a, errors.New("it does not refer to this image")
	}
	if !slices.Contains(artifactTypes, a.Type) {
		return a, nil
	}
	if len(m.Layers) != 1 {
		return a, fmt.Errorf("it has %d blobs, and one is expected", len(m.Layers))
	}
	layer := m.Layers[0]
	if layer.Size > maxReferrer {
		return a, fmt.Errorf("it has %s, and at most %s are read", size(layer.Size), size(maxReferrer))
	}
	blob, err := r.puller.Layer(ctx, r.client.repo.Digest(layer.Digest.String()))
	if err != nil {
		return a, err
	}
	content, err := blob.Compressed()
	if err != nil {
		return a, err
	}
	a.Content, err = readBounded(content, maxReferrer)
	return a, errors.Join(err, content.Close())
}
