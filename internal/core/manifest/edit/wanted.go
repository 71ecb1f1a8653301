package edit

import (
	"bytes"
	"fmt"

	"github.com/aksflow/aksflow/internal/core/encoding"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// parseTarget validates the reference that is to be set.
func parseTarget(s string) (ref.Ref, error) {
	r, err := ref.Parse(s)
	if err == nil && r.Tag == "" && r.Digest == "" {
		err = fmt.Errorf("image reference %q has neither tag nor digest: give REPOSITORY@sha256:… as publish prints it", s)
	}
	return r, err
}

// Wanted is a Target made ready for matching.
type Wanted struct {
	image      ref.Ref
	host, path string          // of image, canonical
	replace    []ref.Ref       // other repositories that stand for the image; those without a host match on any registry
	policies   map[string]bool // Flux image policies, NAMESPACE:NAME
	keys       []Keys
	// HostRequired is set when an image with the target's own host stands in the files. One of the same path without a
	// host is then another registry's: redis:8 beside acme.azurecr.io/redis.
	HostRequired bool
}

// Wanted makes a target ready for matching, and reports what is wrong with it.
func (t Target) Wanted() (Wanted, error) {
	image, err := parseTarget(t.Image)
	if err != nil {
		return Wanted{}, err
	}
	w := Wanted{image: image, policies: map[string]bool{}, keys: t.Keys}
	w.host, w.path = image.Canonical()
	for _, name := range t.Replace {
		r := ref.Read(name)
		if r.Repository == "" {
			return Wanted{}, fmt.Errorf("replace %q: want the name of a repository", name)
		}
		if r.Host() == "" && r.Tag != "" && r.Digest == "" {
			w.policies[name] = true // flux-system:vote, by its form also the repository flux-system with the tag vote
		}
		w.replace = append(w.replace, ref.Ref{Repository: r.Repository})
	}
	for _, k := range t.Keys {
		if err := k.validate(); err != nil {
			return Wanted{}, err
		}
	}
	return w, nil
}

// Matches reports whether a repository, as it stands in a manifest, is one of those meant: the image's own, on its own
// host or without a host, or one of those to replace.
func (w Wanted) Matches(repository string) bool {
	if repository == "" {
		return false
	}
	r := ref.Ref{Repository: repository}
	host, path := r.Canonical()
	if path == w.path && (host == w.host || r.Host() == "" && !w.HostRequired) {
		return true
	}
	for _, name := range w.replace {
		nameHost, namePath := name.Canonical()
		if namePath == path && (name.Host() == "" || nameHost == host) {
			return true
		}
	}
	return false
}

// own reports whether a repository is the image's own, host included.
func (w Wanted) own(repository string) bool {
	r := ref.Ref{Repository: repository}
	host, path := r.Canonical()
	return r.Host() != "" && host == w.host && path == w.path
}

// Image returns the reference that is to be set.
func (w Wanted) Image() ref.Ref { return w.image }

// Keys returns the references that the user named.
func (w Wanted) Keys() []Keys { return w.keys }

// Looked returns what is looked for, for messages.
func (w Wanted) Looked() []string {
	names := []string{w.image.Repository}
	for _, name := range w.replace {
		names = append(names, name.Repository)
	}
	return names
}

// Traces are byte strings of which a file that the target touches holds at least one.
func (w Wanted) Traces() [][]byte {
	out := [][]byte{[]byte(lastElement(w.path))}
	for _, name := range w.replace {
		_, path := name.Canonical()
		out = append(out, []byte(lastElement(path)))
	}
	for policy := range w.policies {
		out = append(out, []byte(policy))
	}
	return out
}

func lastElement(path string) string { return ref.Ref{Repository: path}.Name() }

// MayHold reports, without parsing, whether content can hold one of the Traces.
func MayHold(content []byte, Traces [][]byte) bool {
	content, _ = encoding.UTF8(content)
	for _, trace := range Traces {
		if bytes.Contains(content, trace) {
			return true
		}
	}
	return false
}
