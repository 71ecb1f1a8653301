package manifest

import (
	"bytes"
	"fmt"

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

// wanted is a Target made ready for matching.
type wanted struct {
	image      ref.Ref
	host, path string          // of image, canonical
	replace    []ref.Ref       // other repositories that stand for the image; those without a host match on any registry
	policies   map[string]bool // Flux image policies, NAMESPACE:NAME
	keys       []Keys
	// hostRequired is set when an image with the target's own host stands in the files. One of the same path without a
	// host is then another registry's: redis:8 beside acme.azurecr.io/redis.
	hostRequired bool
}

func (t Target) wanted() (wanted, error) {
	image, err := parseTarget(t.Image)
	if err != nil {
		return wanted{}, err
	}
	w := wanted{image: image, policies: map[string]bool{}, keys: t.Keys}
	w.host, w.path = image.Canonical()
	for _, name := range t.Replace {
		r := ref.Read(name)
		if r.Repository == "" {
			return wanted{}, fmt.Errorf("replace %q: want the name of a repository", name)
		}
		if r.Host() == "" && r.Tag != "" && r.Digest == "" {
			w.policies[name] = true // flux-system:vote, by its form also the repository flux-system with the tag vote
		}
		w.replace = append(w.replace, ref.Ref{Repository: r.Repository})
	}
	for _, k := range t.Keys {
		if err := k.validate(); err != nil {
			return wanted{}, err
		}
	}
	return w, nil
}

// matches reports whether a repository, as it stands in a manifest, is one of those meant: the image's own, on its own
// host or without a host, or one of those to replace.
func (w wanted) matches(repository string) bool {
	if repository == "" {
		return false
	}
	r := ref.Ref{Repository: repository}
	host, path := r.Canonical()
	if path == w.path && (host == w.host || r.Host() == "" && !w.hostRequired) {
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
func (w wanted) own(repository string) bool {
	r := ref.Ref{Repository: repository}
	host, path := r.Canonical()
	return r.Host() != "" && host == w.host && path == w.path
}

// looked returns what is looked for, for messages.
func (w wanted) looked() []string {
	names := []string{w.image.Repository}
	for _, name := range w.replace {
		names = append(names, name.Repository)
	}
	return names
}

// traces are byte strings of which a file that the target touches holds at least one.
func (w wanted) traces() [][]byte {
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

// mayHold reports, without parsing, whether content can hold one of the traces.
func mayHold(content []byte, traces [][]byte) bool {
	for _, trace := range traces {
		if bytes.Contains(content, trace) {
			return true
		}
	}
	return false
}
